"""Assertions on the events of a run.

What is expected reads like the run: one entry per event, ``...`` for any number of events that do not matter. A failure
shows expected and actual events side by side as a diff.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import EllipsisType
from typing import Any

from wfkernel.engine.events import Event

__all__ = ["Expected", "assert_events", "event_lines", "event_types", "expect"]


@dataclass(frozen=True)
class Expected:
    """An event as a test expects it. Made by `expect`."""

    type: str
    path: str = ""
    payload: dict[str, Any] = field(default_factory=dict, hash=False)

    def fits(self, event: Event) -> bool:
        """Whether `event` is of this type and path and its payload has these fields with these values."""
        return (
            (event.type, event.path) == (self.type, self.path)
            and all(name in event.payload for name in self.payload)
            and all(event.payload[name] == value for name, value in self.payload.items())
        )

    def __str__(self) -> str:
        return _line(self.type, self.path, self.payload)


def expect(type: str, path: str = "", **payload: Any) -> Expected:
    """An event with at least these fields in its payload, for `assert_events`."""
    return Expected(type, path, payload)


def event_types(events: Sequence[Event], path: str | None = None) -> list[str]:
    """The types of `events` in order; with `path` only of those of that step ("" is the run itself)."""
    return [event.type for event in events if path is None or event.path == path]


def event_lines(events: Sequence[Event]) -> list[str]:
    """Each event as ``type path``, the form `assert_events` takes."""
    return [_line(event.type, event.path, {}) for event in events]


def assert_events(
    events: Sequence[Event], expected: Sequence[str | Expected | EllipsisType], *, ignore: Collection[str] = ()
) -> None:
    """Assert that `events` are `expected`, in this order and no others.

    Args:
        events: of one run, in order.
        expected: ``"step.start clean"`` (type and path), ``"run.start"``, ``expect("step.result", "clean",
            status="success")`` where the payload matters, and ``...`` for any number of any events.
        ignore: types of events left out of account.
    """
    wanted = [_expected(entry) for entry in expected]
    found = [event for event in events if event.type not in ignore]
    if _match(found, wanted):
        return
    told = {(w.type, w.path): w.payload for w in wanted if isinstance(w, Expected)}
    left = ["..." if w is ... else str(w) for w in wanted]
    right = [
        _line(e.type, e.path, {k: e.payload.get(k) for k in told.get((e.type, e.path), ())}) for e in found
    ]  # fmt: skip
    lines = [line for line in difflib.ndiff(left, right) if not line.startswith("?")]
    raise AssertionError("the events differ (- expected, + happened):\n" + "\n".join(lines))


def _match(found: Sequence[Event], wanted: Sequence[Expected | EllipsisType]) -> bool:
    @cache
    def match(at: int, want: int) -> bool:
        if want == len(wanted):
            return at == len(found)
        one = wanted[want]
        if isinstance(one, EllipsisType):
            return any(match(later, want + 1) for later in range(len(found), at - 1, -1))
        return at < len(found) and one.fits(found[at]) and match(at + 1, want + 1)

    return match(0, 0)


def _expected(entry: str | Expected | EllipsisType) -> Expected | EllipsisType:
    if isinstance(entry, str):
        type_, _, path = entry.partition(" ")
        return Expected(type_, path)
    return entry


def _line(type_: str, path: str, payload: dict[str, Any]) -> str:
    return " ".join([type_, *([path] if path else []), *(f"{name}={value!r}" for name, value in payload.items())])
