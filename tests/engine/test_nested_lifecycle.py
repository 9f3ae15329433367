"""A workflow inside another keeps its own callbacks, hooks and limits; limits of memory and CPU time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.engine.conftest import go
from wfkernel.engine.durable import workflow
from wfkernel.engine.failures import CpuLimit, IterationLimit, MemoryLimit, RunTimeout
from wfkernel.engine.hooks import Hooks, Modify, Moment, Replace
from wfkernel.engine.limits import Limits
from wfkernel.engine.result import RunInfo
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.builder import clone_step
from wfkernel.plan.step import step

told: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    told.clear()


def callbacks() -> dict[str, Any]:
    def note(which: str) -> Any:
        return lambda info: told.append((which, f"{info.workflow_id}:{info.status}"))

    return {"on_start": note("start"), "on_finish": note("finish"), "on_error": note("error")}


async def up(x: int) -> int:
    return x + 1


async def fail(x: Any) -> None:
    raise ValueError("no")


@step
async def ask(x: Any, ctx: Any) -> Any:
    return ctx.suspend()


# -- callbacks -----------------------------------------------------------------------------------------------------------


def test_a_nested_workflows_callbacks_fire_inside_the_parents() -> None:
    inner = Workflow("inner", **callbacks()).then(up).commit()
    outer = Workflow("outer", **callbacks()).then(up).then(inner).commit()
    assert go(outer.create_run().start(1)).result == 3
    assert told == [("start", "outer:"), ("start", "inner:"), ("finish", "inner:success"), ("finish", "outer:success")]


def test_they_are_told_what_the_nested_workflow_did() -> None:
    infos: list[RunInfo] = []
    inner = Workflow("inner", on_finish=infos.append).then(up).then(clone_step(up, id="again")).commit()
    run = Workflow("outer").then(up).then(inner).commit().create_run(resource="me")
    go(run.start(1, state={"k": 1}))
    (info,) = infos
    assert (info.run_id, info.workflow_id, info.resource, info.status) == (run.run_id, "inner", "me", "success")
    assert (info.input, info.result, info.state) == (2, 4, {"k": 1})
    assert info.execution_path == ["up", "again"]
    assert info.steps["up"].output == 3


def test_a_failing_nested_workflow_tells_its_callbacks_and_fails_the_parent() -> None:
    inner = Workflow("inner", **callbacks()).then(fail).commit()
    result = go(Workflow("outer", **callbacks()).then(inner).commit().create_run().start(1))
    assert result.status == "failed"
    assert told == [
        ("start", "outer:"), ("start", "inner:"), ("finish", "inner:failed"), ("error", "inner:failed"),
        ("finish", "outer:failed"), ("error", "outer:failed"),
    ]  # fmt: skip


def test_on_start_is_called_once_over_suspensions_and_on_finish_at_every_stop() -> None:
    inner = Workflow("inner", **callbacks()).then(ask).commit()
    run = Workflow("outer").then(inner).commit().create_run()
    assert go(run.start(1)).status == "suspended"
    assert go(run.resume("yes")).result == "yes"
    assert told == [("start", "inner:"), ("finish", "inner:suspended"), ("finish", "inner:success")]


def test_an_on_start_that_raises_fails_the_nested_workflow_before_its_first_step() -> None:
    def refuse(info: RunInfo) -> None:
        raise RuntimeError("not today")

    inner = Workflow("inner", on_start=refuse).then(up).commit()
    result = go(Workflow("outer").then(inner).commit().create_run().start(1))
    assert (result.status, result.error["message"]) == ("failed", "not today")
    assert "inner.up" not in result.steps


def test_every_item_of_a_foreach_has_its_own_life() -> None:
    inner = Workflow("inner", **callbacks()).then(up).commit()
    go(Workflow("outer").foreach(inner).commit().create_run().start([1, 2]))
    assert [which for which, _ in told] == ["start", "finish", "start", "finish"]


def test_a_durable_function_inside_another_keeps_its_callbacks() -> None:
    @workflow(**callbacks())
    async def inner(ctx: Any, x: int) -> int:
        return int(await ctx.step(up, x))

    @workflow
    async def outer(ctx: Any, x: int) -> int:
        return int(await ctx.step(inner, x))

    assert go(outer.create_run().start(1)).result == 2
    assert told == [("start", "inner:"), ("finish", "inner:success")]


# -- hooks ---------------------------------------------------------------------------------------------------------------


def test_hooks_of_a_nested_workflow_see_its_steps_and_no_others() -> None:
    hooks, seen = Hooks(), []
    hooks.on("*", lambda moment: seen.append((moment.point, moment.path)))
    inner = Workflow("inner", hooks=hooks).then(up).commit()
    go(Workflow("outer").then(up).then(inner).then(clone_step(up, id="last")).commit().create_run().start(1))
    assert seen == [
        ("run.start", "inner"), ("step.start", "inner.up"), ("step.finish", "inner.up"), ("checkpoint", "inner.up"),
        ("run.finish", "inner"),
    ]  # fmt: skip


def test_hooks_around_come_before_its_own() -> None:
    outside, inside, order = Hooks(), Hooks(), []
    outside.on("step.start", lambda moment: order.append(("outer", moment.path)))
    inside.on("step.start", lambda moment: order.append(("inner", moment.path)))
    inner = Workflow("inner", hooks=inside).then(up).commit()
    go(Workflow("outer", hooks=outside).then(inner).commit().create_run().start(1))
    assert order == [("outer", "inner"), ("outer", "inner.up"), ("inner", "inner.up")]


def test_they_can_change_its_input_and_output_and_save_it() -> None:
    hooks = Hooks()
    hooks.on("run.start", lambda moment: Modify(moment.value * 10))
    hooks.on("run.finish", lambda moment: Modify(-moment.value))
    inner = Workflow("inner", hooks=hooks).then(up).commit()
    assert go(Workflow("outer").then(inner).commit().create_run().start(1)).result == -11

    saving = Hooks()
    saving.on("run.error", lambda moment: Replace("saved"))
    inner = Workflow("inner", hooks=saving).then(fail).commit()
    assert go(Workflow("outer").then(inner).commit().create_run().start(1)).result == "saved"


def test_a_plain_hook_has_the_default_time_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfkernel.engine.hooks.DEFAULT_SECONDS", 0.05)
    hooks = Hooks()

    def slow(moment: Moment) -> None:
        time.sleep(0.4)

    hooks.on("step.start", slow)
    run = Workflow("w", hooks=hooks).then(up).commit().create_run()
    failed: list[Any] = []
    run.watch(lambda event: failed.append(event.payload) if event.type == "hook.failed" else None)
    began = time.monotonic()
    assert go(run.start(1)).result == 2
    assert failed[0]["hook"] == "slow"
    assert "0.05 s" in failed[0]["error"]["message"]
    assert time.monotonic() - began < 0.4, "the run did not wait for it"


# -- limits --------------------------------------------------------------------------------------------------------------


def test_a_nested_workflows_limits_hold_inside_the_parent() -> None:
    loop = Workflow("inner", limits=Limits(iterations=3)).do_while(up, lambda x: True).commit()
    result = go(Workflow("outer").then(loop).commit().create_run().start(1))
    assert isinstance(result.exception, IterationLimit)

    async def long(x: Any) -> None:
        await asyncio.sleep(30)

    slow = Workflow("inner", limits=Limits(seconds=0.05)).then(long).commit()
    result = go(Workflow("outer").then(slow).commit().create_run().start(1))
    assert isinstance(result.exception, RunTimeout)
    assert "workflow 'inner' took longer" in str(result.exception)


@pytest.mark.parametrize(("around", "own"), [(2, 5), (5, 2), (None, 2), (2, None)])
def test_the_tighter_concurrency_counts(around: int | None, own: int | None) -> None:
    running, most = 0, 0

    async def item(x: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    inner = Workflow("inner", limits=Limits(concurrency=own)).foreach(item, concurrency=10).commit()
    go(Workflow("outer", limits=Limits(concurrency=around)).then(inner).commit().create_run().start(list(range(8))))
    assert most == 2


def test_a_run_over_its_memory_fails_with_the_limits_own_error() -> None:
    kept: list[bytes] = []

    async def eat(x: int) -> int:
        kept.append(b"x" * 40_000_000)
        await asyncio.sleep(0.25)
        return x

    import psutil

    room = psutil.Process().memory_info().rss + 500_000_000
    flow = Workflow("w", limits=Limits(memory=room)).do_while(eat, lambda x: len(kept) < 60).commit()
    result = go(flow.create_run().start(1))
    assert isinstance(result.exception, MemoryLimit)
    assert "uses" in result.error["message"]
    assert len(kept) < 60


@pytest.mark.parametrize("worker", ["inline", "processes"])
def test_a_run_over_its_cpu_time_fails_with_the_limits_own_error(worker: str) -> None:
    async def burn(x: int) -> int:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            sum(range(1000))
        return x + 1

    flow = Workflow("w", limits=Limits(cpu=0.5)).do_while(step(burn, worker=worker), lambda x: x < 20).commit()
    result = go(flow.create_run().start(0))
    assert isinstance(result.exception, CpuLimit)
    assert result.error["type"] == "CpuLimit"


def test_a_time_limit_is_kept_by_steps_that_never_let_go_of_the_loop() -> None:
    async def stubborn(x: int) -> int:
        time.sleep(0.02)
        return x

    result = go(
        Workflow("w", limits=Limits(seconds=0.1)).do_while(stubborn, lambda x: True).commit().create_run().start(1)
    )
    assert isinstance(result.exception, RunTimeout)


def test_limits_are_positive() -> None:
    with pytest.raises(DefinitionError, match="memory must be above 0"):
        Limits(memory=0)
