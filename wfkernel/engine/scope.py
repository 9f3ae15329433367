"""The state of a run as its steps see it.

A step sees the state as it was when it began; what it sets counts when it ends. Arms that run at the same time each work
on a scope of their own over the state at the fork, and only the keys they set are merged when they join, in the order of
the arms. Two arms that set one key to different values are a conflict; a rule says what happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from wfkernel.engine.failures import StateConflict

__all__ = ["Conflict", "ConflictRule", "StateScope", "merge"]

ConflictRule = Literal["last", "error"] | Callable[[str, dict[str, Any]], Any]
"""``last`` arm wins, ``error``, or ``fn(key, {arm: value}) -> value``."""

Conflict = tuple[str, dict[str, Any], Any]
"""(key, {arm: value}, the value that was chosen)"""


class StateScope:
    """The keys set here, over what is below."""

    __slots__ = ("_below", "changes")

    def __init__(self, below: StateScope | None = None, changes: dict[str, Any] | None = None) -> None:
        self._below = below
        self.changes: dict[str, Any] = {} if changes is None else changes

    def snapshot(self) -> dict[str, Any]:
        """The state as it is now, as a new dict."""
        if self._below is None:
            return dict(self.changes)
        return {**self._below.snapshot(), **self.changes}

    def apply(self, changes: dict[str, Any]) -> None:
        """Set top-level keys. Keys are never removed."""
        self.changes.update(changes)

    def fork(self) -> StateScope:
        """A scope that sees this one and keeps what is set to itself."""
        return StateScope(self)


def merge(arms: Sequence[tuple[str, dict[str, Any]]], rule: ConflictRule) -> tuple[dict[str, Any], list[Conflict]]:
    """The changes of all arms as one, and the conflicts among them. Raises `StateConflict` if that is the rule."""
    merged: dict[str, Any] = {}
    setters: dict[str, dict[str, Any]] = {}
    for arm, changes in arms:
        if changes:
            for key, value in changes.items():
                setters.setdefault(key, {})[arm] = value
            merged.update(changes)
    conflicts: list[Conflict] = []
    for key, values in setters.items():
        if len(values) > 1 and not _all_equal(list(values.values())):
            if callable(rule):
                merged[key] = rule(key, values)
            conflicts.append((key, values, merged[key]))
    if conflicts and rule == "error":
        told = "; ".join(f"'{key}' by {', '.join(values)}" for key, values, _ in conflicts)
        raise StateConflict(
            f"steps that ran at the same time set the same state: {told}. Use on_conflict='last' or a function."
        )
    return merged, conflicts


def _all_equal(values: list[Any]) -> bool:
    first = values[0]
    for value in values[1:]:
        if value is first:
            continue
        try:
            if not bool(first == value):
                return False
        except (TypeError, ValueError):  # arrays and frames: `==` has no single truth
            return False
    return True
