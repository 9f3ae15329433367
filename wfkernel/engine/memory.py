"""Runs without a store: their state is kept in this process, their events are not kept at all.

`RunStore` is what the engine needs of a store; `wfkernel.store.store.Store` offers the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from wfkernel.engine.events import Event
from wfkernel.engine.state import RunState
from wfkernel.errors import RunNotFound

__all__ = ["Decide", "MemoryStore", "RunStore"]

Decide = Callable[[RunState], list[tuple[str, str, dict[str, Any]]]]


class RunStore(Protocol):
    """Where runs are kept. One process writes a run at a time; `claim` hands it over."""

    @property
    def owner(self) -> str: ...
    def append(self, events: list[Event], *, durable: bool = True) -> None: ...
    def sync(self) -> None: ...
    def claim(self, run_id: str, decide: Decide, *, new: bool = False, known: RunState | None = None) -> RunState: ...
    def is_current(self, state: RunState) -> bool: ...
    def load(self, run_id: str) -> RunState: ...
    def exists(self, run_id: str) -> bool: ...
    def is_alive(self, owner: str) -> bool: ...


class MemoryStore:
    """Keeps the states of this process's runs."""

    owner = "memory"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[str, RunState] = {}
        # An ended run is remembered as long as somebody has its `Run`; those that can go on are all kept.
        self._ended: WeakValueDictionary[str, RunState] = WeakValueDictionary()

    def keep(self, state: RunState) -> None:
        """Remember a run; called when it starts and when it ends."""
        with self._lock:
            ended = state.status in ("success", "failed", "tripwire", "canceled")
            self._open.pop(state.run_id, None)
            (self._ended if ended else self._open)[state.run_id] = state

    def claim(self, run_id: str, decide: Decide, *, new: bool = False, known: RunState | None = None) -> RunState:
        """Change a run; `decide` gives the (type, path, payload) of the events to add, or raises."""
        import time

        with self._lock:
            state = RunState(run_id) if new and not self.exists(run_id) else self.load(run_id)
            for type_, path, payload in decide(state):
                state.apply(Event(run_id, state.seq + 1, time.time(), type_, path, 0, payload))
            return state

    def load(self, run_id: str) -> RunState:
        """The state of a run. Raises `RunNotFound`."""
        state = self._open.get(run_id) or self._ended.get(run_id)
        if state is None:
            raise RunNotFound(f"there is no run '{run_id}' in this process.")
        return state

    def exists(self, run_id: str) -> bool:
        return run_id in self._open or run_id in self._ended

    def append(self, events: list[Event], *, durable: bool = True) -> None:
        """Nothing: the events are in the state already."""

    def sync(self) -> None:
        """Nothing is ever on disk."""

    def is_current(self, state: RunState) -> bool:
        """Never: reading a run costs nothing here."""
        return False

    def is_alive(self, owner: str) -> bool:
        return False
