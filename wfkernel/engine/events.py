"""Events: everything that happens to a run, in order, and the only thing that is ever stored about it.

An event is small, immutable and JSON-safe. The state of a run is a pure fold over its events (`wfkernel.engine.state`),
so resume, views, audits and tests all read the same truth. `seq` counts from 1 within one run; a run has one writing
process at a time, which is what makes the count gapless.

The names follow one scheme, ``<what>.<happening>``; `path` names the step (``clean``) and is empty for the run itself.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

__all__ = ["Event", "encode_events", "to_json"]

RUN_START: Final = "run.start"
"""A run begins: workflow, notebook, parameters, mode."""
RUN_ATTACH: Final = "run.attach"
"""Another process takes over writing the run; by itself this changes nothing about it."""
RUN_RESTART: Final = "run.restart"
"""A run that had ended goes on: it is tried again after a failure, or one of its steps runs once more."""
RUN_RESUME: Final = "run.resume"
"""Somebody resumed a suspended run."""
RUN_SUSPENDED: Final = "run.suspended"
RUN_FINISH: Final = "run.finish"
"""The run ended; payload `status` is success, failed or canceled."""

RUN_WAITING: Final = "run.waiting"
"""Nothing runs until `wake_at`, seconds since the epoch."""
RUN_CONTINUE: Final = "run.continue"
"""A waiting or paused run goes on."""
RUN_PAUSED: Final = "run.paused"
"""No further step is executed for now: somebody suspended the run, or one step was asked for and one was executed."""
RUN_CANCEL: Final = "run.cancel"
"""The run was told to stop; `run.finish` follows when it has."""
RUN_COMPENSATING: Final = "run.compensating"
"""The run failed with `error`; what its finished steps did is being undone."""
RUN_TRAVEL: Final = "run.travel"
"""The run goes back to a step: `dropped` are forgotten, `given` results take the place of recorded ones."""
RUN_DRIFT: Final = "run.drift"
"""The definition differs from the one the run's steps were executed with; `changes` says where."""
RUN_SETTINGS: Final = "run.settings"
"""The run goes on with another `durability`, or other `checkpoints`."""
RUN_MIGRATED: Final = "run.migrated"
"""The run's state was brought `from` one version `to` another; `state` is all of it, what steps set included. Or its model
has new fields: `gained` are their defaults."""
RUN_ROLLBACK: Final = "run.rollback"
"""The run's state is again what it was after step `to`."""
BRANCH_SELECTED: Final = "branch.selected"
"""Which arms of a branch run; `problems` are the conditions that raised."""
PARALLEL_JOINED: Final = "parallel.joined"
"""All arms have ended well; `arms` tells how each did."""
STATE_CONFLICT: Final = "state.conflict"
"""Arms that ran at the same time set a state key to different values."""
HOOK_FAILED: Final = "hook.failed"

STEP_PLANNED: Final = "step.planned"
"""The steps known so far, in their order, with what each reads and binds."""
STEP_START: Final = "step.start"
"""One attempt begins; payload holds the code digest and the digest of every input."""
STEP_OUTPUT: Final = "step.output"
"""The step wrote something for people to read."""
STEP_PROGRESS: Final = "step.progress"
STEP_RETRY: Final = "step.retry"
"""An attempt failed and another follows after `delay` seconds."""
STEP_SUSPENDED: Final = "step.suspended"
STEP_RESUMED: Final = "step.resumed"
"""The answer for the `index`-th suspension of the step."""
STEP_ANSWER_REFUSED: Final = "step.answer_refused"
STEP_RESTORED: Final = "step.restored"
"""The step was not executed: its values came back from the store."""
STEP_CUSTOM: Final = "step.custom"
"""An event of the step's own: payload is what `writer.custom` was given."""
STEP_WAITING: Final = "step.waiting"
"""A sleep until `wake_at`, seconds since the epoch."""
STEP_ITERATION: Final = "step.iteration"
"""A loop decided after iteration `iteration` whether it goes on `again`."""
STEP_DIED: Final = "step.died"
"""The process executing the step died; it is not the step that failed."""
STEP_COMPENSATING: Final = "step.compensating"
STEP_COMPENSATED: Final = "step.compensated"
STREAM_METRICS: Final = "stream.metrics"
"""How many items a streaming step has passed on, how many a second, and how many wait to be taken."""
STEP_RESULT: Final = "step.result"
"""The step ended; payload `status` is success, failed or skipped, or suspended or canceled when a person stopped it."""

CONTEXT_REMEMBER: Final = "context.remember"
"""A text to be found by a search: `text`, `kind` and what was said about it, `meta`."""


class Event(NamedTuple):
    """One thing that happened. `ts` is in seconds since the epoch (UTC).

    A named tuple: as immutable as a frozen dataclass, and made in a third of the time.
    """

    run_id: str
    seq: int
    ts: float
    type: str
    path: str = ""
    attempt: int = 0
    payload: dict[str, Any] = {}  # noqa: RUF012 (a payload is never changed)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_json(document: Any) -> str:
    """Compact JSON text. A lone surrogate, which no UTF-8 file and no database takes, becomes ``?``."""
    return _ENCODER.encode(document).encode("utf-8", "replace").decode("utf-8")


FEW: Final = 256
"""A process that writes no more events is done before pydantic's encoder is imported, which takes 20 ms."""
_encoded = 0


@functools.cache
def _fast_encoder() -> tuple[Callable[..., bytes], type[Exception]]:
    """pydantic's encoder, which takes a quarter of the time of the standard library's, and what it raises."""
    from pydantic_core import PydanticSerializationError
    from pydantic_core import to_json as encode

    return encode, PydanticSerializationError


def encode_events(events: list[Event]) -> bytes:
    """Events as one JSON array of arrays (UTF-8), each in the order of `Event`'s fields."""
    global _encoded
    if _encoded < FEW:
        _encoded += len(events)
        with contextlib.suppress(TypeError, UnicodeEncodeError):
            return _ENCODER.encode(events).encode("utf-8")
    encode, refused = _fast_encoder()
    try:
        return encode([*map(tuple, events)], inf_nan_mode="constants")  # named tuples take it twice the time
    except refused:  # a lone surrogate, or nothing that JSON has
        return _ENCODER.encode(events).encode("utf-8", "replace")
