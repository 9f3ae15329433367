"""What each event of the engine means to the state machine: the word of signals it is.

An event tells what happened; how far it takes a run depends on where the run stood. To go on with a run that is over is to
begin a new life and restore what it knew; to go on with a paused one is to resume it; to finish with a step still under way
(a bail) is to complete early. A pure function from (position, event type, status, facts) to a position.
"""

from __future__ import annotations

import functools
from typing import Final

from wfkernel.engine import events as ev
from wfkernel.engine.machine import PAUSABLE, TERMINAL, Facts, Phase, Position, Signal, walk

__all__ = ["lead_on"]

Word = tuple[Signal, ...]

_S = Signal
_START: Final[Word] = (
    _S.INITIATE_WORKFLOW, _S.PARSE_WORKFLOW, _S.WORKFLOW_PARSED, _S.VALIDATE_WORKFLOW, _S.WORKFLOW_VALID, _S.BUILD_GRAPH,
    _S.GRAPH_BUILT, _S.SCHEDULE_STEPS, _S.STEPS_SCHEDULED,
)  # fmt: skip
"""A run starts when its workflow has been read, checked and committed."""
_RESTORE: Final[Word] = (_S.RESTORE_CHECKPOINT, _S.CHECKPOINT_RESTORED)
_REVIVE: Final[Word] = (_S.RESET, *_RESTORE)
_RESUME: Final[Word] = (_S.RESUME_WORKFLOW,)
_BEGIN: Final[Word] = (_S.EXECUTE_STEP_BATCH,)
_DONE: Final[Word] = (_S.STEP_COMPLETED, _S.CREATE_CHECKPOINT, _S.CHECKPOINT_CREATED)
"""A result is durable: every finished step is a checkpoint."""
_FAILED: Final[Word] = (_S.STEP_FAILED,)
_QUIET: Final[Word] = (_S.BATCH_COMPLETED,)
_COMPLETE: Final[Word] = (_S.ALL_STEPS_COMPLETED, _S.AGGREGATE_RESULTS, _S.RESULTS_AGGREGATED)
_OUTCOMES: Final = {
    "success": Phase.COMPLETED, "failed": Phase.FAILED, "tripwire": Phase.FAILED, "canceled": Phase.CANCELLED,
}  # fmt: skip
_STEP_EVENTS: Final = frozenset({ev.STEP_START, ev.STEP_RESULT, ev.STEP_SUSPENDED})


@functools.lru_cache(maxsize=4096)
def lead_on(position: Position, type_: str, status: str | None, facts: Facts) -> Position:
    """Where an event takes a run. Raises `IllegalTransition` for one that cannot happen there.

    `status` is what the event says under that name: how the run or the step ended. There are few positions and events, so
    each is worked out once.
    """
    if type_ in _STEP_EVENTS:
        return _step(position, type_, status, facts)
    phase = position.phase
    match type_:
        case ev.RUN_START:
            return walk(position, _START, facts)
        case ev.RUN_RESTART | ev.RUN_TRAVEL:
            return walk(position, _going_on(phase), facts)
        case ev.RUN_RESUME | ev.RUN_CONTINUE:
            if phase in PAUSABLE:  # it was sleeping, or somebody answered while it runs
                return position._replace(reason="")
            return walk(position, _going_on(phase), facts)
        case ev.RUN_ATTACH:
            return walk(position, _RESTORE, facts) if phase in PAUSABLE else position
        case ev.RUN_WAITING:
            return walk(position, (*_awake(phase), _S.EXECUTE_STEP_BATCH), facts)._replace(reason="sleep")
        case ev.RUN_SUSPENDED:
            return walk(position, (*_awake(phase), _S.SUSPEND_WORKFLOW), facts)
        case ev.RUN_PAUSED:
            return walk(position, (*_awake(phase), _S.PAUSE_WORKFLOW), facts)
        case ev.RUN_CANCEL:
            return _ended(position, "canceled", facts)
        case ev.RUN_FINISH:
            return _ended(position, status, facts)
    return position


def _awake(phase: Phase) -> Word:
    return _RESUME if phase is Phase.PAUSED else ()


def _going_on(phase: Phase) -> Word:
    if phase in TERMINAL:
        return _REVIVE
    return _RESUME if phase is Phase.PAUSED else _RESTORE


def _ended(position: Position, status: str | None, facts: Facts) -> Position:
    if _OUTCOMES.get(status or "") is position.phase:
        return position  # told twice: by the step that failed and by whoever started the run
    match status:
        case "canceled":
            return walk(position, (_S.CANCEL_WORKFLOW,), facts)
        case "success":
            well = not facts.running and not facts.failed
            word = (*_awake(position.phase), *(_COMPLETE if well else (_S.COMPLETE_WORKFLOW,)))
            return walk(position, word, facts)
    ended = walk(position, (_S.WORKFLOW_FAILED,), facts)
    return ended._replace(reason="tripwire") if status == "tripwire" else ended


def _step(position: Position, type_: str, status: str | None, facts: Facts) -> Position:
    phase = position.phase
    if phase not in PAUSABLE:  # the last words of steps of a run that was stopped
        return position
    if type_ == ev.STEP_START:
        return walk(position, _BEGIN)
    if phase is Phase.EXECUTING_STEPS:
        return position
    word = () if type_ == ev.STEP_SUSPENDED else _FAILED if status == "failed" else _DONE
    return walk(position, word if facts.running else (*word, *_QUIET))
