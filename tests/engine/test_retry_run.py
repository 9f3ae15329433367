"""Trying a run again that ended early: what finished is kept, what failed is done again."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import go
from wfkernel import Store
from wfkernel.engine.durable import workflow
from wfkernel.engine.failures import RunNotActive
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step

calls: list[Any] = []
broken: set[Any] = set()


@pytest.fixture(autouse=True)
def fresh() -> None:
    calls.clear()
    broken.clear()


def does(name: str) -> Any:
    async def work(x: Any) -> Any:
        calls.append(name if name != "item" else x)
        if name in broken or (name == "item" and x in broken):
            raise OSError("down")
        return x

    work.__name__ = name
    return step(work)


a, b, c, item = (does(name) for name in ("a", "b", "c", "item"))


def tried_again(run: Any) -> Any:
    """Mend everything, try again, and return how it ended; `calls` has what was executed for it."""
    calls.clear()
    broken.clear()
    return go(run.retry())


def failed(flow: Any, value: Any, *names: Any) -> Any:
    broken.update(names)
    run = flow.create_run()
    assert go(run.start(value)).status == "failed"
    return run


def test_steps_before_the_failed_one_are_kept_and_it_goes_on_behind_it() -> None:
    run = failed(Workflow("w").then(a).then(b).then(c).commit(), 1, "b")
    ended = tried_again(run)
    assert (ended.status, ended.result, ended.error) == ("success", 1, None)
    assert calls == ["b", "c"]


def test_finished_items_of_a_foreach_are_kept_also_inside_a_nested_workflow() -> None:
    inner = Workflow("inner").foreach(item, concurrency=1).commit()
    for flow in (Workflow("w").foreach(item, concurrency=1).commit(), Workflow("w").then(inner).commit()):
        run = failed(flow, [10, 20, 30, 40], 30)
        assert tried_again(run).result == [10, 20, 30, 40]
        assert calls == [30, 40]


def test_arms_of_a_parallel_that_finished_are_kept() -> None:
    run = failed(Workflow("w").parallel(a, b).then(c).commit(), 1, "b")
    assert tried_again(run).result == {"a": 1, "b": 1}
    assert calls == ["b", "c"]


def test_it_may_fail_again_and_be_tried_as_often_as_needed() -> None:
    run = failed(Workflow("w").then(a).then(b).commit(), 1, "b")
    for _ in range(2):
        again = go(run.retry())
        assert (again.status, again.error["message"]) == ("failed", "down")
    assert tried_again(run).result == 1


def test_an_answer_that_was_given_is_not_asked_for_again() -> None:
    @step
    async def ask(x: Any, ctx: Any) -> Any:
        told = ctx.suspend()
        if "ask" in broken:
            raise OSError("down")
        return told

    run = Workflow("w").then(ask).commit().create_run()
    broken.add("ask")
    assert go(run.start(1)).status == "suspended"
    assert go(run.resume("yes")).status == "failed"
    assert tried_again(run).result == "yes"


def test_a_durable_function_keeps_its_steps_and_the_failures_it_caught() -> None:
    @workflow
    async def f(ctx: Any, x: int) -> str:
        try:
            how = await ctx.step(a, x)
        except OSError:
            how = "without a"
        first, second = await ctx.gather(ctx.step(b, how), ctx.step(c, how))
        return f"{first}, {second}"

    run = failed(f, 1, "a", "c")
    ended = tried_again(run)
    assert (ended.status, ended.result) == ("success", "without a, without a")
    assert calls == ["c"]


def test_a_body_that_raised_by_itself_is_executed_again_over_the_same_steps() -> None:
    @workflow
    async def f(ctx: Any, x: int) -> int:
        value: int = await ctx.step(a, x)
        if "body" in broken:
            raise KeyError("body")
        return value

    run = failed(f, 7, "body")
    assert tried_again(run).result == 7
    assert calls == []


def test_what_was_undone_is_done_again() -> None:
    undone: list[Any] = []

    @step(compensate=undone.append)
    async def book(x: Any) -> Any:
        calls.append("book")
        return x

    run = failed(Workflow("w").then(a).then(book).then(b).then(c).commit(), 1, "c")
    assert undone == [1]
    assert tried_again(run).result == 1
    assert calls == ["book", "b", "c"]


def test_a_canceled_run_can_be_taken_up() -> None:
    async def scene() -> Any:
        begun, end = asyncio.Event(), asyncio.Event()

        @step
        async def slow(x: Any) -> Any:
            begun.set()
            await end.wait()
            return x

        run = Workflow("w").then(slow).then(a).commit().create_run()
        task = asyncio.ensure_future(run.start(1))
        await begun.wait()
        await run.cancel()
        end.set()
        assert (await task).status == "canceled"
        assert calls == []
        return await run.retry()

    assert go(scene()).result == 1
    assert calls == ["a"]


def test_another_process_may_try_it(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "s.duckdb")) as store:
        run = failed(Workflow("w", store=store).then(a).foreach(item).commit(), [1, 2], 2)
        run_id = run.run_id
    with closing(Store(tmp_path / "s.duckdb")) as store:
        again = Workflow("w", store=store).then(a).foreach(item).commit().create_run(run_id)
        assert tried_again(again).result == [1, 2]
        assert calls == [2]
        assert store.load(run_id).status == "success"


def test_a_run_that_did_not_end_early_is_refused() -> None:
    run = Workflow("w").then(a).commit().create_run()
    go(run.start(1))
    with pytest.raises(RunNotActive, match="is success: there is nothing to try again"):
        go(run.retry())


def test_the_traceback_of_the_failure_has_the_frames_of_the_users_code_alone() -> None:
    @workflow
    async def f(ctx: Any, x: int) -> Any:
        return await ctx.step(a, x)

    run = failed(f, 1, "a")
    told = run.result().error["traceback"]
    assert "in f\n" in told
    assert "in work\n" in told
    assert "wfkernel/engine" not in told
