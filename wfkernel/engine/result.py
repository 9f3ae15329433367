"""What a run came to, for the person who started it. A view of the run's state."""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass, field
from typing import Any

from wfkernel.engine.answers import shown_answer
from wfkernel.engine.failures import WorkflowFailed, error_line
from wfkernel.engine.state import INDEX, RunState, StepState, parent_path
from wfkernel.engine.values import Codec, reveal_fields, shown_value

__all__ = [
    "RunInfo",
    "RunResult",
    "StepResult",
    "make_result",
    "run_state_values",
    "short_repr",
    "suspended_paths",
]

_AGAIN = re.compile(r"#\d+")


_reprs = reprlib.Repr()
_reprs.maxstring = _reprs.maxother = 120
_reprs.maxlevel = 3


@dataclass(slots=True, repr=False)
class StepResult:
    """One step of a run. Times are seconds since the epoch."""

    path: str
    status: str
    input: Any = None
    output: Any = None
    error: dict[str, Any] | None = None
    attempts: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    suspended_at: float | None = None
    resumed_at: float | None = None
    suspend_payload: Any = None
    resume_payload: Any = None
    iteration: int = 0

    def __repr__(self) -> str:
        return f"<StepResult {self.path}: {self.status}{_came_to(self.output, self.error)}>"


@dataclass(slots=True, repr=False)
class RunResult:
    """How a run ended, or where it stands.

    `status` is success, failed, suspended, tripwire, paused, canceled or waiting. `steps` has the paths of all steps that
    did something; `suspended` the paths (lists of ids) of the steps that wait for an answer.
    """

    run_id: str
    status: str
    input: Any = None
    result: Any = None
    error: dict[str, Any] | None = None
    exception: BaseException | None = None
    """The exception behind `error`, where it was raised in this process."""
    steps: dict[str, StepResult] = field(default_factory=dict)
    suspended: list[list[str]] = field(default_factory=list)
    suspend_payload: dict[str, Any] = field(default_factory=dict)
    """Payload by id of the top-level step that is suspended."""
    resume_labels: dict[str, str] = field(default_factory=dict)
    """Path by label."""
    tripwire: dict[str, Any] | None = None
    state: dict[str, Any] = field(default_factory=dict)
    wake_at: float | None = None

    def __repr__(self) -> str:
        """What it came to, short; the fields hold the rest."""
        waits = f" at {', '.join('.'.join(ids) for ids in self.suspended)}" if self.suspended else ""
        stopped = f": {self.tripwire['reason']}" if self.tripwire else _came_to(self.result, self.error)
        return f"<RunResult {self.status}{waits}{stopped} (run {self.run_id}, {len(self.steps)} steps)>"

    def unwrap(self) -> Any:
        """The result of a successful run. Raises `WorkflowFailed` for any other."""
        if self.status == "success":
            return self.result
        reason = f": {error_line(self.error)}" if self.error else ""
        raise WorkflowFailed(f"run {self.run_id} ended as {self.status}{reason}", self.error) from self.exception


@dataclass(slots=True)
class RunInfo:
    """What lifecycle callbacks are told. `status` and what follows are empty for `on_start`."""

    run_id: str
    workflow_id: str
    session: str
    resource: str
    input: Any
    state: dict[str, Any]
    status: str = ""
    result: Any = None
    error: dict[str, Any] | None = None
    steps: dict[str, StepResult] = field(default_factory=dict)
    tripwire: dict[str, Any] | None = None
    execution_path: list[str] = field(default_factory=list)
    """Ids of the top-level steps, in the order they first ran."""


def short_repr(value: Any) -> str:
    """The repr in one short line, whatever the value's size."""
    return " ".join(_reprs.repr(value).split())


def _came_to(output: Any, error: dict[str, Any] | None) -> str:
    """The output or the error in a few words."""
    if error:
        line = error_line(error)
        return f": {line if len(line) <= 200 else line[:199] + '…'}"
    return "" if output is None else f": {short_repr(output)}"


def make_result(
    state: RunState, codec: Codec | None, values: dict[str, Any], exception: BaseException | None = None
) -> RunResult:
    """The result of a run in `state`; `values` is the workflow's state."""
    steps = {}
    for path, step in state.steps.items():
        if step.started_at is not None or step.status != "pending":
            # A plan's step used twice has one entry, that of its latest run; a function's calls have one each.
            name = path if state.mode == "function" or "#" not in path else _AGAIN.sub("", path)
            steps[name] = step_result(path, step, codec)
    result = RunResult(state.run_id, state.status, shown_value(state.input, codec), steps=steps, state=values)
    result.exception, result.wake_at = exception, state.wake_at
    if state.status == "success":
        result.result = shown_value(state.result, codec)
    elif state.status == "tripwire":
        result.tripwire = (state.error or {}).get("tripwire")
    elif state.status == "failed":
        result.error = state.error
    elif state.status == "suspended":
        result.suspended = suspended_paths(state)
        for suspended in state.suspended_steps:
            around = suspended.path
            while around := parent_path(around):  # what holds a suspended step is suspended itself
                if around in steps and steps[around].status == "running":
                    steps[around].status = "suspended"
            if suspended.suspension is not None:
                top = INDEX.sub("", suspended.path).partition(".")[0]
                result.suspend_payload.setdefault(top, suspended.suspension.payload)
                for label in suspended.suspension.labels:
                    result.resume_labels[label] = suspended.path
    return result


def step_result(path: str, step: StepState, codec: Codec | None) -> StepResult:
    suspended = step.status == "suspended"
    return StepResult(
        path,
        step.status,
        shown_value(step.input, codec),
        shown_value(step.output, codec) if step.status == "success" else None,
        step.error if step.status == "failed" else None,
        step.attempt,
        step.started_at,
        step.ended_at,
        step.suspended_at if suspended else None,
        step.resumed_at,
        step.suspension.payload if step.suspension is not None else None,
        shown_answer(step.answers[-1]) if step.answers else None,
        step.iteration,
    )


def suspended_paths(state: RunState) -> list[list[str]]:
    """The suspended steps as lists of ids, root first; the items of a foreach count once."""
    found: dict[str, list[str]] = {}
    for step in state.suspended_steps:
        plain = INDEX.sub("", step.path)
        found.setdefault(plain, plain.split("."))
    return list(found.values())


def run_state_values(state: RunState, codec: Codec | None) -> dict[str, Any]:
    """The workflow's state as far as the finished top-level steps set it, in order of completion."""
    values = reveal_fields(state.initial, codec)
    changed = [step for path, step in state.steps.items() if step.changes and "." not in path and "[" not in path]
    for step in sorted(changed, key=lambda step: step.done_seq):
        values.update(reveal_fields(step.changes, codec))
    return values
