"""A store of runs in memory that keeps every event, for one process or for several pretended ones."""

from __future__ import annotations

import threading
import time

from wfkernel.engine.events import Event
from wfkernel.engine.memory import Decide
from wfkernel.engine.state import RunState, fold
from wfkernel.errors import RunNotFound

__all__ = ["MemoryLog"]


class MemoryLog:
    """What the engine needs of a store; `state` is folded from the events each time it is asked for.

    `process` gives another process's view of the same runs, to test who may resume or take up what: each view has its own
    `owner`, and is alive until `die`.
    """

    def __init__(self, owner: str = "process 1") -> None:
        self.owner = owner
        self._runs: dict[str, list[Event]] = {}
        self._durable: dict[str, int] = {}
        self._alive = {owner}
        self._lock = threading.RLock()

    def process(self, owner: str) -> MemoryLog:
        """The same runs, seen and written by another process."""
        other = MemoryLog(owner)
        other._runs, other._durable, other._alive, other._lock = self._runs, self._durable, self._alive, self._lock
        self._alive.add(owner)
        return other

    def die(self) -> None:
        """This process is dead: what it was running is interrupted, and another may take it up."""
        self._alive.discard(self.owner)

    # -- what the engine asks ---------------------------------------------------------------------------------------

    def append(self, events: list[Event], *, durable: bool = True) -> None:
        """Add events. Raises AssertionError when a sequence number is not the next one of its run."""
        with self._lock:
            for event in events:
                run = self._runs.setdefault(event.run_id, [])
                assert event.seq == len(run) + 1, f"event {event.seq} of run {event.run_id} after {len(run)} events"
                run.append(event)
                if durable:
                    self._durable[event.run_id] = event.seq

    def sync(self) -> None:
        """All events written so far are durable."""
        with self._lock:
            self._durable.update({run_id: len(run) for run_id, run in self._runs.items()})

    def is_current(self, state: RunState) -> bool:
        """Whether `state` is the fold of all the run's events."""
        with self._lock:
            return state.seq == len(self._runs.get(state.run_id, ())) > 0

    def claim(self, run_id: str, decide: Decide, *, new: bool = False, known: RunState | None = None) -> RunState:
        """Change a run, atomically between all processes; `decide` gives the events to add, or raises."""
        with self._lock:
            state = RunState(run_id) if new and not self.exists(run_id) else self.load(run_id)
            now = time.time()
            added = [
                Event(run_id, state.seq + n, now, type_, path, 0, payload if path else {**payload, "owner": self.owner})
                for n, (type_, path, payload) in enumerate(decide(state), 1)
            ]
            self.append(added)
            for event in added:
                state.apply(event)
            return state

    def load(self, run_id: str) -> RunState:
        """The state of a run. Raises `RunNotFound`."""
        return fold(self.events(run_id))

    def exists(self, run_id: str) -> bool:
        return run_id in self._runs

    def is_alive(self, owner: str) -> bool:
        return owner in self._alive

    # -- what a test asks -------------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[str]:
        """Ids of all runs, in the order they began."""
        return list(self._runs)

    def events(self, run_id: str, after: int = 0) -> list[Event]:
        """The run's events with a sequence number above `after`, in order. Raises `RunNotFound`."""
        with self._lock:
            if run_id not in self._runs:
                raise RunNotFound(f"there is no run '{run_id}' in this log. It has {', '.join(self._runs) or 'none'}.")
            return self._runs[run_id][after:]

    def durable_events(self, run_id: str) -> list[Event]:
        """What a power cut would leave of the run: its events up to the last durable one."""
        return self.events(run_id)[: self._durable.get(run_id, 0)]
