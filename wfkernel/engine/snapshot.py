"""The state of a run as JSON text and back: what a checkpoint stores so that a fold need not start at zero.

A snapshot is worth nothing to a wfkernel whose states have other fields, so it carries the names of its fields, and
`restore` says so instead of guessing. Nothing is lost then: the events are still there to be folded. What is in a step as it
was when the step began to exist, most of its thirty fields, is left out: half of the text remains.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from wfkernel.engine.machine import Phase, Position
from wfkernel.engine.state import LOG_LINES, RunState, StepState, Suspension

__all__ = ["SnapshotOutdated", "restore", "snapshot"]

_FIELDS: Final = {kind: [field.name for field in fields(kind)] for kind in (RunState, StepState, Suspension)}
_FORM: Final = [*_FIELDS.values(), ["steps without what is as it was at their beginning"]]
_STEP_FIELDS: Final = _FIELDS[StepState]
_of_step: Final = attrgetter(*_STEP_FIELDS)
_BEGINNING: Final = _of_step(StepState(""))
"""The values of a step that has just begun to exist. Its path, which is empty nowhere else, is among what is written."""


class SnapshotOutdated(Exception):
    """The snapshot was taken by a wfkernel whose run states have other fields."""


def snapshot(state: RunState) -> str:
    """The state as JSON. It has to be folded from stored events, whose values are records."""
    document = {"fields": _FORM, "state": state}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=_plain)


def restore(text: str) -> RunState:
    """Inverse of `snapshot`. Raises `SnapshotOutdated`."""
    document = json.loads(text)
    if document["fields"] != _FORM:
        raise SnapshotOutdated
    values: dict[str, Any] = document["state"]
    values["steps"] = {path: _step(step) for path, step in values["steps"].items()}
    phase, resume_to, back_to, reason = values["position"]
    values["position"] = Position(Phase(phase), resume_to and Phase(resume_to), back_to and Phase(back_to), reason)
    values["compensable"] = [tuple(entry) for entry in values["compensable"]]
    values["again"] = tuple(values["again"])
    return RunState(**values)


def _plain(part: Any) -> Any:
    """What the state holds besides plain values. (`dataclasses.asdict` copies everything: most of a checkpoint's time.)"""
    if part.__class__ is StepState:
        values = zip(_STEP_FIELDS, _of_step(part), _BEGINNING, strict=True)
        return {name: value for name, value, begun in values if value is not begun and value != begun}
    if (names := _FIELDS.get(part.__class__)) is not None:
        return {name: getattr(part, name) for name in names}
    return list(part)


def _step(values: dict[str, Any]) -> StepState:
    if "suspension" in values:
        values["suspension"] = Suspension(**values["suspension"])
    if "answers" in values:
        values["answers"] = tuple(values["answers"])
    if "log" in values:
        values["log"] = deque(values["log"], LOG_LINES)
    return StepState(**values)
