"""The life of a run as a state machine: 14 phases, 30 signals, one table. Pure: a position and a signal give a position.

The fold of a run's events (`wfkernel.engine.state`) is the only user, and this is the only way it changes a run's phase:
every event of the engine is a word of signals. What the table does not have cannot happen, and a phase that is terminal
has no way out but `reset`, which begins a new life (a retry, a restart, a journey back in time).

The status people see is read off the position:

=============================================================  =======================================================
phase                                                          status
=============================================================  =======================================================
idle                                                           pending
parsing, validating_workflow, building_dependency_graph,       running
scheduling_steps, creating_checkpoint,
restoring_from_checkpoint, aggregating_results
executing_steps, awaiting_completion                           running; waiting, while nothing happens but a sleep
paused                                                         suspended, if a step waits for an answer; else paused
completed                                                      success
failed                                                         failed; tripwire, if a tripwire stopped the run
cancelled                                                      canceled
=============================================================  =======================================================

Where a batch ends nothing waits for others: steps start as soon as what they need is done, and `batch_completed` says only
that for a moment nothing was being executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from wfkernel.errors import WorkflowError

__all__ = [
    "IDLE",
    "PAUSABLE",
    "TABLE",
    "TERMINAL",
    "Facts",
    "IllegalTransition",
    "Phase",
    "Position",
    "RunStatus",
    "Signal",
    "advance",
    "can_checkpoint",
    "can_pause",
    "diagram",
    "is_terminal",
    "parse_phase",
    "status_of",
    "walk",
]

RunStatus = Literal["pending", "running", "waiting", "suspended", "paused", "success", "failed", "tripwire", "canceled"]


class Phase(StrEnum):
    """Where a run is in its life."""

    IDLE = "idle"
    PARSING = "parsing"
    VALIDATING_WORKFLOW = "validating_workflow"
    BUILDING_DEPENDENCY_GRAPH = "building_dependency_graph"
    SCHEDULING_STEPS = "scheduling_steps"
    EXECUTING_STEPS = "executing_steps"
    AWAITING_COMPLETION = "awaiting_completion"
    CREATING_CHECKPOINT = "creating_checkpoint"
    RESTORING_FROM_CHECKPOINT = "restoring_from_checkpoint"
    AGGREGATING_RESULTS = "aggregating_results"
    COMPLETED = "completed"
    FAILED = "failed"
    PAUSED = "paused"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # enum's own is Python code, and every event looks phases up


class Signal(StrEnum):
    """What can happen to a run."""

    __hash__ = str.__hash__

    INITIATE_WORKFLOW = "initiate_workflow"
    PARSE_WORKFLOW = "parse_workflow"
    WORKFLOW_PARSED = "workflow_parsed"
    PARSE_FAILED = "parse_failed"
    VALIDATE_WORKFLOW = "validate_workflow"
    WORKFLOW_VALID = "workflow_valid"
    WORKFLOW_INVALID = "workflow_invalid"
    BUILD_GRAPH = "build_graph"
    GRAPH_BUILT = "graph_built"
    GRAPH_INVALID = "graph_invalid"
    SCHEDULE_STEPS = "schedule_steps"
    STEPS_SCHEDULED = "steps_scheduled"
    EXECUTE_STEP_BATCH = "execute_step_batch"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    BATCH_COMPLETED = "batch_completed"
    ALL_STEPS_COMPLETED = "all_steps_completed"
    CREATE_CHECKPOINT = "create_checkpoint"
    CHECKPOINT_CREATED = "checkpoint_created"
    RESTORE_CHECKPOINT = "restore_checkpoint"
    CHECKPOINT_RESTORED = "checkpoint_restored"
    AGGREGATE_RESULTS = "aggregate_results"
    RESULTS_AGGREGATED = "results_aggregated"
    COMPLETE_WORKFLOW = "complete_workflow"
    WORKFLOW_FAILED = "workflow_failed"
    PAUSE_WORKFLOW = "pause_workflow"
    SUSPEND_WORKFLOW = "suspend_workflow"
    """A step waits for somebody's answer."""
    RESUME_WORKFLOW = "resume_workflow"
    CANCEL_WORKFLOW = "cancel_workflow"
    RESET = "reset"


class IllegalTransition(WorkflowError):
    """The signal means nothing in this phase, or a guard does not hold."""


class Facts(NamedTuple):
    """What guards ask about the run."""

    steps: bool = True
    """The workflow has steps."""
    graph: bool = True
    """What depends on what is known."""
    running: bool = False
    """Some step is being executed."""
    failed: bool = False
    """Some step failed, and nothing excuses it."""


class Position(NamedTuple):
    """A phase, and the way back from it."""

    phase: Phase = Phase.IDLE
    resume_to: Phase | None = None
    """While paused, or making a checkpoint of a paused run: where `resume_workflow` leads."""
    back_to: Phase | None = None
    """While making a checkpoint: where `checkpoint_created` leads."""
    reason: Literal["", "sleep", "answer", "tripwire"] = ""
    """What tells apart statuses of one phase."""


IDLE: Final = Position()
FACTS: Final = Facts()
"""All is well."""
TERMINAL: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})
PAUSABLE: Final = frozenset({Phase.EXECUTING_STEPS, Phase.AWAITING_COMPLETION})
_CHECKPOINTABLE: Final = PAUSABLE | {Phase.PAUSED}
_ALIVE: Final = tuple(phase for phase in Phase if phase not in TERMINAL)

Guard = Literal["", "steps", "graph", "idle hands", "all well"]
"""``idle hands``: nothing is being executed; ``all well``: nor has anything failed."""


class Move(NamedTuple):
    """A line of the table. `target` None: back to where the run was."""

    target: Phase | None
    guard: Guard = ""


def _table() -> dict[tuple[Phase, Signal], Move]:
    P, S = Phase, Signal
    table = {
        (P.IDLE, S.INITIATE_WORKFLOW): Move(P.PARSING),
        (P.PARSING, S.PARSE_WORKFLOW): Move(P.PARSING),
        (P.PARSING, S.WORKFLOW_PARSED): Move(P.VALIDATING_WORKFLOW),
        (P.PARSING, S.PARSE_FAILED): Move(P.FAILED),
        (P.VALIDATING_WORKFLOW, S.VALIDATE_WORKFLOW): Move(P.VALIDATING_WORKFLOW),
        (P.VALIDATING_WORKFLOW, S.WORKFLOW_VALID): Move(P.BUILDING_DEPENDENCY_GRAPH, "steps"),
        (P.VALIDATING_WORKFLOW, S.WORKFLOW_INVALID): Move(P.FAILED),
        (P.BUILDING_DEPENDENCY_GRAPH, S.BUILD_GRAPH): Move(P.BUILDING_DEPENDENCY_GRAPH),
        (P.BUILDING_DEPENDENCY_GRAPH, S.GRAPH_BUILT): Move(P.SCHEDULING_STEPS),
        (P.BUILDING_DEPENDENCY_GRAPH, S.GRAPH_INVALID): Move(P.FAILED),
        (P.SCHEDULING_STEPS, S.SCHEDULE_STEPS): Move(P.SCHEDULING_STEPS),
        (P.SCHEDULING_STEPS, S.STEPS_SCHEDULED): Move(P.EXECUTING_STEPS, "graph"),
        (P.EXECUTING_STEPS, S.EXECUTE_STEP_BATCH): Move(P.AWAITING_COMPLETION),
        (P.AWAITING_COMPLETION, S.EXECUTE_STEP_BATCH): Move(P.AWAITING_COMPLETION),
        (P.AWAITING_COMPLETION, S.STEP_COMPLETED): Move(P.AWAITING_COMPLETION),
        (P.AWAITING_COMPLETION, S.STEP_FAILED): Move(P.AWAITING_COMPLETION),
        (P.AWAITING_COMPLETION, S.BATCH_COMPLETED): Move(P.EXECUTING_STEPS, "idle hands"),
        (P.CREATING_CHECKPOINT, S.CHECKPOINT_CREATED): Move(None),
        (P.RESTORING_FROM_CHECKPOINT, S.CHECKPOINT_RESTORED): Move(P.EXECUTING_STEPS),
        (P.AGGREGATING_RESULTS, S.AGGREGATE_RESULTS): Move(P.AGGREGATING_RESULTS),
        (P.AGGREGATING_RESULTS, S.RESULTS_AGGREGATED): Move(P.COMPLETED),
        (P.PAUSED, S.RESUME_WORKFLOW): Move(None),
    }
    for phase in (P.EXECUTING_STEPS, P.AWAITING_COMPLETION):
        table[phase, S.PAUSE_WORKFLOW] = table[phase, S.SUSPEND_WORKFLOW] = Move(P.PAUSED)
        table[phase, S.ALL_STEPS_COMPLETED] = Move(P.AGGREGATING_RESULTS, "all well")
        table[phase, S.COMPLETE_WORKFLOW] = Move(P.COMPLETED)  # it ends early, with a result
    for phase in _CHECKPOINTABLE:
        table[phase, S.CREATE_CHECKPOINT] = Move(P.CREATING_CHECKPOINT)
    for phase in (P.IDLE, P.EXECUTING_STEPS, P.AWAITING_COMPLETION, P.CREATING_CHECKPOINT, P.AGGREGATING_RESULTS):
        table[phase, S.RESTORE_CHECKPOINT] = Move(P.RESTORING_FROM_CHECKPOINT)
    for phase in _ALIVE:
        table[phase, S.WORKFLOW_FAILED] = Move(P.FAILED)
        table[phase, S.CANCEL_WORKFLOW] = Move(P.CANCELLED)
    for phase in TERMINAL:
        table[phase, S.RESET] = Move(P.IDLE)
    return table


TABLE: Final = _table()
"""(phase, signal) -> move. There is nothing else."""


def advance(position: Position, signal: Signal, facts: Facts = FACTS) -> Position:
    """Where `signal` leads from `position`. Raises `IllegalTransition`."""
    phase = position.phase
    move = TABLE.get((phase, signal))
    if move is None:
        raise IllegalTransition(f"'{signal}' means nothing to a run that is {phase}")
    if not _holds(move.guard, facts):
        raise IllegalTransition(f"'{signal}' does not lead on from {phase}: {_UNMET[move.guard]}")
    match signal:
        case Signal.PAUSE_WORKFLOW | Signal.SUSPEND_WORKFLOW:
            return Position(Phase.PAUSED, phase, None, "answer" if signal is Signal.SUSPEND_WORKFLOW else "")
        case Signal.CREATE_CHECKPOINT:
            return position._replace(phase=Phase.CREATING_CHECKPOINT, back_to=phase)
        case Signal.CHECKPOINT_CREATED:
            return position._replace(phase=position.back_to or Phase.EXECUTING_STEPS, back_to=None)
        case Signal.RESUME_WORKFLOW:
            return Position(position.resume_to or Phase.EXECUTING_STEPS)
    assert move.target is not None
    if phase in PAUSABLE and move.target in PAUSABLE:  # steps come and go; what the run waits for stays
        return position._replace(phase=move.target)
    return Position(move.target)


_UNMET: Final[dict[str, str]] = {
    "steps": "it has no steps", "graph": "its graph is not built", "idle hands": "a step is still being executed",
    "all well": "a step is still being executed, or failed",
}  # fmt: skip


def _holds(guard: Guard, facts: Facts) -> bool:
    match guard:
        case "steps":
            return facts.steps
        case "graph":
            return facts.graph
        case "idle hands":
            return not facts.running
        case "all well":
            return not facts.running and not facts.failed
    return True


def walk(position: Position, signals: tuple[Signal, ...], facts: Facts = FACTS) -> Position:
    """`advance` over several signals."""
    for signal in signals:
        position = advance(position, signal, facts)
    return position


def is_terminal(phase: Phase) -> bool:
    """Whether a run in this phase is over."""
    return phase in TERMINAL


def can_pause(phase: Phase) -> bool:
    """Whether a run can be paused or suspended in this phase."""
    return phase in PAUSABLE


def can_checkpoint(phase: Phase) -> bool:
    """Whether a checkpoint can be made in this phase."""
    return phase in _CHECKPOINTABLE


def parse_phase(text: str) -> Phase | None:
    """The phase of that name, None if there is none."""
    try:
        return Phase(text)
    except ValueError:
        return None


_STATUS: Final[dict[Phase, RunStatus]] = {
    Phase.IDLE: "pending", Phase.COMPLETED: "success", Phase.FAILED: "failed", Phase.CANCELLED: "canceled",
    Phase.PAUSED: "paused",
}  # fmt: skip
_BY_REASON: Final[dict[str, RunStatus]] = {"answer": "suspended", "tripwire": "tripwire", "sleep": "waiting"}


def status_of(position: Position) -> RunStatus:
    """The status people see."""
    return _BY_REASON.get(position.reason) or _STATUS.get(position.phase, "running")


def diagram(phases: Iterable[Phase] = Phase) -> str:
    """The machine as a Mermaid state diagram, made of the table itself."""
    shown = set(phases)
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.IDLE}"]
    for (phase, signal), move in TABLE.items():
        if phase not in shown:
            continue
        guard = f" [{move.guard}]" if move.guard else ""
        targets = [move.target] if move.target else sorted(PAUSABLE if phase is Phase.PAUSED else _CHECKPOINTABLE)
        lines += [f"    {phase} --> {target}: {signal}{guard}" for target in targets if target in shown]
    lines += [f"    {phase} --> [*]" for phase in Phase if phase in TERMINAL & shown]
    return "\n".join(lines)
