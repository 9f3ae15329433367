"""The state of a run: a pure fold over its events.

`fold(events)` is the one place that knows what events mean. The recorder that writes events keeps a `RunState` up to
date by `apply`-ing what it writes; every reader (CLI, run view, resume, tests) folds what is stored and gets the same.
An event costs the same however long the run already is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from wfkernel.engine import events as ev
from wfkernel.engine.answers import kept_answer
from wfkernel.engine.events import Event
from wfkernel.engine.life import lead_on
from wfkernel.engine.machine import IDLE, Facts, IllegalTransition, Phase, Position, RunStatus, status_of

__all__ = ["INDEX", "RunState", "RunStatus", "StepState", "StepStatus", "Suspension", "fold", "name_of"]

StepStatus = Literal["pending", "running", "waiting", "suspended", "success", "failed", "canceled", "skipped"]

ENGINE_MODES: Final = ("workflow", "function")
"""Modes of the runs the engine executes by itself; a notebook's cells are executed by its kernel."""
_NO_INPUTS: Final[dict[str, dict[str, Any]]] = {}

LINE_LENGTH: Final = 4_000
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
    labels: list[str] = field(default_factory=list)
    """Names the suspension can be resumed by."""


@dataclass(slots=True)
class StepState:
    """One step of a run. Times are seconds since the epoch, `duration` is seconds.

    Apart from its log, what it holds is exchanged, never changed: most steps are told nothing of most of it, and have no
    containers of their own for that.
    """

    path: str
    status: StepStatus = "pending"
    attempt: int = 0
    executions: int = 0
    """How often the body was started, over all processes."""
    code: str = ""
    inputs: dict[str, dict[str, Any]] = field(default_factory=lambda: _NO_INPUTS)
    """name -> {"digest", "from": the step that bound it, or "" for a plain cell} of the latest start."""
    done: dict[str, Any] | None = None
    """The latest success: {"code", "inputs", "outputs"}, what a restore is decided on, and "shown", what it showed."""
    reads: Sequence[str] = ()
    binds: Sequence[str] = ()
    started_at: float | None = None
    ended_at: float | None = None
    duration: float | None = None
    restored: bool = False
    restored_in: float | None = None
    """Seconds the restore took, in place of an execution."""
    error: dict[str, Any] | None = None
    suspension: Suspension | None = None
    answers: Sequence[Any] = ()
    progress: dict[str, Any] | None = None
    iteration: int = 0
    """Which iteration of a loop the rest is about; 0 outside loops."""
    input: Any = None
    called_with: Any = None
    """The same before hooks changed it: what a durable function finds its calls by."""
    output: Any = None
    """Value of a finished step, as the engine's events carry it (see `wfkernel.engine.values`)."""
    digest: str = ""
    """Digest of the code the step was last executed with, in a durable function."""
    changes: dict[str, Any] | None = None
    """What the step set in the run's state, over all its iterations and suspensions."""
    done_seq: int = 0
    excused: bool = False
    """It failed, and the run goes on all the same."""
    undone: bool = False
    """It succeeded, and was compensated for."""
    wake_at: float | None = None
    suspend_payload: Any = None
    """What the step said when it last suspended; kept for the attempt that has the answer."""
    suspended_at: float | None = None
    resumed_at: float | None = None
    log_open: bool = False
    """The last line goes on: what is written next belongs to it."""
    log: Sequence[str] = ()

    def answers_to(self, name: str) -> bool:
        """Whether `name` is the step's path or a label it suspended with."""
        return name == self.path or (self.suspension is not None and name in self.suspension.labels)


@dataclass(slots=True, weakref_slot=True)
class RunState:
    """One run. `seq` is the sequence number of the last event applied."""

    run_id: str
    status: RunStatus = "pending"
    """What people see; read off `position`."""
    position: Position = IDLE
    """Where the run is in its life; only the state machine moves it (`wfkernel.engine.machine`)."""
    in_flight: dict[str, bool] = field(default_factory=dict)
    """Paths of the steps that are being executed."""
    refused: list[str] = field(default_factory=list)
    """Events that could not happen where the run stood: they changed nothing of its phase."""
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
    input: Any = None
    initial: Any = None
    """The state the run began with."""
    result: Any = None
    session: str = ""
    session_kept: dict[str, Any] = field(default_factory=dict)
    """Where the session is kept, see `wfkernel.engine.sessions.Session.kept`."""
    resource: str = ""
    wake_at: float | None = None
    decisions: dict[str, Any] = field(default_factory=dict)
    """What branches, joins and loops decided, so that nothing is decided twice."""
    children: dict[str, list[str]] = field(default_factory=dict)
    compensable: list[tuple[str, Any, Any]] = field(default_factory=list)
    """(path, input, output) of what can be undone, in order of completion."""
    compensated: int = 0
    """How many of them, from the end, are undone."""
    failure: dict[str, Any] | None = None
    """The error that is being compensated for."""
    again: Sequence[str] = ()
    """What a retry does again of what had finished: the run was rolled back behind it."""
    chart: dict[str, Any] = field(default_factory=dict)
    """The plan as boxes and arrows (`wfkernel.plan.chart`), where the run has one."""
    definition: str = ""
    """Digest of what the run executes."""
    source: str = ""
    """What it was loaded from: the workflow file, or ``FILE.py:NAME``."""
    state_version: int | str = 1
    state_model: str = ""
    """Digest of the state model the run's state was written for, where it has one."""
    durability: str = ""
    checkpoints: str = ""
    """What the run itself was told about both, as text; "" where its workflow or the defaults decide."""
    codes: dict[str, str] = field(default_factory=dict)
    """Digest of the code each step was last started with, by `name_of` its path: one for all its calls and items."""
    imports: list[str] = field(default_factory=list)
    """Modules that have to be imported before the file."""
    function: Any = None
    """The durable function itself, where it was asked to be kept."""
    steps: dict[str, StepState] = field(default_factory=dict)
    """In plan order: the order of the notebook's cells where it is known, else of first execution."""
    seq: int = 0

    @property
    def phase(self) -> Phase:
        """Which of the 14 phases of its life the run is in."""
        return self.position.phase

    def _move(self, event: Event) -> None:
        """Let the state machine say where the event takes the run. Nothing else changes its phase or its status."""
        facts = _BUSY if self.in_flight else _QUIET
        if event.type == ev.RUN_FINISH:
            failed = any(step.status == "failed" and not step.excused for step in self.steps.values())
            facts = facts._replace(failed=failed)
        try:
            position = lead_on(self.position, event.type, event.payload.get("status"), facts)
        except IllegalTransition as illegal:
            self.refused.append(f"event {event.seq}, {event.type}: {illegal}")
            return
        if position is not self.position:
            self.position = position
            self.status = status_of(position)

    def step(self, path: str) -> StepState:
        """The step's state; a step first heard of is appended as pending."""
        found = self.steps.get(path)
        if found is None:
            found = self.steps[path] = StepState(path)
            parent = parent_path(path)
            if parent:
                self.children.setdefault(parent, []).append(path)
        return found

    def forget(self, path: str) -> None:
        """Drop everything known about a step and what is inside it."""
        self.forget_inside(path)
        self.steps.pop(path, None)
        self.decisions.pop(path, None)

    def forget_inside(self, path: str) -> None:
        """Drop what is known about the steps inside `path`."""
        for child in self.children.pop(path, ()):
            self.forget(child)

    @property
    def suspended_steps(self) -> list[StepState]:
        """The steps that wait for an answer."""
        return [s for s in self.steps.values() if s.status == "suspended" and s.suspension is not None]

    @property
    def stopped_steps(self) -> list[StepState]:
        """The steps a person stopped; they have no question and run again from their start."""
        return [s for s in self.steps.values() if s.status == "suspended" and s.suspension is None]

    def apply(self, event: Event) -> None:
        """Fold one more event in. Events of an unknown type are kept in the store but change nothing here."""
        _, self.seq, _, type_, _, _, payload = event
        handler = _HANDLERS.get(type_)
        if handler is not None:
            handler(self, event, payload)
        if type_ in _LEADS_ON:
            self._move(event)


INDEX: Final = re.compile(r"\[\d+\]")
"""The number of an item in a path."""


def name_of(path: str) -> str:
    """The path without the number of a repeated call or an item at its end: ``a.b`` for ``a.b#2``, ``a.b[]`` for ``a.b[3]``."""
    if path.endswith("]"):
        return path[: path.rindex("[")] + "[]"
    mark = path.rfind("#", path.rfind(".") + 1)
    return path if mark < 0 else path[:mark]


def parent_path(path: str) -> str:
    """The path a step is inside of: ``a`` for ``a.b`` and for ``a[3]``, nothing for ``a``."""
    if path.endswith("]"):
        return path[: path.rindex("[")]
    return path.rpartition(".")[0]


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
    if state.started_at is not None:  # started again after it ended: nothing of the former life counts
        fresh = RunState(state.run_id, seq=state.seq)
        for known in fields(RunState):
            setattr(state, known.name, getattr(fresh, known.name))
    state.input, state.initial = payload.get("input"), payload.get("state")
    state.chart = payload.get("chart", {})
    state.definition, state.function = payload.get("definition", ""), payload.get("function")
    state.session, state.resource = payload.get("session", ""), payload.get("resource", "")
    state.session_kept = payload.get("session_kept", {})
    state.source, state.imports = payload.get("source", ""), payload.get("imports", [])
    state.started_at = event.ts
    state.workflow = payload.get("workflow", "")
    state.notebook = payload.get("notebook", "")
    state.output = payload.get("output", "")
    state.mode = payload.get("mode", "")
    state.cwd = payload.get("cwd", "")
    state.params = payload.get("params", {})
    state.owner = payload.get("owner", "")
    state.state_version, state.state_model = payload.get("state_version", 1), payload.get("state_model", "")
    _run_settings(state, event, payload)


def _run_settings(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.durability = payload.get("durability", state.durability)
    state.checkpoints = payload.get("checkpoints", state.checkpoints)


def _run_attach(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    if "restored_from" in payload:  # what another run had done: this one begins here
        state.started_at = event.ts
    state.owner = payload["owner"]
    state.in_flight.clear()
    for step in state.steps.values():
        if step.status == "running":  # its process is gone; it never ended
            step.status = "pending"


def _run_restart(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.in_flight.clear()
    state.owner = payload.get("owner", state.owner)
    state.output = payload.get("output", state.output)
    state.ended_at = state.error = None


def _run_resume(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.ended_at = state.error = None
    state.owner = payload.get("owner", state.owner)
    state.output = payload.get("output", state.output)


def _run_finish(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.ended_at = event.ts
    state.error = payload.get("error")
    state.result = payload.get("result")
    if state.mode in ENGINE_MODES:
        for step in state.steps.values():
            if step.status in ("running", "waiting", "pending") and step.started_at is not None:
                step.status = "canceled"  # it was cut short by what ended the run


def _run_status(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.wake_at = payload.get("wake_at")
    state.owner = payload.get("owner", state.owner)


def _run_compensating(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.failure = payload["error"]
    state.compensated = 0


def _run_travel(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.in_flight.clear()
    state.owner = payload.get("owner", state.owner)
    state.ended_at = state.error = state.failure = state.result = state.wake_at = None
    state.compensated, state.again = 0, ()
    for path in payload["dropped"]:
        state.forget(path)
    for path in payload.get("undecided", ()):
        state.decisions.pop(path, None)
    for path in payload.get("reopened", ()):
        step = state.step(path)
        if step.status == "success" and not step.iteration:
            step.changes = None  # what is inside it sets them again
        step.status, step.error, step.ended_at = "pending", None, None
    for path, output in payload.get("given", {}).items():
        step = state.step(path)
        step.status, step.output, step.error, step.done_seq = "success", output, None, event.seq
    if payload.get("state") is not None:
        state.initial = payload["state"]
        for step in state.steps.values():
            step.changes = None
    kept = {path for path, step in state.steps.items() if step.status == "success"}
    state.compensable = [entry for entry in state.compensable if entry[0] in kept]


def _run_drift(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    for path in payload.get("dropped", ()):
        state.forget(path)


def _run_rollback(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.initial = payload["state"]
    state.again = tuple(payload.get("again", state.again))
    for step in state.steps.values():
        step.changes = None


def _run_migrated(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.state_version = payload["to"]
    state.state_model = payload.get("state_model", "")
    if "gained" in payload:
        state.initial = {**payload["gained"], **(state.initial or {})}
    else:
        _run_rollback(state, event, payload)


def _decided(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    if event.path not in state.decisions and event.path not in state.steps and (parent := parent_path(event.path)):
        state.children.setdefault(parent, []).append(event.path)
    looped = event.type == ev.STEP_ITERATION
    state.decisions[event.path] = [payload["iteration"], payload["again"]] if looped else payload["arms"]


def _step_waiting(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.status, step.wake_at, step.input = "waiting", payload["wake_at"], payload.get("input")
    step.started_at = step.started_at or event.ts


def _step_died(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.step(event.path).error = payload["error"]


def _step_compensated(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.compensated += 1
    state.step(event.path).undone = payload["status"] == "success"


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
    code, inputs = payload.get("code", ""), payload.get("inputs", _NO_INPUTS)
    iteration = payload.get("iteration", 0)
    if iteration != step.iteration:  # an answer was given for one iteration, and so was everything inside it
        step.iteration = iteration
        step.answers = ()
        state.forget_inside(event.path)
    elif code != step.code or inputs != step.inputs:
        step.answers = ()  # an answer was given for this code and these numbers, not for others
    step.code, step.inputs = code, inputs
    step.input = step.called_with = payload.get("input")
    if "called_with" in payload:
        step.called_with = payload["called_with"]
    step.output = None
    name = name_of(event.path)
    if "digest" in payload:
        state.codes[name] = payload["digest"]
    step.digest = state.codes.get(name, "")
    step.reads, step.binds = payload.get("reads", step.reads), payload.get("binds", step.binds)
    step.status, step.attempt = "running", event.attempt
    state.in_flight[event.path] = True
    step.executions += 1
    step.started_at, step.ended_at, step.duration = event.ts, None, None
    step.restored = False
    step.error = step.suspension = step.progress = None
    step.log, step.log_open = (), False


def _step_output(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    text = payload["text"] if "text" in payload else payload["output"]
    if text.__class__ is str:  # what else a step writes is for streams, not for people
        step = state.steps.get(event.path) or state.step(event.path)
        lines = step.log
        if not isinstance(lines, deque):  # most steps write nothing, and an empty deque takes 600 bytes
            lines = step.log = deque(lines, LOG_LINES)
        if step.log_open and lines:
            lines[-1] += text
        else:
            lines.append(text)
        # A line this long is ended for it, so that a stream costs the same however long it is.
        step.log_open = payload.get("end") == "" and len(lines[-1]) < LINE_LENGTH


def _step_progress(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.step(event.path).progress = payload


def _step_retry(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    state.step(event.path).error = payload["error"]


def _step_suspended(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.status = "suspended"
    state.in_flight.pop(event.path, None)
    step.ended_at = event.ts
    step.suspension = Suspension(payload["index"], payload["message"], payload["schema"], payload.get("payload"))
    step.suspension.labels = payload.get("labels", [])
    step.suspended_at, step.resumed_at = event.ts, None
    step.suspend_payload = payload.get("payload")
    if payload.get("state") is not None:
        step.changes = payload["state"]
    step.answers = step.answers[: payload["index"]]


def _step_resumed(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.answers = (*step.answers[: payload["index"]], kept_answer(payload))
    step.status = "pending"
    step.resumed_at = event.ts
    step.suspension = None


def _step_answer_refused(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    if step.suspension is not None:
        step.suspension.problems = payload["problems"]


def _step_restored(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.status, step.restored = "success", True
    step.restored_in = payload.get("duration")
    step.error = None


def _step_result(state: RunState, event: Event, payload: dict[str, Any]) -> None:
    step = state.step(event.path)
    step.status = payload["status"]
    state.in_flight.pop(event.path, None)
    step.ended_at, step.duration = event.ts, payload.get("duration")
    step.error = payload.get("error")
    step.output = payload.get("output")
    step.excused = payload.get("excused", False)
    if step.status == "skipped":
        step.iteration = payload.get("iteration", 0)
    if step.status == "success":
        step.done = {"code": step.code, "inputs": step.inputs, "outputs": payload.get("outputs", [])}
        if payload.get("shown") is not None:
            step.done["shown"] = payload["shown"]
        if (changes := payload.get("state")) is not None:
            step.changes = {**step.changes, **changes} if step.changes else changes
        step.done_seq, step.undone = event.seq, False
        if payload.get("compensate"):
            state.compensable.append((event.path, step.input, step.output))


_BUSY: Final = Facts(steps=True, graph=True, running=True, failed=False)
_QUIET: Final = _BUSY._replace(running=False)

_LEADS_ON: Final = frozenset(
    {ev.RUN_START, ev.RUN_ATTACH, ev.RUN_RESTART, ev.RUN_RESUME, ev.RUN_SUSPENDED, ev.RUN_FINISH, ev.RUN_WAITING,
     ev.RUN_CONTINUE, ev.RUN_PAUSED, ev.RUN_CANCEL, ev.RUN_TRAVEL, ev.STEP_START, ev.STEP_RESULT, ev.STEP_SUSPENDED}
)  # fmt: skip
"""Events that mean something to the state machine."""

_HANDLERS: Final = {
    ev.RUN_START: _run_start,
    ev.RUN_SETTINGS: _run_settings,
    ev.RUN_ATTACH: _run_attach,
    ev.RUN_RESTART: _run_restart,
    ev.RUN_RESUME: _run_resume,
    ev.RUN_FINISH: _run_finish,
    ev.RUN_WAITING: _run_status,
    ev.RUN_CONTINUE: _run_status,
    ev.RUN_PAUSED: _run_status,
    ev.RUN_CANCEL: _run_status,
    ev.RUN_COMPENSATING: _run_compensating,
    ev.RUN_TRAVEL: _run_travel,
    ev.RUN_DRIFT: _run_drift,
    ev.RUN_ROLLBACK: _run_rollback,
    ev.RUN_MIGRATED: _run_migrated,
    ev.BRANCH_SELECTED: _decided,
    ev.PARALLEL_JOINED: _decided,
    ev.STEP_ITERATION: _decided,
    ev.STEP_WAITING: _step_waiting,
    ev.STEP_DIED: _step_died,
    ev.STEP_COMPENSATED: _step_compensated,
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
