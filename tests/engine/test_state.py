"""State: set when a step ends, isolated between arms, merged by key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.engine.conftest import go
from wfkernel.engine.failures import InputInvalid, StateConflict
from wfkernel.engine.scope import merge
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step


class Counter(BaseModel):
    n: int = 0


def setter(name: str, *changes: Any, pause: float = 0) -> Any:
    async def work(x: Any, ctx: Any) -> Any:
        await asyncio.sleep(pause)
        for change in changes:
            ctx.set_state(change)
        return dict(ctx.state)

    work.__name__ = name
    return work


def test_what_a_step_sets_counts_when_it_ends() -> None:
    flow = Workflow("w").then(setter("one", {"a": 1})).then(setter("two")).commit()
    result = flow.run(None)
    assert result.steps["one"].output == {}
    assert result.steps["two"].output == {"a": 1}


def test_of_several_calls_in_a_step_the_last_counts() -> None:
    assert Workflow("w").then(setter("one", {"a": 1}, {"b": 2})).commit().run(None).state == {"b": 2}


def test_a_step_that_fails_sets_nothing_and_its_retry_sees_the_old_state() -> None:
    seen = []

    @step(retries=1)
    async def flaky(x: Any, ctx: Any) -> None:
        seen.append(dict(ctx.state))
        ctx.set_state({"a": 1})
        if ctx.retry_count == 0:
            raise ValueError

    result = Workflow("w").then(flaky).commit().run(None)
    assert seen == [{}, {}]
    assert result.state == {"a": 1}


def test_arms_do_not_see_each_other_and_merge_by_key() -> None:
    flow = (
        Workflow("w")
        .then(setter("before", {"base": 0}))
        .parallel(setter("quick", {"x": 1}), setter("slow", {"y": 2}, pause=0.03))
        .commit()
    )
    result = flow.run(None)
    assert result.steps["slow"].output == {"base": 0}
    assert result.state == {"base": 0, "x": 1, "y": 2}


@pytest.mark.parametrize(
    ("rule", "value"), [("last", 2), (lambda key, values: sum(values.values()), 3), (lambda key, values: key, "k")]
)
def test_arms_that_set_the_same_key_conflict_and_the_rule_decides(rule: Any, value: Any) -> None:
    # The later arm in the order of the workflow counts as last, whichever ended last.
    flow = (
        Workflow("w", on_conflict=rule).parallel(setter("one", {"k": 1}, pause=0.02), setter("two", {"k": 2})).commit()
    )
    run = flow.create_run()
    conflicts = []
    run.watch(lambda e: conflicts.append(e.payload) if e.type == "state.conflict" else None)
    assert go(run.start()).state == {"k": value}
    assert [(c["key"], c["arms"]) for c in conflicts] == [("k", ["one", "two"])]


def test_a_conflict_can_be_an_error() -> None:
    flow = Workflow("w", on_conflict="error").parallel(setter("one", {"k": 1}), setter("two", {"k": 2})).commit()
    result = flow.run(None)
    assert result.error["type"] == StateConflict.__name__  # type: ignore[index]
    assert "'k' by one, two" in result.error["message"]  # type: ignore[index]


def test_the_same_value_from_two_arms_is_no_conflict() -> None:
    flow = Workflow("w", on_conflict="error").parallel(setter("one", {"k": 1}), setter("two", {"k": 1})).commit()
    assert flow.run(None).state == {"k": 1}


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)), max_size=4))
def test_merging_keeps_every_key_and_the_last_value(changes: list[dict[str, int]]) -> None:
    merged, conflicts = merge([(str(n), c) for n, c in enumerate(changes)], "last")
    assert merged == {key: value for change in changes for key, value in change.items()}
    assert {key for key, _, _ in conflicts} == {
        key for key in merged if len({change[key] for change in changes if key in change}) > 1
    }


def test_items_see_what_items_finished_before_them_set() -> None:
    async def count(x: int, ctx: Any) -> int:
        n = ctx.state.get("n", 0)
        ctx.set_state({"n": n + 1})
        return n

    result = Workflow("w").foreach(count).commit().run([7, 8, 9])
    assert (result.result, result.state) == ([0, 1, 2], {"n": 3})


def test_a_nested_workflow_begins_with_the_state_and_writes_back() -> None:
    inner = Workflow("inner").then(setter("one", {"b": 2})).then(setter("two", {"c": 3})).commit()
    result = Workflow("w").then(setter("first", {"a": 1})).then(inner).then(setter("last")).commit().run(None)
    assert result.steps["inner.two"].output == {"a": 1, "b": 2}
    assert result.result == {"a": 1, "b": 2, "c": 3}


def test_a_graph_shows_a_step_what_its_needs_set() -> None:
    one, two, side = setter("one", {"a": 1}), setter("two", {"b": 2}), setter("side", {"c": 3})
    result = Workflow("w").add(one).add(side).add(two, needs=one).commit().run(None)
    assert result.steps["two"].output == {"a": 1}
    assert result.state == {"a": 1, "b": 2, "c": 3}


def test_a_loop_accumulates_state() -> None:
    async def count(x: int, ctx: Any) -> int:
        ctx.set_state({f"seen{ctx.iteration}": x})
        return x + 1

    assert Workflow("w").do_while(count, lambda x: x < 3).commit().run(0).state == {"seen1": 0, "seen2": 1, "seen3": 2}


def test_the_initial_state_is_validated_with_defaults() -> None:
    flow = Workflow("w", state=Counter).then(setter("one")).commit()
    assert flow.run(None).result == {"n": 0}
    assert flow.run(None, state={"n": "4"}).result == {"n": 4}
    with pytest.raises(InputInvalid) as error:
        flow.run(None, state={"n": "x"})
    assert str(error.value).startswith("Invalid initial data: \n- n: Input should be a valid integer")


def test_a_step_with_a_state_model_sees_and_sets_it_typed() -> None:
    @step(state=Counter)
    async def count(x: Any, ctx: Any) -> int:
        ctx.set_state({"n": ctx.state.n + 1})
        return ctx.state.n

    @step(state=Counter)
    async def wrong(x: Any, ctx: Any) -> None:
        ctx.set_state({"n": "many"})

    flow = Workflow("w").then(count).then(count).commit()
    assert (flow.run(None).state, flow.run(None).result) == ({"n": 2}, 1)
    result = Workflow("w").then(wrong).commit().run(None)
    assert result.error["message"].startswith("Step state data validation failed: \n- n:")  # type: ignore[index]
