"""The state of a run: a pure fold over its events.

`fold(events)` is the one place that knows what events mean. The recorder that writes events keeps a `RunState` up to
date by `apply`-ing what it writes; every reader (CLI, run view, resume, tests) folds what is stored and gets the same.
An event costs the same however long the run already is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event

__all__ = ["RunState", "RunStatus", "StepState", "StepStatus", "Suspension", "fold"]

RunStatus = Literal["pending", "running", "waiting", "suspended", "paused", "success", "failed", "tripwire", "canceled"]
StepStatus = Literal["pending", "running", "suspended", "success", "failed", "canceled"]

LOG_LINES: Final = 500
"""How many of a step's last output lines the state keeps; the events keep all."""


@dataclass(slots=True)
class Suspension:
    """What a suspended step asks for: the `index`-th `suspend()` call of the step."""

    index: int
    message: str
    schema: dict[str, Any]
    payload: Any = None
    problems: list[list[str]] = field(default_factory=list)
    """(path, message) pairs of the last refused answer."""


@dataclass(slots=True)
class StepState:
    """One step of a run. Times are seconds since the epoch, `duration` is seconds."""

    path: str
    status: StepStatus = "pending"
    attempt: int = 0
    executions: int = 0
    """How often the body was started, over all processes."""
    code: str = ""
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """name -> {"digest", "from": the step that bound it, or "" for a plain cell} of the latest start."""
    done: dict[str, Any] | None = None
    """The latest success: {"code", "inputs", "outputs"}; what a restore is decided on."""
    reads: list[str] = field(default_factory=list)
    binds: list[str] = field(default_factory=list)
    started_at: float | None = None
    ended_at: float | None = None
    duration: float | None = None
    restored: bool = False
    error: dict[str, Any] | None = None
    suspension: Suspension | None = None
    answers: list[Any] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))


@dataclass(slots=True)
class RunState:
    """One run. `seq` is the sequence number of the last event applied."""

    run_id: str
    status: RunStatus = "pending"
    workflow: str = ""
    notebook: str = ""
    output: str = ""
    mode: str = ""
    cwd: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    owner: str = ""
    """Identity of the process that writes the run's events."""
    started_at: float | None = None
    ended_at: float | None = None
    error: dict[str, Any] | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    """In plan order: the order of the notebook's cells where it is known, else of first execution."""
    seq: int = 0

    def step(self, path: str) -> StepState:
        """The step's state; a step first heard of is appended as pending."""
        found = self.steps.get(path)
        if found is None:
            found = self.steps[path] = StepState(path)
        return found

    @property
    def suspended_steps(self) -> list[StepState]:
        return [s for s in self.steps.values() if s.status == "suspended"]

    def apply(self, event: Event) -> None:
        """Fold one more event in. Events of an unknown type are kept in the store but change nothing here."""
        self.seq = event.seq
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, event, event.payload)


def fold(events: Iterable[Event]) -> RunState:
    """The state after `events`, which belong to one run and are in order of `seq`."""
    state: RunState | None = None
    for event in events:
        if state is None:
            state = RunState(event.run_id)
        state.apply(event)
    if state is None:
        raise ValueError("a run without events has no state")
    return state


def _run_start(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.status = payload["status"]
    state.started_at = event.ts
    state.workflow = payload.get("workflow", "")
    state.notebook = payload.get("notebook", "")
    state.output = payload.get("output", "")
    state.mode = payload.get("mode", "")
    state.cwd = payload.get("cwd", "")
    state.params = payload.get("params", {})
    state.owner = payload.get("owner", "")


def _run_attach(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.owner = payload["owner"]
    for step in state.steps.values():
        if step.status == "running":  # its process is gone; it never ended
            step.status = "pending"


def _run_restart(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.status = payload["status"]
    state.owner = payload.get("owner", state.owner)
    state.output = payload.get("output", state.output)
    state.ended_at = state.error = None


def _run_resume(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.status = payload["status"]
    state.ended_at = state.error = None
    state.owner = payload.get("owner", state.owner)


def _run_suspended(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.status = payload["status"]


def _run_finish(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.status = payload["status"]
    state.ended_at = event.ts
    state.error = payload.get("error")


def _step_planned(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    known = state.steps
    state.steps = {}
    for planned in payload["steps"]:
        step = known.pop(planned["path"], None) or StepState(planned["path"])
        step.reads, step.binds = planned["reads"], planned["binds"]
        state.steps[step.path] = step
    # A step that left the plan stays listed as long as it did something.
    state.steps.update((path, step) for path, step in known.items() if step.executions or step.done)


def _step_start(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    if payload["code"] != step.code or payload["inputs"] != step.inputs:
        step.answers = []  # an answer was given for this code and these numbers, not for others
    step.code, step.inputs = payload["code"], payload["inputs"]
    step.reads, step.binds = payload.get("reads", step.reads), payload.get("binds", step.binds)
    step.status, step.attempt = "running", event.attempt
    step.executions += 1
    step.started_at, step.ended_at, step.duration = event.ts, None, None
    step.restored = False
    step.error = step.suspension = step.progress = None
    step.log.clear()


def _step_output(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.step(event.path).log.append(payload["text"])


def _step_progress(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.step(event.path).progress = payload


def _step_retry(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.step(event.path).error = payload["error"]


def _step_suspended(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.status = "suspended"
    step.ended_at = event.ts
    step.suspension = Suspension(payload["index"], payload["message"], payload["schema"], payload.get("payload"))
    del step.answers[payload["index"] :]


def _step_resumed(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    del step.answers[payload["index"] :]
    step.answers.append(payload["data"])
    step.status = "pending"
    step.suspension = None


def _step_answer_refused(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    if step.suspension is not None:
        step.suspension.problems = payload["problems"]


def _step_restored(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.status, step.restored = "success", True
    step.error = None


def _step_result(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.status = payload["status"]
    step.ended_at, step.duration = event.ts, payload.get("duration")
    step.error = payload.get("error")
    if step.status == "success":
        step.done = {"code": step.code, "inputs": step.inputs, "outputs": payload["outputs"]}


_HANDLERS: Final = {
    ev.RUN_START: _run_start,
    ev.RUN_ATTACH: _run_attach,
    ev.RUN_RESTART: _run_restart,
    ev.RUN_RESUME: _run_resume,
    ev.RUN_SUSPENDED: _run_suspended,
    ev.RUN_FINISH: _run_finish,
    ev.STEP_PLANNED: _step_planned,
    ev.STEP_START: _step_start,
    ev.STEP_OUTPUT: _step_output,
    ev.STEP_PROGRESS: _step_progress,
    ev.STEP_RETRY: _step_retry,
    ev.STEP_SUSPENDED: _step_suspended,
    ev.STEP_RESUMED: _step_resumed,
    ev.STEP_ANSWER_REFUSED: _step_answer_refused,
    ev.STEP_RESTORED: _step_restored,
    ev.STEP_RESULT: _step_result,
}
