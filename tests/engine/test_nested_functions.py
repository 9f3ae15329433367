"""A durable function as a step: of another one, and of a plan. It is a workflow like any other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.engine.conftest import go
from wfkernel.engine.durable import workflow
from wfkernel.engine.failures import TimeTravelRefused
from wfkernel.engine.hooks import Hooks, Modify, Replace, Retry, Skip
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.step import step

calls: list[tuple[str, Any]] = []


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


class User(BaseModel):
    name: str
    age: int = 7


@step
async def first(x: int) -> int:
    calls.append(("first", x))
    return x + 1


@step
async def second(x: int, ctx: Any) -> int:
    calls.append(("second", x))
    ctx.set_state({"seen": x})
    return x + 1


@step
async def last(x: int, ctx: Any) -> Any:
    calls.append(("last", x))
    return [x, ctx.state.get("seen")]


@step
async def boom(x: Any) -> None:
    calls.append(("boom", x))
    raise ValueError("boom")


@workflow
async def pair(ctx: Any, x: int) -> int:
    return await ctx.step(second, await ctx.step(first, x))  # type: ignore[no-any-return]


PLAN = Workflow("plan").then(first).then(second).commit()


@workflow
async def around(ctx: Any, x: int) -> Any:
    return await ctx.step(last, await ctx.step(pair, x))


IN_A_PLAN = Workflow("w").then(pair).then(last).commit()


def test_its_input_is_validated_as_that_of_any_workflow() -> None:
    @workflow
    async def greet(ctx: Any, user: User) -> str:
        return f"{user.name} {user.age}"

    @workflow
    async def outer(ctx: Any, given: dict[str, Any]) -> Any:
        return await ctx.step(greet, given)

    assert outer.run({"name": "Ann"}).result == "Ann 7"
    assert Workflow("w").then(greet).commit().run({"name": "Ann"}).result == "Ann 7"
    refused = outer.run({"nam": "Ann"})
    assert refused.status == "failed"
    assert "name: Field required" in refused.error["message"]


@pytest.mark.parametrize("program", [around, IN_A_PLAN], ids=["in a function", "in a plan"])
def test_what_it_sets_in_the_state_is_seen_after_it(program: Any) -> None:
    result = program.run(1)
    assert (result.result, result.state) == ([3, 2], {"seen": 2})


def test_its_state_is_there_after_a_resume() -> None:
    @workflow
    async def outer(ctx: Any) -> Any:
        await ctx.step(pair, 1)
        return [await ctx.suspend(), ctx.state]

    run = outer.create_run()
    assert go(run.start()).state == {"seen": 2}
    assert go(run.resume("go on")).result == ["go on", {"seen": 2}]
    assert calls == [("first", 1), ("second", 2)]


def test_it_runs_in_every_iteration_and_for_every_item() -> None:
    assert Workflow("w").do_while(pair, lambda x: x < 6).commit().run(0).result == 6
    assert calls == [(name, x) for x in (0, 2, 4) for name, x in (("first", x), ("second", x + 1))]
    assert Workflow("w").foreach(pair, concurrency=2).commit().run([1, 2, 3]).result == [3, 4, 5]


def test_a_bail_inside_ends_only_it() -> None:
    async def leave(ctx: Any) -> None:
        ctx.bail("early")

    @workflow
    async def leaves(ctx: Any) -> None:
        await ctx.step(leave)

    @workflow
    async def outer(ctx: Any) -> Any:
        return ["outer", await ctx.step(leaves)]

    assert outer.run().result == ["outer", "early"]


def test_a_failure_of_it_that_was_caught_is_raised_again_as_it_was() -> None:
    @workflow
    async def fails(ctx: Any) -> None:
        await ctx.step(boom, 1)

    @workflow
    async def outer(ctx: Any) -> Any:
        caught = []
        for program in (fails, Workflow("plan").then(boom).commit()):
            try:
                await ctx.step(program)
            except ValueError as error:
                caught.append(str(error))
        return [*caught, await ctx.suspend()]

    run = outer.create_run()
    assert go(run.start()).status == "suspended"
    assert go(run.resume("go on")).result == ["boom", "boom", "go on"]
    assert len(calls) == 2


@pytest.mark.parametrize("program", [around, IN_A_PLAN], ids=["in a function", "in a plan"])
def test_time_travel_goes_into_it(program: Any) -> None:
    run = program.create_run()
    go(run.start(1))
    for target, executed in (("pair.second", [("second", 2)]), ("pair", [("first", 1), ("second", 2)]), ("last", [])):
        calls.clear()
        assert go(run.time_travel(target)).result == [3, 2]
        assert calls == [*executed, ("last", 3)]


def test_time_travel_goes_into_a_plan_inside_a_function() -> None:
    @workflow
    async def outer(ctx: Any) -> Any:
        return await ctx.step(PLAN, 1)

    run = outer.create_run()
    go(run.start())
    calls.clear()
    assert go(run.time_travel("plan.second")).result == 3
    assert calls == [("second", 2)]


def test_time_travel_goes_into_one_item() -> None:
    run = Workflow("w").foreach(pair).commit().create_run()
    go(run.start([1, 2]))
    calls.clear()
    assert go(run.time_travel("pair[1].second")).result == [3, 4]
    assert calls == [("second", 3)]
    calls.clear()
    assert go(run.time_travel("pair[0]")).result == [3, 4]
    assert calls == [("first", 1), ("second", 2)]


@pytest.mark.parametrize("target", ["pair.second", "pair[7]", "pair[7].second", "last[0]"])
def test_an_item_that_is_not_there_or_not_named_is_refused(target: str) -> None:
    run = Workflow("w").foreach(pair).map(lambda x: x[0]).then(last).commit().create_run()
    go(run.start([1]))
    before = run.state.seq
    with pytest.raises(TimeTravelRefused, match=r"runs once for every item|is not a foreach"):
        go(run.time_travel(target))
    assert (run.state.seq, run.status) == (before, "success")


def test_a_retry_after_items_were_undone_does_them_again() -> None:
    broken = [True]

    async def undo(x: int) -> None:
        calls.append(("undo", x))

    @step(compensate=undo)
    async def book(x: int) -> int:
        calls.append(("book", x))
        return x

    async def pay(x: list[int]) -> int:
        if broken:
            raise ValueError("no money")
        return sum(x)

    run = Workflow("w").foreach(Workflow("each").then(book).commit()).then(pay).commit().create_run()
    assert go(run.start([1, 2])).status == "failed"
    broken.clear()
    assert go(run.retry()).result == 3
    assert calls == [("book", 1), ("book", 2), ("undo", 2), ("undo", 1), ("book", 1), ("book", 2)]


@pytest.mark.parametrize(
    ("verdict", "expected"), [(Modify(5), [5, "A"]), (Replace("instead"), "instead"), (Skip(), 1)], ids=lambda v: str(v)
)
def test_a_hook_changes_the_input_of_a_nested_workflow_or_takes_its_place(verdict: Any, expected: Any) -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        return [x, ctx.suspend()]

    hooks = Hooks()
    hooks.on("step.start", lambda moment: verdict if moment.path == "inner" else None)
    run = Workflow("w", hooks=hooks).then(Workflow("inner").then(ask).commit()).commit().create_run()
    result = go(run.start(1))
    if result.status == "suspended":  # what the hook made of the input holds after the resume too
        result = go(run.resume("A"))
    assert result.result == expected


def test_a_hook_that_wants_a_nested_workflow_tried_again_is_told_that_it_cannot() -> None:
    hooks = Hooks()
    hooks.on("step.finish", lambda moment: Retry() if moment.path == "inner" else None)
    run = Workflow("w", hooks=hooks).then(Workflow("inner").then(first).commit()).commit().create_run()
    failed: list[str] = []
    run.watch(lambda event: failed.append(event.payload["error"]["message"]) if event.type == "hook.failed" else None)
    assert go(run.start(1)).result == 2
    assert failed == [
        "a hook at 'step.finish' of a nested workflow may return Cancel, Continue, Modify, not Retry(delay=0.0)."
    ]
    assert calls == [("first", 1)]


def test_a_call_whose_input_a_hook_changed_is_found_after_a_resume() -> None:
    hooks = Hooks()
    hooks.on("step.start", lambda moment: Modify(moment.value + 10) if moment.path in ("first", "plan") else None)

    @workflow(hooks=hooks)
    async def outer(ctx: Any) -> Any:
        return [await ctx.step(first, 1), await ctx.step(PLAN, 1), await ctx.suspend()]

    run = outer.create_run()
    go(run.start())
    assert go(run.resume("go on")).result == [12, 13, "go on"]
    assert calls == [("first", 11), ("first", 11), ("second", 12)]


def test_a_file_cannot_say_it() -> None:
    from wfkernel.engine.export import to_yaml

    with pytest.raises(DefinitionError, match="'pair' is a durable function"):
        to_yaml(IN_A_PLAN)
