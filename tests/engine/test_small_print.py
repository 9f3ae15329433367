"""What a quick version gets wrong: time limits on a fake clock, `SystemExit`, labels everywhere, answers given beforehand,
rollback inside nested workflows, and what a pipeline does after a crash."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.engine.conftest import Elsewhere, go
from wfkernel import suspend
from wfkernel.engine.durable import workflow
from wfkernel.engine.failures import StepTimeout
from wfkernel.engine.wake import restart_interrupted
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.builder import clone_step
from wfkernel.plan.step import step
from wfkernel.store.store import Store
from wfkernel.testing import FakeClock


class Answer(BaseModel):
    approve: bool


# -- time ----------------------------------------------------------------------------------------------------------------


def test_a_steps_time_limit_goes_by_the_runs_clock() -> None:
    clock = FakeClock()

    @step(timeout=3600)
    async def hang(x: Any) -> None:
        await asyncio.Event().wait()

    result = go(clock.drive(Workflow("w", clock=clock).then(hang).commit().create_run().start(1)))
    assert isinstance(result.exception, StepTimeout)
    assert clock.monotonic() == 3600


def test_a_step_that_ends_in_time_leaves_no_alarm_behind() -> None:
    clock = FakeClock()

    @step(timeout=3600)
    async def quick(x: int) -> int:
        await clock.sleep(10)
        return x

    async def scene() -> int:
        result = await clock.drive(Workflow("w", clock=clock).then(quick).sleep("2h").commit().create_run().start(1))
        assert clock.sleepers == 0
        return int(result.result)

    assert go(scene()) == 1
    assert clock.monotonic() == 10 + 7200


# -- SystemExit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["inline", "threads", "processes"])
def test_a_step_that_exits_fails_and_the_process_lives(worker: str) -> None:
    @step(worker=worker)
    def leave(x: Any) -> None:
        sys.exit("enough")

    result = go(Workflow("w").then(leave).commit().create_run().start(1))
    assert (result.status, result.error["type"], result.error["message"]) == ("failed", "SystemExit", "enough")


def test_arms_and_conditions_that_exit_fail_the_run_too() -> None:
    async def leave(x: Any) -> None:
        sys.exit(3)

    async def same(x: Any) -> Any:
        return x

    def condition(x: Any) -> bool:
        sys.exit(4)

    flow = Workflow("w").parallel(leave, same).commit()
    assert go(flow.create_run().start(1)).error["type"] == "SystemExit"
    for asking in (
        Workflow("w").do_while(same, condition),
        Workflow("w").map(condition),
        Workflow("w").sleep(condition),
    ):
        error = go(asking.commit().create_run().start(1)).error
        assert error["type"] == "FunctionExited"
        assert "sys.exit(4)" in error["message"]
    result = go(Workflow("w").branch((condition, same)).commit().create_run().start(1))
    assert (result.status, result.result) == ("success", {}), "a condition that raises does not hold"

    @workflow
    async def function(ctx: Any) -> None:
        await ctx.step(same, 1)
        sys.exit(5)

    assert go(function.create_run().start()).error["type"] == "SystemExit"


# -- labels and answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["inline", "threads", "processes"])
def test_a_plain_suspend_takes_a_label_wherever_the_step_executes(worker: str) -> None:
    def ask(x: int) -> bool:
        return suspend(Answer, "?", label=["boss", f"order-{x}"]).approve

    run = Workflow("w").then(step(ask, worker=worker)).commit().create_run()
    result = go(run.start(7))
    assert result.resume_labels == {"boss": "ask", "order-7": "ask"}
    assert go(run.resume({"approve": True}, label="order-7")).result is True


@pytest.mark.parametrize("worker", ["inline", "threads", "processes"])
def test_answers_given_beforehand_serve_the_engines_runs(worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFKERNEL_ANSWERS", '{"ask": [{"approve": true}, {"approve": false}], "ctx": 5}')

    def ask(x: int) -> list[bool]:
        return [suspend(Answer, "first?").approve, suspend(Answer, "second?").approve]

    run = Workflow("w").then(step(ask, worker=worker)).commit().create_run()
    resumed: list[Any] = []
    run.watch(lambda event: resumed.append(event.payload) if event.type == "step.resumed" else None)
    result = go(run.start(1))
    assert (result.status, result.result) == ("success", [True, False])
    assert [(body["index"], body["by"]) for body in resumed] == [(0, "settings"), (1, "settings")]


def test_answers_given_beforehand_serve_durable_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFKERNEL_ANSWERS", '{"suspend": {"approve": true}}')

    @workflow
    async def function(ctx: Any) -> bool:
        return bool((await ctx.suspend(Answer, "?")).approve)

    assert go(function.create_run().start()).result is True


# -- rollback inside nested workflows ------------------------------------------------------------------------------------


def setting(key: str, value: Any) -> Any:
    async def work(x: Any, ctx: Any) -> Any:
        ctx.set_state({key: value})
        return x

    return clone_step(work, id=f"{key}{value}")


def test_the_state_can_be_rolled_back_to_a_step_inside_a_nested_workflow() -> None:
    inner = Workflow("inner").then(setting("a", 1)).then(setting("a", 2)).then(setting("b", 3)).commit()
    flow = Workflow("w").then(setting("a", 0)).then(inner).then(setting("c", 4)).commit()
    run = flow.create_run()
    assert go(run.start(1)).state == {"a": 2, "b": 3, "c": 4}
    assert go(run.rollback("inner")) == {"a": 2, "b": 3}

    run = flow.create_run()
    go(run.start(1))
    assert go(run.rollback("inner.a1")) == {"a": 1}


def test_a_rollback_does_not_see_what_stands_beside_in_other_workflows() -> None:
    left = Workflow("left").then(setting("a", 1)).commit()
    right = Workflow("right").then(setting("b", 1)).then(setting("b", 2)).commit()
    run = Workflow("w").parallel(left, right).commit().create_run()
    go(run.start(1))
    assert go(run.rollback("right.b1")) in ({"b": 1}, {"b": 1, "a": 1})
    assert run.result().state["b"] == 1


# -- pipelines -----------------------------------------------------------------------------------------------------------


def test_a_pipeline_cut_by_a_crash_runs_again_as_a_whole_and_what_was_before_it_does_not(
    elsewhere: Elsewhere, store: Store
) -> None:
    script = """
        async def numbers(x):
            for n in range(4):
                note(f"made{n}")
                yield n

        async def total(items: "AsyncIterator[int]") -> int:
            seen = 0
            async for item in items:
                seen += item
                if item == 2:
                    die_once("total")
            return seen

        from collections.abc import AsyncIterator
        flow = Workflow("w", store=store).then(first).then(numbers).then(total).commit()
        run = flow.create_run("r")
        result = asyncio.run(run.start(1) if run.status == "pending" else run.restart())
        print(result.status, result.result)
        store.close()
    """
    code, _ = elsewhere.run(script)
    assert code == -9
    code, said = elsewhere.run(script)
    assert said.split() == ["success", "6"]
    made = [line for line in elsewhere.log if line.startswith("made")]
    assert made[-4:] == ["made0", "made1", "made2", "made3"], "from its first item"
    assert elsewhere.log.count("first(1)") == 1


def test_a_pipeline_that_has_ended_is_not_run_again() -> None:
    made: list[int] = []

    async def numbers(x: Any) -> AsyncIterator[int]:
        for n in range(3):
            made.append(n)
            yield n

    async def total(items: AsyncIterator[int]) -> int:
        return sum([item async for item in items])

    async def ask(x: int) -> Any:
        return suspend(Answer, "?")

    run = Workflow("w").then(numbers).then(total).then(ask).commit().create_run()
    assert go(run.start(1)).status == "suspended"
    go(run.resume({"approve": True}))
    assert made == [0, 1, 2]


# -- what holds what -----------------------------------------------------------------------------------------------------


def test_what_holds_a_suspended_step_is_shown_as_suspended() -> None:
    async def ask(x: int, ctx: Any) -> Any:
        return ctx.suspend(Answer)

    inner = Workflow("inner").then(ask).commit()
    steps = go(Workflow("w").then(inner).commit().create_run().start(1)).steps
    assert {name: step.status for name, step in steps.items()} == {"inner": "suspended", "inner.ask": "suspended"}
    steps = go(Workflow("w").foreach(ask).commit().create_run().start([1])).steps
    assert steps["ask"].status == "suspended"


def test_all_runs_whose_process_died_are_taken_up_at_once(elsewhere: Elsewhere, store: Store) -> None:
    script = """
        async def second(x):
            die_once(sys.argv[2])
            return x

        asyncio.run(Workflow("w", store=store).then(first).then(second).commit().create_run(sys.argv[2]).start(1))
    """
    for run_id in ("a", "b"):
        assert elsewhere.run(script, run_id)[0] == -9

    async def first(x: int) -> int:
        raise AssertionError("it is done")

    async def second(x: int) -> str:
        return f"taken up with {x}"

    flow = Workflow("w", store=store).then(first).then(second).commit()
    results = go(restart_interrupted(store, [flow]))
    assert sorted(result.run_id for result in results) == ["a", "b"]
    assert {result.result for result in results} == {"taken up with 2"}
    assert go(restart_interrupted(store, [flow])) == []
