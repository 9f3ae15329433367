"""The terms of a step: whether it runs at all (`when`), with what (`given`), and what its failure means.

What was decided is in the events: a step that was skipped stays skipped when the run is taken up again, one that has
begun is not asked about again, and a failure that is excused is excused for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import ask, fail
from wfkernel.engine.failures import StepFailed
from wfkernel.engine.scope import StateScope
from wfkernel.engine.step_run import ConditionContext
from wfkernel.plan.nodes import Body

__all__ = ["SKIPPED", "run_on_terms"]

SKIPPED: Final = type("Skipped", (), {"__repr__": lambda self: "SKIPPED"})()
"""In place of the output of a step that did not run."""


async def run_on_terms(
    core: Core,
    frame: Frame,
    body: Body,
    path: str,
    value: Any,
    scope: StateScope,
    iteration: int,
    index: int | None,
    run: Callable[..., Any],
) -> Any:
    """Run a body as its terms say. Returns its output, None for an excused failure, `SKIPPED` if it did not run."""
    terms = body.terms
    known = core.state.steps.get(path)
    if known is not None and known.iteration != iteration:
        known = None
    if known is not None and known.status == "skipped":
        return SKIPPED
    if known is not None and known.excused:
        return None
    context = ConditionContext(core, scope, frame, value, iteration)
    if known is None or known.started_at is None:
        if terms.when is not None and not await _asked(core, path, terms.when, value, context):
            payload = {"status": "skipped", "duration": 0.0, "iteration": iteration}
            core.recorder.emit(ev.STEP_RESULT, payload, path, durable=True)
            return SKIPPED
    if terms.given is not None and (known is None or known.status != "success"):
        value = await _asked(core, path, terms.given, value, context)
    if not terms.continue_on_error:
        return await run(core, frame, body, path, value, scope, iteration, index)
    core.excused.add(path)
    try:
        return await run(core, frame, body, path, value, scope, iteration, index)
    except StepFailed as failed:
        if not core.is_excused(path, failed.error):
            raise
        return None


async def _asked(core: Core, path: str, call: Any, value: Any, context: ConditionContext) -> Any:
    try:
        return await ask(call, value, context)
    except Exception as error:
        fail(core, path, error)
