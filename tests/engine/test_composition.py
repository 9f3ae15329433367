"""Every way to compose steps, and what comes out."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import go
from wfkernel.engine.failures import PermanentError, StepTimeout, Tripwire, WorkflowFailed
from wfkernel.engine.restarts import RestartPolicy
from wfkernel.engine.result import RunResult
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step


@step
async def add1(x: int) -> int:
    return x + 1


@step
def double(x: int) -> int:
    return 2 * x


@step
async def listed(x: int) -> list[int]:
    return list(range(x))


@step
async def broken(x: Any) -> Any:
    raise ValueError("no") from KeyError("cause")


def run(workflow: Workflow, value: Any = None, **options: Any) -> RunResult:
    return go(workflow.commit().create_run().start(value, **options))


def wf(**options: Any) -> Workflow:
    return Workflow("w", **options)


def test_steps_pass_their_output_on() -> None:
    result = run(wf().then(add1).then(double), 3)
    assert (result.status, result.result, result.input) == ("success", 8, 3)
    assert result.steps["double"].input == 4
    assert result.steps["double"].output == 8


def test_a_plain_function_runs_in_a_thread_and_a_coroutine_on_the_loop() -> None:
    def here(x: Any) -> str:
        return threading.current_thread().name

    async def there(x: Any) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert run(wf().then(here)).result.startswith("wfkernel-step")
    assert run(wf().then(there)).result is True


def test_the_blocking_form_runs_on_the_engines_own_loop() -> None:
    assert wf().then(add1).commit().run(1).unwrap() == 2


def test_the_blocking_form_works_where_a_loop_is_running() -> None:
    async def cell() -> Any:
        return wf().then(add1).commit().run(1).result

    assert go(cell()) == 2


def test_none_is_a_legal_value() -> None:
    async def nothing(x: Any) -> None:
        return None

    assert run(wf().then(nothing).then(nothing), 1).result is None


def test_parallel_arms_get_the_same_input_and_give_an_object() -> None:
    assert run(wf().parallel(add1, double), 5).result == {"add1": 6, "double": 10}


def test_parallel_arms_run_at_the_same_time() -> None:
    barrier: list[asyncio.Event] = []

    async def first(x: Any) -> str:
        barrier.append(asyncio.Event())
        await asyncio.wait_for(barrier[0].wait(), 5)
        return "first"

    async def second(x: Any) -> str:
        barrier[0].set()
        return "second"

    assert run(wf().parallel(first, second)).result == {"first": "first", "second": "second"}


def test_all_arms_end_before_a_failing_one_fails_the_run() -> None:
    ended = []

    async def slow(x: Any) -> None:
        await asyncio.sleep(0.02)
        ended.append("slow")

    result = run(wf().parallel(broken, slow))
    assert result.status == "failed"
    assert ended == ["slow"]
    assert result.steps["slow"].status == "success"


def test_with_fail_fast_the_first_failing_arm_stops_the_others() -> None:
    began, stopped = threading.Event(), threading.Event()

    async def failing(x: Any) -> None:
        while not began.is_set():
            await asyncio.sleep(0.001)
        raise ValueError("no")

    async def waiting(x: Any) -> None:
        await asyncio.sleep(60)

    def blocking(x: Any, ctx: Any) -> None:
        began.set()
        if ctx.signal.wait_blocking(60):
            stopped.set()

    result = run(wf().parallel(failing, waiting, blocking, fail_fast=True))
    assert (result.status, result.error["type"]) == ("failed", "ValueError")  # type: ignore[index]
    assert result.steps["waiting"].status == "canceled"
    assert stopped.wait(5)


def test_every_arm_whose_condition_holds_runs() -> None:
    flow = wf().branch((lambda x: x > 0, add1), (lambda x: x > 1, double), (lambda x: x > 9, broken))
    assert run(flow, 5).result == {"add1": 6, "double": 10}
    assert run(flow, 0).result == {}


def test_a_condition_that_raises_does_not_hold_and_is_told() -> None:
    problems = []
    workflow = wf().branch((lambda x: x["no"], broken), (lambda x: True, add1)).commit()
    started = workflow.create_run()
    started.watch(lambda e: problems.append(e.payload["problems"]) if e.type == "branch.selected" else None)
    assert go(started.start(1)).result == {"add1": 2}
    assert problems[0]["broken"]["type"] == "TypeError"


def test_loops_feed_the_body_its_own_output() -> None:
    seen = []

    def below(x: int, ctx: Any) -> bool:
        seen.append(ctx.iteration)
        return x < 10

    assert run(wf().do_while(double, below), 1).result == 16
    assert seen == [1, 2, 3, 4]
    assert run(wf().do_until(add1, lambda x: True), 1).result == 2


def test_a_loop_condition_that_raises_fails_the_run() -> None:
    result = run(wf().do_while(add1, lambda x: 1 / 0), 1)
    assert (result.status, result.error["type"]) == ("failed", "ZeroDivisionError")  # type: ignore[index]


def test_foreach_keeps_the_order_and_starts_an_item_as_soon_as_a_slot_is_free() -> None:
    running, most, order = 0, 0, []

    async def work(x: float) -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(x)
        running -= 1
        order.append(x)
        return x

    items = [0.08, 0.01, 0.02, 0.01]
    assert run(wf().foreach(work, concurrency=2), items).result == items
    assert most == 2
    assert order[-1] == 0.08  # the others went through the second slot meanwhile


def test_foreach_of_nothing_does_nothing_and_of_no_list_is_refused() -> None:
    assert run(wf().foreach(add1), []).result == []
    result = run(wf().foreach(add1), 7)
    assert result.status == "failed"
    assert "foreach takes a list, not int" in result.error["message"]  # type: ignore[index]


def test_a_failing_item_fails_the_run_and_no_further_item_starts() -> None:
    seen = []

    async def work(x: int) -> int:
        seen.append(x)
        return 1 // x

    result = run(wf().foreach(work), [1, 0, 5])
    assert (result.status, seen) == ("failed", [1, 0])
    assert result.error["type"] == "ZeroDivisionError"  # type: ignore[index]


@pytest.mark.parametrize("width", [lambda x: 3, lambda x: 0, lambda x: float("nan")])
def test_the_concurrency_of_foreach_can_be_computed(width: Any) -> None:
    assert run(wf().then(listed).foreach(add1, concurrency=width), 3).result == [1, 2, 3]


def test_mapping_by_function_and_by_sources() -> None:
    flow = (
        wf()
        .then(add1)
        .then(double)
        .map(
            {
                "constant": {"value": 0},
                "computed": lambda x: x + 1,
                "of_step": {"step": add1},
                "of_either": {"step": ["never", "double"]},
                "of_input": {"init": ""},
                "text": {"template": "in=${init} now=${input} add1=${steps.add1} gone=${state.gone}"},
            }
        )
    )
    result = run(flow, 1, state={"gone": None})
    assert result.result == {
        "constant": 0, "computed": 5, "of_step": 2, "of_either": 4, "of_input": 1, "text": "in=1 now=4 add1=2 gone=",
    }  # fmt: skip


def test_a_path_through_something_that_is_no_object_fails_the_run() -> None:
    result = run(wf().then(add1).map({"x": {"step": "add1", "path": "a.b"}}), 1)
    assert result.error["message"] == "Invalid path a.b in step add1"  # type: ignore[index]


def test_a_nested_workflow_is_a_step_with_paths_of_its_own() -> None:
    inner = Workflow("inner", input=int).then(add1).then(double).commit()
    result = run(wf().then(add1).then(inner), 1)
    assert result.result == 6
    assert list(result.steps) == ["add1", "inner", "inner.add1", "inner.double"]


def test_the_same_step_may_be_used_twice_and_its_later_result_is_shown() -> None:
    result = run(wf().then(add1).then(double).then(add1), 1)
    assert result.result == 5
    assert result.steps["add1"].output == 5


def test_a_nested_workflow_checks_its_input() -> None:
    inner = Workflow("inner", input=int).then(add1).commit()
    result = run(wf().then(inner), "x")
    assert result.error["type"] == "StepInputInvalid"  # type: ignore[index]


def test_a_graph_starts_a_step_as_soon_as_its_needs_are_met() -> None:
    order = []

    def make(name: str, pause: float) -> Any:
        async def work(x: Any) -> str:
            await asyncio.sleep(pause)
            order.append(name)
            return f"{name}({x if isinstance(x, str) else '+'.join(x.values()) if isinstance(x, dict) else x})"

        work.__name__ = name
        return work

    slow, quick, after_quick, end = make("slow", 0.08), make("quick", 0), make("after_quick", 0), make("end", 0)
    flow = wf().add(slow).add(quick).add(after_quick, needs=quick).add(end, needs=[slow, after_quick])
    assert run(flow, "i").result == "end(slow(i)+after_quick(quick(i)))"
    assert order == ["quick", "after_quick", "slow", "end"]  # no level barrier: after_quick did not wait for slow


def test_bail_ends_the_workflow_it_is_in_with_success() -> None:
    async def early(x: Any, ctx: Any) -> Any:
        ctx.bail("early")

    inner = Workflow("inner").then(early).then(broken).commit()
    assert run(wf().then(early).then(broken)).result == "early"
    assert run(wf().then(inner).map(lambda x: x + "!")).result == "early!"
    assert run(wf().parallel(early, add1).then(broken), 1).result == "early"
    assert run(wf().foreach(early).then(broken), [1, 2]).result == "early"
    assert run(wf().do_while(early, lambda x: True).then(broken)).result == "early"


def test_a_tripwire_is_told_apart_from_an_error() -> None:
    async def guard(x: Any) -> None:
        raise Tripwire("contains a password", metadata={"rule": 3})

    inner = Workflow("inner").then(guard).commit()
    for flow in (wf().then(guard), wf().then(inner), wf().parallel(guard, add1)):
        result = run(flow, 1)
        assert result.status == "tripwire"
        assert result.tripwire == {"reason": "contains a password", "retry": False, "metadata": {"rule": 3}}
        assert result.error is None


def test_a_failure_carries_type_message_cause_and_the_users_traceback() -> None:
    result = run(wf().then(broken))
    error = result.error
    assert error is not None
    assert (error["type"], error["message"], error["step"]) == ("ValueError", "no", "broken")
    assert error["cause"] == {"type": "KeyError", "message": "'cause'"}
    assert "attempt.py" not in error["traceback"]
    with pytest.raises(WorkflowFailed, match="ended as failed: ValueError: no") as failed:
        result.unwrap()
    assert isinstance(failed.value.__cause__, ValueError)


def test_retries_follow_a_failure_until_the_budget_is_used() -> None:
    calls = []

    @step(retries=2)
    async def flaky(x: Any, ctx: Any) -> int:
        calls.append(ctx.retry_count)
        raise OSError("again")

    result = run(wf().then(flaky))
    assert (result.status, calls) == ("failed", [0, 1, 2])


def test_a_permanent_error_and_an_error_that_is_not_asked_for_are_not_retried() -> None:
    calls = []

    @step(retries=5)
    async def permanent(x: Any) -> None:
        calls.append("permanent")
        raise PermanentError("for good")

    @step(retries=5, retry_on=OSError)
    async def filtered(x: Any) -> None:
        calls.append("filtered")
        raise ValueError

    assert run(wf().then(permanent)).status == run(wf().then(filtered)).status == "failed"
    assert calls == ["permanent", "filtered"]


def test_the_workflows_retries_hold_for_steps_that_say_nothing() -> None:
    calls = []

    async def flaky(x: Any) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise OSError
        return "fine"

    assert run(wf(retries=2).then(flaky)).result == "fine"


@pytest.mark.parametrize("worker", ["inline", "threads"])
def test_an_attempt_that_takes_too_long_fails_and_the_step_can_see_it(worker: str) -> None:
    told = threading.Event()

    @step(timeout=0.05, worker=worker)
    async def slow(x: Any, ctx: Any) -> None:
        try:
            for _ in range(100):
                await asyncio.sleep(0.02)
                if ctx.signal.is_set():
                    break
        finally:
            told.set()

    result = run(wf().then(slow))
    assert result.error["type"] == StepTimeout.__name__  # type: ignore[index]
    assert told.wait(2)


def test_a_timeout_of_the_steps_own_is_its_own_error() -> None:
    @step(timeout=5)
    async def own(x: Any) -> None:
        raise TimeoutError("mine")

    result = run(wf().then(own))
    assert (result.error["type"], result.error["message"]) == ("TimeoutError", "mine")  # type: ignore[index]


def test_a_step_in_a_process_gives_the_same_result() -> None:
    @step(worker="processes")
    def far(x: int) -> int:
        return x * 3

    assert run(wf().then(far), 2).result == 6


def test_a_worker_that_dies_is_not_a_step_that_raises() -> None:
    @step(worker="processes")
    def die(x: int) -> None:
        import os

        os._exit(7)

    died = []
    started = wf().then(die).commit().create_run()
    started.watch(lambda e: died.append(e.payload) if e.type == "step.died" else None)
    result = go(started.start(1))
    assert result.error["type"] == "WorkerDied"  # type: ignore[index]
    assert died[0]["exit_code"] == 7


def test_a_dead_worker_is_replaced_as_often_as_the_step_says(tmp_path: Path) -> None:
    marker = tmp_path / "died"

    @step(worker="processes", restarts=RestartPolicy(1, delay=0.01), retries=3)
    def die_once(x: int) -> int:
        import os

        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)
        return x

    died = []
    started = wf().then(die_once).commit().create_run()
    started.watch(lambda e: died.append((e.payload["signal"], e.payload["delay"])) if e.type == "step.died" else None)
    result = go(started.start(1))
    assert (result.result, died, result.steps["die_once"].attempts) == (1, [("SIGKILL", 0.01)], 1)


def test_the_context_works_in_another_process() -> None:
    @step(worker="processes")
    def far(x: int, ctx: Any) -> list[Any]:
        ctx.writer.write({"far": x})
        ctx.set_state({"k": ctx.state["k"] + 1})
        return [ctx.input, ctx.run_id, ctx.retry_count]

    @step(worker="processes")
    def early(x: Any, ctx: Any) -> None:
        ctx.bail(x)

    started = wf().then(far).then(early).then(broken).commit().create_run()
    written = []
    started.watch(lambda e: written.append(e.payload["output"]) if e.type == "step.output" else None)
    result = go(started.start(5, state={"k": 1}))
    assert result.result == [5, started.run_id, 0]
    assert (result.state, written) == ({"k": 2}, [{"far": 5}])


@pytest.mark.parametrize("worker", ["inline", "threads", "processes"])
def test_a_step_that_exits_has_failed(worker: str) -> None:
    @step(worker=worker)
    def leave(x: Any) -> None:
        raise SystemExit(3)

    result = run(wf().then(leave))
    assert (result.status, result.error["type"]) == ("failed", "SystemExit")  # type: ignore[index]
