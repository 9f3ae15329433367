"""How running a workflow can end other than well.

The upper part are errors for users. The lower part is control flow of the engine: those derive from `BaseException`, so
that a step's or a durable function's own ``except Exception`` cannot swallow them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfkernel.errors import WorkflowError
from wfkernel.plan.shape import problem_list

__all__ = [
    "Bailed",
    "Canceled",
    "CpuLimit",
    "FunctionExited",
    "Halt",
    "HookCanceled",
    "InputInvalid",
    "IterationLimit",
    "MemoryLimit",
    "Parked",
    "Paused",
    "PermanentError",
    "ResumeTargetUnknown",
    "RunActive",
    "RunNotActive",
    "RunTimeout",
    "SessionError",
    "StateConflict",
    "StateInvalid",
    "StepFailed",
    "StepInputInvalid",
    "StepTimeout",
    "SuspendDataInvalid",
    "Suspended",
    "TimeTravelRefused",
    "Tripwire",
    "WorkflowFailed",
    "error_line",
]


def error_line(error: Mapping[str, Any]) -> str:
    """An error as events hold it, in a line: its type and its message."""
    return f"{error.get('type', 'error')}: {error.get('message', '')}"


class _Invalid(WorkflowError):
    """Data does not fit its type. `problems` holds (path, message) pairs."""

    what = "data"

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__(problems)

    def __str__(self) -> str:
        return f"{self.what}: \n" + problem_list(self.problems)


class InputInvalid(_Invalid):
    """A run was given input (or initial state, or resume data) that does not fit; nothing was started."""

    def __init__(self, what: str, problems: list[tuple[str, str]]) -> None:
        self.what = f"Invalid {what}"
        super().__init__(problems)


class StepInputInvalid(_Invalid):
    """What a step was given does not fit its parameters."""

    what = "Step input validation failed"


class SuspendDataInvalid(_Invalid):
    """The payload a step suspended with does not fit its `suspend` model."""

    what = "Step suspend data validation failed"


class StateInvalid(_Invalid):
    """What a step set does not fit its `state` model."""

    what = "Step state data validation failed"


class PermanentError(WorkflowError):
    """Raise it (or a subclass) in a step to fail at once: no retry follows."""


class Tripwire(WorkflowError):
    """Raise it in a step to stop the run for a stated reason. The run ends with the status `tripwire`.

    `retry` says whether a repetition may help; `metadata` is JSON-safe.
    """

    def __init__(self, reason: str, *, retry: bool = False, metadata: Any = None) -> None:
        self.reason, self.retry, self.metadata = reason, retry, metadata
        super().__init__(reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_tripwire, (self.reason, self.retry, self.metadata)


def _make_tripwire(reason: str, retry: bool, metadata: Any) -> Tripwire:
    return Tripwire(reason, retry=retry, metadata=metadata)


class FunctionExited(WorkflowError):
    """A condition, map or duration called `sys.exit`."""


class StepTimeout(WorkflowError):
    """An attempt took longer than the step's `timeout`."""


class RunTimeout(PermanentError):
    """The run took longer than it may."""


class MemoryLimit(PermanentError):
    """The process that executes the run occupies more memory than the run may."""


class CpuLimit(PermanentError):
    """The run used more CPU time than it may."""


class IterationLimit(PermanentError):
    """A loop went round more often than it may."""


class StateConflict(PermanentError):
    """Arms that ran at the same time set the same state key, and the workflow's rule is that this is an error."""


class HookCanceled(WorkflowError):
    """A hook refused what was asked for."""


class RunActive(WorkflowError):
    """The run is being executed right now, here or by another process."""


class RunNotActive(WorkflowError):
    """The run is not in a state to be restarted, tried again or gone on with."""


class ResumeTargetUnknown(WorkflowError):
    """It is not clear which suspended step to resume: none, several, or not the one named."""


class TimeTravelRefused(WorkflowError):
    """The run cannot go to that step. Nothing was changed."""


class SessionError(WorkflowError):
    """A session cannot be used."""


class WorkflowFailed(WorkflowError):
    """Raised by `RunResult.unwrap` for a run that did not succeed. `error` is the serialized error, or None."""

    def __init__(self, message: str, error: dict[str, Any] | None = None) -> None:
        self.error = error
        super().__init__(message)


class Halt(BaseException):
    """The interpreter leaves what it is doing. Never seen by users."""


class Suspended(Halt):
    """`paths` wait for answers."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        super().__init__(paths)


class Bailed(Halt):
    """The workflow ends here, successfully, with `value`."""

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__(value)


class Parked(Halt):
    """The run sleeps until `wake_at` and its process need not stay."""

    def __init__(self, wake_at: float) -> None:
        self.wake_at = wake_at
        super().__init__(wake_at)


class Paused(Halt):
    """One step was asked for, one was executed."""


class Canceled(Halt):
    """The run was told to stop."""


class StepFailed(Halt):
    """A step failed for good. `error` is its JSON form, `exception` the exception where it is at hand."""

    def __init__(self, path: str, error: dict[str, Any], exception: BaseException | None) -> None:
        self.path, self.error, self.exception = path, error, exception
        super().__init__(path, error)
