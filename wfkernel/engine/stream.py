"""Events on their way to those who listen: streams, watchers, and the recent past for late joiners.

A `Hub` belongs to one run. It remembers the last `HISTORY` events; whoever joins late is given them first. Each listener
has a bounded buffer, and what happens when a slow one's is full is its policy:

- ``block`` (default): the run waits. The engine starts no step and `await writer.write(...)` does not return until there
  is room again; a step in a thread blocks in `writer.write`. A plain function executed inline cannot wait, what it writes
  beyond the buffer stays within twice its size and then drops the oldest.
- ``drop_oldest`` / ``drop_newest``: the run never waits; `Stream.dropped` counts what was lost.

A buffer never grows without bound, whatever the policy.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final, Literal

from wfkernel.engine.events import Event
from wfkernel.errors import DefinitionError

__all__ = ["BUFFER", "HISTORY", "Hub", "Listener", "Overflow"]

Overflow = Literal["block", "drop_oldest", "drop_newest"]

HISTORY: Final = 1_000
BUFFER: Final = 1_000


class Listener:
    """One consumer's buffer. Iterate over it once."""

    def __init__(self, hub: Hub, limit: int, overflow: Overflow) -> None:
        if limit < 1:
            raise DefinitionError(f"the buffer of a stream holds at least 1 event, not {limit}.")
        if overflow not in ("block", "drop_oldest", "drop_newest"):
            raise DefinitionError(f"overflow is 'block', 'drop_oldest' or 'drop_newest', not {overflow!r}.")
        self.dropped = 0
        self._hub = hub
        self._limit, self._overflow = limit, overflow
        self.items: deque[Event] = deque()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._closed = False

    def attend(self) -> int:
        """Wake who waits, do as the policy says when there are too many; how many events may come before the next time.

        Called by the hub, which holds its lock and has added an event.
        """
        items, limit = self.items, self._limit
        if self._waiter is not None:
            self._wake()
        if len(items) > limit:
            if self._overflow == "drop_newest":
                items.pop()
                self.dropped += 1
            elif self._overflow == "drop_oldest" or len(items) > 2 * limit:
                items.popleft()
                self.dropped += 1
            elif not self._hub.full:
                self._hub.fill(self)
        return max(limit - len(items), 0)

    def close(self) -> None:
        """No event follows."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            loop, future = waiter
            _call(loop, partial(_settle, future))

    async def __aiter__(self) -> AsyncIterator[Event]:
        items, hub, half = self.items, self._hub, self._limit // 2
        take = items.popleft
        try:
            while True:
                while items:
                    yield take()
                    if hub.full and len(items) <= half:
                        hub.drain(self)
                if self._closed:
                    return
                loop = asyncio.get_running_loop()
                future = loop.create_future()
                with hub.lock:  # no event may come between looking and waiting
                    if not items and not self._closed:
                        self._waiter = (loop, future)
                        hub.at_rest = 0
                    else:
                        continue
                await future
        finally:
            self._hub.leave(self)


class Hub:
    """Hands every event of a run to all its listeners and watchers, in order."""

    def __init__(self, lock: threading.RLock | None = None) -> None:
        self.lock: Any = lock or threading.RLock()
        self.history: deque[Event] = deque(maxlen=HISTORY)
        self.full = False
        """Whether a blocking listener has no room: then the run waits in `room`."""
        self.at_rest = 0
        """How many events may be published before a listener needs attention: it waits, or its buffer is full."""
        self._listeners: list[Listener] = []
        self._watchers: tuple[Callable[[Event], object], ...] = ()
        self._takers: tuple[Callable[[Event], object], ...] = ()
        """What is called with every event: the listeners' buffers' `append`, and the watchers."""
        self._filled: set[Listener] = set()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._room: threading.Event | None = None
        """Set when a listener that had no room has it again."""

    def publish(self, event: Event) -> None:
        """Hand `event` on. The caller holds `lock`."""
        self.history.append(event)
        for take in self._takers:
            take(event)
        if self.at_rest:
            self.at_rest -= 1
        elif self._listeners:
            self.at_rest = min([listener.attend() for listener in self._listeners])

    def _rewire(self) -> None:
        """Somebody came or left. The lock is held."""
        self._takers = (*(listener.items.append for listener in self._listeners), *self._watchers)
        self.at_rest = 0

    def listen(self, limit: int = BUFFER, overflow: Overflow = "block", *, replay: bool = True) -> Listener:
        """A new listener; with `replay` it begins with the events still remembered."""
        listener = Listener(self, limit, overflow)
        with self.lock:
            if replay:
                listener.items.extend(self.history)
            self._listeners.append(listener)
            self._rewire()
        return listener

    def leave(self, listener: Listener) -> None:
        """The listener takes no more."""
        with self.lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
                self._rewire()
        self.drain(listener)

    def watch(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call `callback` for every event from now on. Returns what ends it."""
        with self.lock:
            self._watchers = (*self._watchers, callback)
            self._rewire()

        def unwatch() -> None:
            with self.lock:
                self._watchers = tuple(watcher for watcher in self._watchers if watcher is not callback)
                self._rewire()

        return unwatch

    def close(self) -> None:
        """The run stopped: streams end once they are read to the end. Watchers stay for a resume."""
        with self.lock:
            listeners, self._listeners = self._listeners, []
            self._rewire()
            for listener in listeners:
                listener.close()
        for listener in listeners:
            self.drain(listener)

    # -- backpressure -----------------------------------------------------------------------------------------------

    def fill(self, listener: Listener) -> None:
        self._filled.add(listener)
        self.full = True
        if self._room is None:
            self._room = threading.Event()
        self._room.clear()

    def drain(self, listener: Listener) -> None:
        with self.lock:
            self._filled.discard(listener)
            if self._filled or not self.full:
                return
            self.full = False
            if self._room is not None:
                self._room.set()
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            _call(loop, partial(_settle, future))

    async def room(self) -> None:
        """Wait until every blocking listener has room."""
        while self.full:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            with self.lock:
                if not self.full:
                    return
                self._waiting.append((loop, future))
            await future

    def wait_for_room(self) -> None:
        """The same for a thread without an event loop."""
        if self._room is not None:
            self._room.wait()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call `function` on `loop`: at once if this is its thread."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        function()
    else:
        loop.call_soon_threadsafe(function)
