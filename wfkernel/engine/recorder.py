"""The writing side of a run: one event at a time, folded into the state, stored, and handed to listeners.

An event costs the same however long the run already is. Safe to use from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from wfkernel.engine.durability import Durability, RunLog
from wfkernel.engine.events import Event
from wfkernel.engine.group_commit import DONE, Turns
from wfkernel.engine.memory import RunStore
from wfkernel.engine.state import RunState
from wfkernel.engine.stream import Hub
from wfkernel.engine.values import Codec, stored_payload

__all__ = ["Durability", "Recorder"]

_new: Final = tuple.__new__
"""Makes an event of all its fields in half the time `Event` itself takes."""


class Recorder:
    """Writes the events of one run. Without a store they only change `state`."""

    def __init__(
        self,
        state: RunState,
        store: RunStore | None,
        codec: Codec | None,
        durability: Durability,
        now: Callable[[], float],
    ) -> None:
        self.state = state
        self.codec = codec
        self.lock = threading.RLock()
        self.hub = Hub(self.lock)
        self._log = None if store is None else RunLog(store, durability, self.lock)
        self._now = now

    def emit(
        self, type_: str, payload: dict[str, Any], path: str = "", attempt: int = 0, *, durable: bool = False,
        sync: bool = True, soon: bool = False,
    ) -> None:  # fmt: skip
        """One more event. `durable`: it is on disk when this returns, as far as the run's durability goes.

        Without `sync` that is for the caller to wait for, see `record`. `soon`: nothing builds on it, so it is written
        with the next event, or when this turn of the running event loop is over.
        """
        now = self._now  # a local: Python 3.11 is slow at calling what an instance holds
        with self.lock:
            state = self.state
            event = _new(Event, (state.run_id, state.seq + 1, now(), type_, path, attempt, payload))
            if self._log is not None:
                self._write(self._log, event, durable, sync, soon)
            state.apply(event)
            self.hub.publish(event)

    def record(self, type_: str, payload: dict[str, Any], path: str = "", attempt: int = 0) -> Awaitable[None]:
        """`emit` a durable event at once; await what is returned, for the disk, together with all that waits for it just now.

        Listeners see the event a moment before; nothing that builds on it may begin before that is over.
        """
        self.emit(type_, payload, path, attempt, durable=True, sync=False)
        log = self._log
        return log.turns.on_disk() if log is not None and log.owes_sync() else DONE

    def begin(self, type_: str, payload: dict[str, Any], path: str, attempt: int) -> Turns | None:
        """`emit` the event that something begins.

        It is written when this returns, or, where others write too, once `Turns.written` of what is returned has returned.
        """
        log = self._log
        turns = log.crowd() if log is not None else None
        self.emit(type_, payload, path, attempt, soon=turns is not None)
        return turns

    def side_by_side(self, tasks: int) -> AbstractContextManager[None]:
        """Within the block so many tasks of the run write events at the same time."""
        return nullcontext() if self._log is None else self._log.turns.side_by_side(tasks)

    def leave(self) -> None:
        """The run is no longer executed here: nothing of it is held back."""
        if self._log is not None:
            with self.lock:
                self._log.leave()

    def _write(self, log: RunLog, event: Event, durable: bool, sync: bool, soon: bool) -> None:
        payload = event.payload
        if self.codec is not None:
            payload = stored_payload(event.type, payload, self.codec, durable and log.syncs)
            if payload is not event.payload:
                event = Event(event.run_id, event.seq, event.ts, event.type, event.path, event.attempt, payload)
        log.append(event, durable=durable, sync=sync, soon=soon)

    def stored(self, type_: str, payload: dict[str, Any]) -> dict[str, Any]:
        """`payload` as it is stored, what it refers to on disk."""
        return payload if self.codec is None else stored_payload(type_, payload, self.codec, True)

    def adopt(self, state: RunState, added: list[Event]) -> None:
        """Go on with `state`, which somebody else (a claim) changed by `added`."""
        with self.lock:
            self.state = state
            for event in added:
                self.hub.publish(event)
