"""What the kinds of entries of a plan have in common.

An entry that has bodies (steps or workflows) is given `run_body` by whoever walks the plan: it says what runs when, not how.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import error_of
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.failures import FunctionExited, StepFailed
from wfkernel.engine.scope import StateScope
from wfkernel.engine.step_run import ConditionContext
from wfkernel.plan.nodes import Body, Call

__all__ = ["RunBody", "ask", "fail"]


class RunBody(Protocol):
    """Runs one body of an entry, or looks up what it came to; to be awaited at once."""

    def __call__(
        self, core: Core, frame: Frame, body: Body, path: str, value: Any, scope: StateScope, iteration: int = 0,
        index: int | None = None,
    ) -> Coroutine[Any, Any, Any]: ...  # fmt: skip


async def ask(call: Call, value: Any, context: ConditionContext) -> Any:
    """What a condition, a map or a duration of the user says."""
    try:
        found = call(value, lambda: context)
        return await found if inspect.isawaitable(found) else found
    except SystemExit as left:  # it would end the event loop, and with it every run of this process
        raise FunctionExited(f"sys.exit({left.code!r}) was called by a function of the workflow.") from left


def fail(core: Core, path: str, error: Exception) -> NoReturn:
    """The entry itself fails, not a step in it."""
    described = error_of(error)
    core.recorder.emit(ev.STEP_RESULT, {"status": "failed", "error": described}, path, 1, durable=True)
    raise StepFailed(path, described, error)
