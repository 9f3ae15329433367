"""Durable sleep: the time to wake up is stored first, so that another process sleeps only what is left."""

from __future__ import annotations

from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import UNKNOWN, known_result
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import RunBody, ask, fail
from wfkernel.engine.failures import Parked
from wfkernel.engine.hooks import Skip
from wfkernel.engine.scope import StateScope
from wfkernel.engine.step_run import ConditionContext
from wfkernel.plan import nodes
from wfkernel.plan.duration import seconds, timestamp
from wfkernel.plan.nodes import Call

__all__ = ["run_sleep", "sleep_until"]


async def run_sleep(
    core: Core, frame: Frame, node: nodes.Sleep, value: Any, scope: StateScope, run_body: RunBody
) -> Any:
    path = f"{frame.prefix}{node.id}"
    known = known_result(core, path, 0, scope)
    if known is not UNKNOWN:
        return value
    step = core.state.steps.get(path)
    if step is None or step.wake_at is None:
        amount = node.amount
        if isinstance(amount, Call):
            try:
                amount = await ask(amount, value, ConditionContext(core, scope, frame, value))
                amount = timestamp(amount) if node.until else seconds(amount)
            except Exception as error:
                fail(core, path, error)
        wake_at = amount if node.until else core.clock.now() + amount
    else:
        wake_at = step.wake_at
    await sleep_until(core, path, value, wake_at, scope)
    return value


async def sleep_until(core: Core, path: str, value: Any, wake_at: float, scope: StateScope) -> None:
    """Sleep as a step: the time to wake up is stored first, so that another process sleeps only what is left."""
    emit, state = core.recorder.emit, core.state
    step = state.steps.get(path)
    if step is None or step.wake_at is None:
        await core.recorder.record(ev.STEP_WAITING, {"input": value, "wake_at": wake_at, "status": "waiting"}, path)
    left = wake_at - core.clock.now()
    verdict, left = await core.fire("sleep", path, left, scope=scope)
    if not isinstance(verdict, Skip) and left > 0:
        if core.park is not None and left > core.park:
            raise Parked(wake_at)
        core.sleeping.append(wake_at)
        if not core.counts.executing:
            emit(ev.RUN_WAITING, {"status": "waiting", "wake_at": min(core.sleeping)}, durable=True)
        try:
            await core.sleep(left)
        finally:
            core.sleeping.remove(wake_at)
        if core.state.status == "waiting":
            emit(ev.RUN_CONTINUE, {"status": "running"})
    await core.recorder.record(ev.STEP_RESULT, {"status": "success", "output": value}, path)
