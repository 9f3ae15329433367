"""Durable functions: remembered calls, drift, and what an edit does to a run under way."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.engine.conftest import go
from wfkernel.engine.durable import DurableFunction, workflow
from wfkernel.engine.failures import InputInvalid, TimeTravelRefused
from wfkernel.engine.run import Run
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.step import step


class User(BaseModel):
    name: str
    age: int = 18


class Approval(BaseModel):
    approve: bool


calls: list[Any] = []


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


@step
async def inc(x: int) -> int:
    calls.append(x)
    return x + 1


@step
async def add(a: int, b: int = 100) -> int:
    calls.append((a, b))
    return a + b


@step
async def fail(x: Any) -> None:
    calls.append("fail")
    raise ValueError("no")


def suspended(function: DurableFunction, value: Any = 1) -> Run:
    run = function.create_run()
    result = go(run.start(value))
    assert result.status == "suspended", result.error
    return run


def edited(run: Run, function: DurableFunction) -> list[Any]:
    """Give the run the edited function, as a notebook does; returns the drift that will be told."""
    drift: list[Any] = []
    run.program = function
    run.watch(
        lambda e: drift.extend((c["step"], c["what"]) for c in e.payload["changes"]) if e.type == "run.drift" else None
    )
    return drift


def test_calls_are_remembered_by_name_and_order() -> None:
    @workflow
    async def flow(ctx: Any, user: User) -> Any:
        a = await ctx.step(inc, user.age)
        b = await ctx.step(inc, a)
        answer = await ctx.suspend(Approval, "ok?", payload={"b": b})
        return [a, b, await ctx.step(add, b, b=1), answer.approve]

    run = suspended(flow, {"name": "Ann"})
    assert run.result().suspended == [["suspend"]]
    assert run.result().suspend_payload == {"suspend": {"b": 20}}
    assert go(run.resume({"approve": True})).result == [19, 20, 21, True]
    assert calls == [18, 19, (20, 1)]
    assert list(run.result().steps) == ["inc", "inc#2", "suspend", "add"]


def test_the_input_is_validated_and_the_function_needs_ctx() -> None:
    @workflow
    async def flow(ctx: Any, user: User) -> str:
        return user.name

    with pytest.raises(InputInvalid, match="- name: Field required"):
        flow.run({})
    assert flow.run({"name": "Ann"}).unwrap() == "Ann"
    with pytest.raises(DefinitionError, match="it needs ctx as its first parameter"):
        workflow(lambda: None)
    with pytest.raises(DefinitionError, match="on_drift is"):
        workflow(on_drift="panic")(flow.function)  # type: ignore[call-overload]


def test_gather_runs_calls_at_the_same_time_and_suspends_once_all_have_ended() -> None:
    @workflow
    async def flow(ctx: Any, x: int) -> Any:
        return await ctx.gather(
            ctx.step(inc, 1), ctx.suspend(message="a?", name="a"), ctx.step(inc, 2), ctx.suspend(message="b?", name="b")
        )

    run = suspended(flow)
    assert run.result().suspended == [["a"], ["b"]]
    assert go(run.resume("A", step="a")).status == "suspended"
    assert go(run.resume("B")).result == [2, "A", 3, "B"]
    assert calls == [1, 2]


def test_a_caught_failure_is_raised_again_in_the_next_life_without_running_again() -> None:
    @workflow
    async def flow(ctx: Any) -> Any:
        try:
            await ctx.step(fail, 1)
        except ValueError as error:
            caught = str(error)
        return [caught, await ctx.suspend()]

    run = suspended(flow)
    assert go(run.resume("y")).result == ["no", "y"]
    assert calls == ["fail"]


def test_an_uncaught_failure_fails_the_run() -> None:
    @workflow
    async def flow(ctx: Any) -> Any:
        await ctx.step(fail, 1)

    result = flow.run()
    assert (result.status, result.error["type"]) == ("failed", "ValueError")  # type: ignore[index]


def test_sleeps_are_remembered() -> None:
    @workflow
    async def flow(ctx: Any) -> Any:
        await ctx.sleep("10ms")
        return await ctx.suspend()

    run = suspended(flow)
    before = run.state.steps["sleep"].wake_at
    go(run.resume(1))
    assert run.state.steps["sleep"].wake_at == before


def test_workflows_are_called_like_steps() -> None:
    inner = Workflow("inner").then(inc).then(inc).commit()

    @workflow
    async def child(ctx: Any, x: int) -> int:
        return int(await ctx.step(inc, x))

    @workflow
    async def flow(ctx: Any, x: int) -> Any:
        return [await ctx.step(inner, x), await ctx.step(child, x), await ctx.suspend()]

    run = suspended(flow)
    assert go(run.resume("y")).result == [3, 2, "y"]
    assert calls == [1, 2, 1]
    assert "child.inc" in run.result().steps


def test_new_calls_after_an_edit_are_executed_and_old_ones_are_not() -> None:
    @workflow
    async def flow(ctx: Any, x: int) -> Any:
        return [await ctx.step(inc, x), await ctx.suspend()]

    @workflow(id="flow")
    async def new(ctx: Any, x: int) -> Any:
        first = await ctx.step(inc, x)
        answer = await ctx.suspend()
        return [first, answer, await ctx.step(add, first)]

    run = suspended(flow)
    assert edited(run, new) == []
    assert go(run.resume("y")).result == [2, "y", 102]
    assert calls == [1, (2, 100)]


def changed_inc() -> Any:
    @step(id="inc")
    async def inc2(x: int) -> int:
        calls.append(f"new {x}")
        return x + 1000

    return inc2


@workflow(id="flow")
async def original(ctx: Any, x: int) -> Any:
    a = await ctx.step(inc, x)
    b = await ctx.step(add, a)
    return [a, b, await ctx.suspend()]


@pytest.mark.parametrize(
    ("policy", "result", "executed"),
    [("continue", [2, 102, "y"], []), ("rerun", [1001, 1101], ["new 1", (1001, 100)])],
)
def test_changed_code_is_named_and_the_policy_decides(policy: Any, result: list[Any], executed: list[Any]) -> None:
    replacement = changed_inc()

    @workflow(id="flow", on_drift=policy)
    async def new(ctx: Any, x: int) -> Any:
        a = await ctx.step(replacement, x)
        b = await ctx.step(add, a)
        return [a, b, await ctx.suspend()]

    run = suspended(original)
    calls.clear()
    drift = edited(run, new)
    outcome = go(run.resume("y"))
    if policy == "rerun":  # the answer was given for other numbers: it is asked again
        assert outcome.status == "suspended"
        outcome = go(run.resume("z"))
        result = [*result, "z"]
    assert outcome.result == result
    assert drift[0] == ("inc", "code")
    assert calls == executed


def test_changed_inputs_are_named_and_only_that_step_runs_again() -> None:
    @workflow(id="flow")
    async def new(ctx: Any, x: int) -> Any:
        a = await ctx.step(inc, x)
        b = await ctx.step(add, a, b=5)
        return [a, b, await ctx.suspend()]

    run = suspended(original)
    calls.clear()
    drift = edited(run, new)
    assert go(run.resume("y")).result == [2, 7, "y"]
    assert drift == [("add", "inputs"), ("add", "gone")]
    assert calls == [(2, 5)]


def test_another_order_is_named_and_nothing_runs_again() -> None:
    @workflow
    async def flow(ctx: Any, x: int) -> Any:
        return [await ctx.step(inc, 1), await ctx.step(add, 1), await ctx.suspend()]

    @workflow(id="flow")
    async def new(ctx: Any, x: int) -> Any:
        added = await ctx.step(add, 1)
        return [added, await ctx.step(inc, 1), await ctx.suspend()]

    run = suspended(flow)
    calls.clear()
    drift = edited(run, new)
    assert go(run.resume("y")).result == [101, 2, "y"]
    assert drift == [("add", "order")]
    assert calls == []


def test_a_call_that_is_gone_is_named() -> None:
    @workflow(id="flow")
    async def new(ctx: Any, x: int) -> Any:
        return [await ctx.step(inc, x), await ctx.suspend()]

    run = suspended(original)
    drift = edited(run, new)
    assert go(run.resume("y")).result == [2, "y"]
    assert ("add", "gone") in drift


def test_time_travel_forgets_a_call_and_those_after_it() -> None:
    run = original.create_run()
    go(run.start(1))
    go(run.resume("y"))
    calls.clear()
    again = go(run.time_travel("add"))
    assert (again.status, calls) == ("suspended", [(2, 100)])
    with pytest.raises(TimeTravelRefused, match=r"no such step\. It has inc, add, suspend"):
        go(run.time_travel("nothing"))
