"""The state of a run as JSON text and back: what a checkpoint stores so that a fold need not start at zero.

A snapshot is worth nothing to a wfkernel whose states have other fields, so it carries the names of its fields, and
`restore` says so instead of guessing. Nothing is lost then: the events are still there to be folded.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import fields
from typing import Any, Final

from wfkernel.engine.machine import Phase, Position
from wfkernel.engine.state import LOG_LINES, RunState, StepState, Suspension

__all__ = ["SnapshotOutdated", "restore", "snapshot"]

_FIELDS: Final = {kind: [field.name for field in fields(kind)] for kind in (RunState, StepState, Suspension)}


class SnapshotOutdated(Exception):
    """The snapshot was taken by a wfkernel whose run states have other fields."""


def snapshot(state: RunState) -> str:
    """The state as JSON. It has to be folded from stored events, whose values are records."""
    document = {"fields": list(_FIELDS.values()), "state": state}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=_plain)


def restore(text: str) -> RunState:
    """Inverse of `snapshot`. Raises `SnapshotOutdated`."""
    document = json.loads(text)
    if document["fields"] != list(_FIELDS.values()):
        raise SnapshotOutdated
    values: dict[str, Any] = document["state"]
    values["steps"] = {path: _step(step) for path, step in values["steps"].items()}
    phase, resume_to, back_to, reason = values["position"]
    values["position"] = Position(Phase(phase), resume_to and Phase(resume_to), back_to and Phase(back_to), reason)
    values["compensable"] = [tuple(entry) for entry in values["compensable"]]
    return RunState(**values)


def _plain(part: Any) -> Any:
    """What the state holds besides plain values. (`dataclasses.asdict` copies everything: most of a checkpoint's time.)"""
    if (names := _FIELDS.get(part.__class__)) is not None:
        return {name: getattr(part, name) for name in names}
    return list(part)


def _step(values: dict[str, Any]) -> StepState:
    if values["suspension"] is not None:
        values["suspension"] = Suspension(**values["suspension"])
    values["log"] = deque(values["log"], LOG_LINES) if values["log"] else ()
    return StepState(**values)
