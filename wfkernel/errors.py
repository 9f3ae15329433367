"""Errors written for the person who reads them.

Every mistake a user can make ends in one line that says what is wrong, where, and what to do. In a notebook IPython
asks an exception for `_render_traceback_`; ours answers with that one line, so a mistake of the user never shows a
traceback of wfkernel. The three classes at the end are not errors but control flow, and derive from `BaseException` so
that a step's own ``except Exception`` cannot swallow them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wfkernel.plan.graph import Circular

__all__ = [
    "AnswerInvalid",
    "CheckpointDrift",
    "CheckpointNotFound",
    "DefinitionError",
    "EmbedderError",
    "PlanDrift",
    "ResumeAlreadyClaimed",
    "RunExists",
    "RunNotFound",
    "RunNotSuspended",
    "RunStopped",
    "RunSuspended",
    "SecretUnreadable",
    "SettingsInvalid",
    "StateMigrationError",
    "StepWaiting",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "StoreTooNew",
    "ValueNotTrusted",
    "ValueUnreadable",
    "WorkflowError",
]


def one_line(kind: str, text: str) -> list[str]:
    return [f"\x1b[31m{kind}\x1b[0m: {text}"]


class WorkflowError(Exception):
    """Root of everything wfkernel raises for a mistake or a state the user can do something about."""

    def _render_traceback_(self) -> list[str]:
        return one_line(type(self).__name__, str(self))


class DefinitionError(WorkflowError):
    """A step or workflow is not well defined: unknown option, two steps of one name, a cycle, ...

    Where steps need each other in a circle, `circular` is their graph; a notebook draws it under the error, `wf graph` too.
    """

    def __init__(self, message: str, circular: Circular | None = None) -> None:
        self.circular = circular
        super().__init__(message)


class SettingsInvalid(WorkflowError):
    """Settings in a file or the environment cannot be used. `problems` holds one line for each, place first."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RunExists(WorkflowError):
    """There is a run of this id already."""

    def __init__(self, run_id: str, status: str) -> None:
        on = (
            f"`wf restart {run_id}` runs it anew"
            if status in ("success", "canceled")
            else f"`wf resume {run_id}` goes on"
        )
        super().__init__(f"there is a run '{run_id}' already, it is {status}: {on}; a new run needs another id.")


class RunNotFound(WorkflowError):
    """No run with this id (or unambiguous id prefix) is in the store."""


class RunNotSuspended(WorkflowError):
    """The run cannot be resumed because it is not suspended (finished, running elsewhere, never started)."""


class ResumeAlreadyClaimed(WorkflowError):
    """Another process resumed the run first."""


class AnswerInvalid(WorkflowError):
    """An answer to a suspended step does not fit its model. `problems` holds (path, message) pairs."""

    def __init__(self, step: str, problems: list[tuple[str, str]]) -> None:
        self.step = step
        self.problems = problems
        fields = "; ".join(f"{path or 'answer'}: {message}" for path, message in problems)
        super().__init__(f"the answer for step '{step}' was refused, the run stays suspended. {fields}")


class StateMigrationError(WorkflowError):
    """A stored state cannot be brought to the version the code has; it stays as it is."""


class PlanDrift(StateMigrationError):
    """The state of a stored run does not fit the state model the code has now, and no migration leads there."""


class StoreError(WorkflowError):
    """The store cannot be used."""


class CheckpointNotFound(StoreError):
    """No checkpoint of this name is in the store."""


class CheckpointDrift(StoreError):
    """The steps in a checkpoint are defined otherwise now."""


class StoreLocked(StoreError):
    """Another process keeps the DuckDB file open."""


class StoreCorrupt(StoreError):
    """The DuckDB file or a journal cannot be read."""


class StoreTooNew(StoreError):
    """The store was written by a newer wfkernel."""


class EmbedderError(StoreError):
    """Texts cannot be embedded, or were embedded in the store by something else."""


class ValueUnreadable(StoreError):
    """A saved value is missing, damaged or cannot be decoded here."""


class ValueNotTrusted(StoreError):
    """A pickled value does not carry this user's signature and is therefore not opened."""


class SecretUnreadable(StoreError):
    """A secret was sealed with another key than this user's."""


class RunSuspended(BaseException):
    """A step suspended the run. Ends the cell with one calm line and stops Run All."""

    def __init__(self, run_id: str, step: str, message: str = "") -> None:
        self.run_id, self.step, self.message = run_id, step, message
        super().__init__(run_id, step, message)

    def __str__(self) -> str:
        what = f": {self.message}" if self.message else ""
        return f"step '{self.step}' suspended the run{what}"

    def _render_traceback_(self) -> list[str]:
        # What it asks stands above, in the step's line or form.
        return [f"\x1b[33msuspended\x1b[0m step '{self.step}' waits for an answer"]


class RunStopped(BaseException):
    """A person stopped the run, by a button, a command or the kernel's Interrupt. Not the failure of any step.

    `status` is ``suspended`` or ``canceled``, `by` says how, `steps` were executing.
    """

    def __init__(self, run_id: str, status: str, by: str, steps: tuple[str, ...] = ()) -> None:
        self.run_id, self.status, self.by, self.steps = run_id, status, by, steps
        super().__init__(run_id, status, by, steps)

    def __str__(self) -> str:
        where = f" at step {', '.join(repr(step) for step in self.steps)}" if self.steps else ""
        return f"the run was {self.status}{where} ({self.by})"

    def _render_traceback_(self) -> list[str]:
        said = str(self).removeprefix("the run was ").removeprefix(self.status)
        later = "" if self.status == "canceled" else ". Run All or %workflow resume goes on from here"
        return [f"\x1b[33m{self.status}\x1b[0m{said}{later}"]


class StepWaiting(BaseException):
    """A step was not run because what it reads is not there yet."""

    def __init__(self, step: str, reasons: list[str]) -> None:
        self.step, self.reasons = step, reasons
        super().__init__(step, reasons)

    def __str__(self) -> str:
        return f"step '{self.step}' waits for {'; '.join(self.reasons)}"

    def _render_traceback_(self) -> list[str]:
        return [f"\x1b[33mwaiting\x1b[0m {self}"]
