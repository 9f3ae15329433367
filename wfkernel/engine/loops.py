"""Loops: the body, then its condition, then perhaps the body again."""

from __future__ import annotations

from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import UNKNOWN, error_of
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import RunBody, ask, fail
from wfkernel.engine.failures import IterationLimit, StepFailed
from wfkernel.engine.hooks import Replace, Skip
from wfkernel.engine.scope import StateScope
from wfkernel.engine.step_run import ConditionContext
from wfkernel.engine.terms import SKIPPED
from wfkernel.engine.values import reveal
from wfkernel.plan import nodes

__all__ = ["run_loop"]


async def run_loop(core: Core, frame: Frame, node: nodes.Loop, value: Any, scope: StateScope, run_body: RunBody) -> Any:
    path = f"{frame.prefix}{node.id}"
    known = core.state.steps.get(path)
    decided = core.state.decisions.get(path, (0, True))
    iteration, again = decided[0], decided[1]
    if known is not None and iteration:
        core.adopt(path, scope)
        value = (
            reveal(known.output, core.recorder.codec)
            if known.iteration == iteration
            else reveal(known.input, core.recorder.codec)
        )
    limit = core.limits.iterations
    hooked = core.hooks is not None
    while again:
        core.check()
        iteration += 1
        if limit is not None and iteration > limit:
            fail(core, path, IterationLimit(f"the loop over '{path}' went round {limit} times, its limit."))
        outcome: Any = UNKNOWN
        if hooked:
            verdict, value = await core.fire("iteration.start", path, value, 1, iteration, scope)
            if isinstance(verdict, Replace | Skip):
                outcome = verdict.value if isinstance(verdict, Replace) else value
        if outcome is UNKNOWN:
            outcome = await run_body(core, frame, node.body, path, value, scope, iteration)
        value = value if outcome is SKIPPED else outcome
        if hooked:
            _, value = await core.fire("iteration.finish", path, value, 1, iteration, scope)
        core.check()
        try:
            verdict = await ask(node.condition, value, ConditionContext(core, scope, frame, value, iteration))
        except Exception as error:
            raise StepFailed(path, error_of(error), error) from None
        again = not verdict if node.until else bool(verdict)
        core.recorder.emit(ev.STEP_ITERATION, {"iteration": iteration, "again": again}, path)
    if hooked:
        _, value = await core.fire("loop.finish", path, value, 1, iteration, scope)
    return value
