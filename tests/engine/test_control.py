"""Cancel, pause, time travel, limits, sessions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import go, story
from wfkernel.engine.failures import (
    IterationLimit,
    RunActive,
    RunNotActive,
    RunTimeout,
    SessionError,
    TimeTravelRefused,
)
from wfkernel.engine.limits import Limits
from wfkernel.engine.run import Run
from wfkernel.engine.sessions import Session
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError, RunNotFound, RunNotSuspended
from wfkernel.plan.step import step
from wfkernel.store.store import Store

calls: list[Any] = []


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


def named(name: str) -> Any:
    async def work(x: Any) -> Any:
        calls.append(name)
        return f"{x}{name}"

    work.__name__ = name
    return work


a, b, c, d = (named(name) for name in "abcd")


@step
async def ask(x: Any, ctx: Any) -> Any:
    calls.append("ask")
    return f"{x}{ctx.suspend()}"


async def fail(x: Any) -> None:
    raise ValueError("no")


def wf(**options: Any) -> Workflow:
    return Workflow("w", **options)


def started(flow: Workflow, value: Any = "", **options: Any) -> Run:
    run = flow.commit().create_run()
    go(run.start(value, **options))
    calls.clear()
    return run


# -- cancel --------------------------------------------------------------------------------------------------------------


def test_a_step_that_listens_can_stop_and_no_later_one_begins() -> None:
    async def scene() -> None:
        began = asyncio.Event()

        async def listen(x: Any, ctx: Any) -> str:
            began.set()
            await ctx.signal.wait()
            return ctx.signal.reason  # type: ignore[no-any-return]

        run = wf().then(listen).then(a).commit().create_run()
        told = story(run)
        task = asyncio.ensure_future(run.start(1))
        await began.wait()
        await run.cancel("enough")
        result = await task
        assert (result.status, result.steps["listen"].output) == ("canceled", "enough")
        assert told[-3:] == ["cancel", "R(listen)", "finish(canceled)"]
        with pytest.raises(RunNotActive, match="has ended"):
            await run.cancel()

    go(scene())
    assert calls == []


def test_a_sleep_ends_at_once_when_the_run_is_canceled() -> None:
    async def scene() -> Any:
        run = wf().sleep("1h").commit().create_run()
        task = asyncio.ensure_future(run.start(1))
        while run.status != "waiting":
            await asyncio.sleep(0)
        await run.cancel()
        return (await asyncio.wait_for(task, 5)).status

    assert go(scene()) == "canceled"


def test_a_failing_step_of_a_canceled_run_leaves_it_canceled() -> None:
    async def abort(x: Any, ctx: Any) -> None:
        ctx.abort()
        raise ValueError

    result = wf().then(abort).commit().run(1)
    assert (result.status, result.steps["abort"].status) == ("canceled", "failed")


def test_canceling_reaches_into_nested_workflows_and_out_of_them() -> None:
    async def abort(x: Any, ctx: Any) -> str:
        ctx.abort()
        return x  # type: ignore[no-any-return]

    inner = Workflow("inner").then(abort).then(a).commit()
    assert wf().then(inner).then(b).commit().run(1).status == "canceled"
    assert calls == []


def test_a_run_is_not_started_while_it_runs() -> None:
    async def scene() -> None:
        run = wf().sleep("1h").commit().create_run()
        task = asyncio.ensure_future(run.start(1))
        await asyncio.sleep(0)
        with pytest.raises(RunActive):
            await run.start(1)
        with pytest.raises(RunNotSuspended):
            await run.resume()
        await run.cancel()
        await task

    go(scene())


def test_an_ended_run_may_be_started_again_and_begins_anew() -> None:
    run = started(wf().then(a).then(b))
    assert go(run.start("x")).result == "xab"
    assert calls == ["a", "b"]


def test_the_id_of_a_live_run_gives_the_run_that_is_being_executed() -> None:
    async def scene() -> None:
        flow = wf().sleep("1h").commit()
        run = flow.create_run("the-id")
        task = asyncio.ensure_future(run.start(1))
        while run.status != "waiting":
            await asyncio.sleep(0)
        assert flow.create_run("the-id") is run
        await flow.create_run("the-id").cancel()
        assert (await task).status == "canceled"

    go(scene())


def test_a_step_cut_short_by_the_end_of_its_run_is_not_shown_as_running() -> None:
    async def slow(x: Any) -> None:
        await asyncio.sleep(30)

    result = wf(limits=Limits(seconds=0.05)).then(slow).commit().run(0)
    assert (result.status, result.steps["slow"].status) == ("failed", "canceled")


# -- one step at a time ----------------------------------------------------------------------------------------------------


def test_a_paused_run_proceeds_step_by_step_or_to_the_end() -> None:
    inner = Workflow("inner").then(b).then(c).commit()
    run = wf().then(a).then(inner).parallel(d, a).commit().create_run()
    assert go(run.start("", per_step=True)).status == "paused"
    for expected in ("ab", "abc", "abcd"):
        assert go(run.proceed(per_step=True)).status == "paused"
        assert "".join(calls) == expected
    assert go(run.proceed()).result == {"d": "abcd", "a": "abca"}
    with pytest.raises(RunNotActive, match="not paused"):
        go(run.proceed())


# -- time travel -----------------------------------------------------------------------------------------------------------


def test_what_was_before_the_target_stays_and_what_was_after_runs_again() -> None:
    run = started(wf().then(a).then(b).then(c))
    assert go(run.time_travel("b")).result == "abc"
    assert calls == ["b", "c"]
    assert go(run.time_travel(b, input="X")).result == "Xbc"
    assert go(run.time_travel("a", input="Y")).result == "Yabc"
    assert go(run.time_travel("c", context={"b": "Z"})).result == "Zc"


def test_the_state_can_be_replaced() -> None:
    async def show(x: Any, ctx: Any) -> Any:
        return ctx.state

    run = started(wf().then(a).then(show), state={"k": 1})
    assert go(run.time_travel("show", state={"k": 9})).result == {"k": 9}


def test_a_failed_run_goes_on_from_the_step_that_failed() -> None:
    broken = [True]

    async def sometimes(x: Any) -> Any:
        if broken:
            raise OSError("down")
        return x

    run = started(wf().then(a).then(sometimes).then(b))
    assert run.status == "failed"
    broken.clear()
    assert go(run.time_travel("sometimes")).result == "ab"
    assert calls == ["b"]


def test_into_a_nested_workflow() -> None:
    inner = Workflow("inner").then(b).then(c).commit()
    run = started(wf().then(a).then(inner).then(d))
    assert go(run.time_travel("inner.c")).result == "abcd"
    assert calls == ["c", "d"]
    assert go(run.time_travel(["inner", "c"], input="X")).result == "Xcd"


def test_into_an_arm_of_a_parallel_only_that_arm_runs_again() -> None:
    run = started(wf().then(a).parallel(b, c))
    assert go(run.time_travel("c")).result == {"b": "ab", "c": "ac"}
    assert calls == ["c"]


def test_into_a_branch_only_the_target_arm_runs_if_its_condition_holds() -> None:
    run = started(wf().then(a).branch((lambda x: True, b), (lambda x: True, c), (lambda x: False, d)))
    assert go(run.time_travel("b")).result == {"b": "ab"}
    assert go(run.time_travel("d")).result == {"b": "ab", "c": "ac"}


def test_a_new_run_can_begin_in_the_middle_with_context() -> None:
    run = wf().then(a).then(b).then(c).commit().create_run()
    with pytest.raises(TimeTravelRefused, match=r"step\(s\) 'a' precede the target"):
        go(run.time_travel("c", input="X"))
    assert go(run.time_travel("c", context={"a": "A", "b": "B"})).result == "Bc"
    assert calls == ["c"]


def test_a_later_suspended_step_can_be_answered_on_the_way() -> None:
    run = started(wf().then(a).then(b).then(ask))
    assert go(run.time_travel("b", resume_data="!")).result == "ab!"


def test_a_target_that_is_not_there_is_refused_and_nothing_changes() -> None:
    run = started(wf().then(a).then(b))
    before = run.state.seq
    with pytest.raises(
        TimeTravelRefused, match=r"the step does not exist in the current execution graph\. It has a, b"
    ):
        go(run.time_travel("zz"))
    assert (run.state.seq, run.status) == (before, "success")


def test_the_state_can_be_rolled_back_to_where_a_step_left_it() -> None:
    def setter(name: str, value: int) -> Any:
        async def work(x: Any, ctx: Any) -> None:
            ctx.set_state({"k": value, name: True})

        work.__name__ = name
        return work

    run = started(wf().then(setter("one", 1)).then(setter("two", 2)).then(fail))
    assert run.result().state == {"k": 2, "one": True, "two": True}
    assert go(run.rollback("one")) == {"k": 1, "one": True}
    assert run.result().state == {"k": 1, "one": True}


# -- restart ---------------------------------------------------------------------------------------------------------------


def test_restarting_an_ended_run_gives_its_result_and_executes_nothing() -> None:
    run = started(wf().then(a))
    assert go(run.restart()).result == "a"
    assert calls == []
    with pytest.raises(RunNotActive, match="was not active"):
        go(started(wf().then(ask)).restart())
    with pytest.raises(RunNotFound):
        go(wf().then(a).commit().create_run().restart())


def test_a_run_whose_task_was_canceled_can_be_restarted() -> None:
    async def scene() -> Any:
        gate = [True]

        async def slow(x: Any) -> Any:
            if gate:
                await asyncio.sleep(60)
            return x

        run = wf().then(a).then(slow).commit().create_run()
        task = asyncio.ensure_future(run.start(""))
        while "a" not in calls:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.clear()
        return (await run.restart()).result

    assert go(scene()) == "a"
    assert calls == ["a"]


# -- limits ----------------------------------------------------------------------------------------------------------------


async def up(x: int) -> int:
    return x + 1


def test_a_loop_that_goes_round_too_often_fails_by_name() -> None:
    result = wf(limits=Limits(iterations=3)).do_while(up, lambda x: True).commit().run(0)
    assert (result.error["type"], result.steps["up"].iteration) == (IterationLimit.__name__, 3)  # type: ignore[index]
    assert wf(limits=Limits(iterations=3)).do_while(up, lambda x: x < 3).commit().run(0).result == 3


def test_a_run_that_takes_too_long_fails_by_name() -> None:
    result = wf(limits=Limits(seconds=0.05)).sleep(30).commit().run(0)
    assert result.error["type"] == RunTimeout.__name__  # type: ignore[index]


def test_a_run_out_of_time_fails_also_while_a_thread_works_and_tells_the_thread() -> None:
    told = threading.Event()

    def work(x: Any, ctx: Any) -> None:
        if ctx.signal.wait_blocking(30):
            told.set()

    result = wf(limits=Limits(seconds=0.05)).then(work).commit().run(0)
    assert result.error["type"] == RunTimeout.__name__  # type: ignore[index]
    assert told.wait(5)


def test_no_more_steps_run_at_the_same_time_than_allowed() -> None:
    running = most = 0

    async def work(x: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return x

    inner = Workflow("inner").foreach(work, concurrency=10).commit()
    flow = wf(limits=Limits(concurrency=3)).foreach(inner, concurrency=10).commit()
    assert flow.run([[1, 2], [3, 4], [5, 6]]).result == [[1, 2], [3, 4], [5, 6]]
    assert most == 3


def test_a_limit_is_above_nothing() -> None:
    with pytest.raises(DefinitionError, match="the limit concurrency must be above 0"):
        Limits(concurrency=0)


# -- sessions --------------------------------------------------------------------------------------------------------------


def test_runs_of_a_session_share_its_state_artifacts_and_history(tmp_path: Path) -> None:
    async def remember(x: Any, ctx: Any) -> Any:
        seen = ctx.session.get("seen", [])
        ctx.session.set(seen=[*seen, x])
        ctx.session.keep("latest", {"x": x})
        return seen

    flow = wf().then(remember).commit()
    session = Session("s", tmp_path)
    assert flow.run(1, session=session).result == []
    assert flow.run(2, session=session).result == [1]
    again = Session("s", tmp_path)  # as another process would open it
    assert again.state == {"seen": [1, 2]}
    assert (again.artifacts, again.artifact("latest")) == (["latest"], {"x": 2})
    assert [(run["workflow"], run["status"]) for run in again.history] == [("w", "success")] * 2


def test_a_session_remembers_what_failed_in_its_runs_once_and_with_what_helps(tmp_path: Path) -> None:
    tries: list[int] = []

    async def reach(x: Any) -> Any:
        tries.append(1)
        raise ConnectionError("no route")

    async def wait(x: Any, ctx: Any) -> Any:
        return ctx.suspend()

    inner = Workflow("inner").then(step(reach, retries=1), continue_on_error=True).then(wait).commit()
    run = Workflow("outer").then(inner).then(fail).commit().create_run(session=Session("s", tmp_path))
    go(run.start(1))
    assert len(tries) == 2
    (noted,) = Session("s", tmp_path).errors  # another process would see the same
    assert {**noted, "ts": 0.0, "hint": ""} == {
        "run_id": run.run_id, "workflow": "outer", "step": "inner.reach", "type": "ConnectionError", "message": "no route",
        "kind": "network_failure", "retryable": True, "hint": "", "ts": 0.0,
    }  # fmt: skip
    assert noted["hint"]
    go(run.resume({}))
    assert [error["step"] for error in Session("s", tmp_path).errors] == ["inner.reach", "fail"]


def test_a_session_remembers_the_newest_hundred_failures() -> None:
    session = Session("s")
    session.note_run("r", "w", "failed", [{"step": f"s{n}", "ts": float(n)} for n in range(150)])
    session.note_run("r2", "w", "failed", [{"step": "last", "ts": 200.0}])
    assert [error["step"] for error in session.errors] == [f"s{n}" for n in range(51, 150)] + ["last"]


def test_a_run_that_goes_on_elsewhere_has_its_session_again(tmp_path: Path) -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        ctx.session.set(asked=x)
        return [ctx.suspend(), ctx.session.id, ctx.session.get("asked")]

    store = Store(tmp_path / "store.duckdb")
    flow = Workflow("w", store=store).then(ask).commit()
    go(flow.create_run("r", session=Session("sales", tmp_path / "sessions")).start(1))
    store.close()
    store = flow.options.store = flow.options.codec = Store(tmp_path / "store.duckdb")
    assert go(flow.create_run("r").resume("yes")).result == ["yes", "sales", 1]
    assert [run["status"] for run in Session("sales", tmp_path / "sessions").history] == ["suspended", "success"]
    go(flow.create_run("s", session=Session("gone", tmp_path / "moved")).start(1))
    (tmp_path / "moved").rename(tmp_path / "elsewhere")
    with pytest.raises(SessionError, match="not there any more"):
        go(flow.create_run("s").resume("yes"))
    assert flow.create_run("s").status == "suspended"
    store.close()


def test_processes_that_change_a_session_lose_no_change(tmp_path: Path) -> None:
    script = (
        "import sys; from wfkernel.engine.sessions import Session\n"
        "s = Session('s', sys.argv[1])\n"
        "for _ in range(30): s.update(lambda state: {'n': state.get('n', 0) + 1})\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert Session("s", tmp_path).get("n") == 90


def test_a_line_cut_off_by_a_crash_is_ignored_and_overwritten(tmp_path: Path) -> None:
    session = Session("s", tmp_path)
    session.set(a=1)
    with (tmp_path / "s.jsonl").open("ab") as file:
        file.write(b'{"set":{"b":')
    assert Session("s", tmp_path).state == {"a": 1}
    session.set(c=3)
    assert Session("s", tmp_path).state == {"a": 1, "c": 3}


@pytest.mark.parametrize(("how", "begins"), [("inherit", {"k": 1, "new": 2}), ("copy", {"k": 1}), ("isolate", {})])
def test_a_nested_run_inherits_copies_or_isolates_the_session(tmp_path: Path, how: Any, begins: dict[str, int]) -> None:
    session = Session("parent", tmp_path)
    session.set(k=1)
    child = session.child("child", how)
    session.set(new=2)
    assert child.state == begins


def test_a_session_has_a_name_that_can_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="cannot be the name of a session"):
        Session("../up", tmp_path)
