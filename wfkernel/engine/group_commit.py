"""Waiting for the disk together: all that ends in one turn of the event loop shares one fdatasync.

A step that ended writes its event at once and then waits here; the sync comes when the loop has let everything run that
was ready. A thousand arms of a fan-out, or a hundred runs side by side, so pay for the disk once a turn and not once
each. On a usual disk (0.1 ms) the loop's own thread syncs, which is cheaper than handing it to another; where it turned
out to take longer than `SLOW_SECONDS`, a thread does it and the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol
from weakref import WeakKeyDictionary

__all__ = ["Syncable", "on_disk"]

SLOW_SECONDS: Final = 0.002


class Syncable(Protocol):
    """A log whose `sync` returns once everything appended to it before is on disk."""

    def sync(self) -> None: ...


class _Turn:
    """Who waits for one log in one turn of an event loop."""

    __slots__ = ("error", "over", "waiting")

    def __init__(self) -> None:
        self.over = False
        """The disk has them, or refused: then with `error`."""
        self.error: Exception | None = None
        self.waiting: list[asyncio.Future[None]] | None = None
        """While a thread waits for the disk: whom to wake then."""


class _Turns:
    """Waiting for one log on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Syncable) -> None:
        self._loop, self.log = loop, log
        self._turn = _Turn()
        self._seconds = 0.0
        """What the last sync took."""

    async def wait(self) -> None:
        turn = self._turn
        await asyncio.sleep(0)  # whatever is ready runs, and writes and waits too
        if not turn.over:  # the first to go on syncs for all
            if turn.waiting is None:
                self._turn = _Turn()
                if self._seconds <= SLOW_SECONDS:
                    self._sync(turn)
                else:
                    turn.waiting = []
                    self._loop.run_in_executor(None, self._sync, turn).add_done_callback(lambda _: _wake(turn))
            if turn.waiting is not None:
                woken = self._loop.create_future()
                turn.waiting.append(woken)
                await woken
        if turn.error is not None:
            raise turn.error

    def _sync(self, turn: _Turn) -> None:
        begun = time.perf_counter()
        try:
            self.log.sync()
        except Exception as error:
            turn.error = error
        self._seconds = time.perf_counter() - begun
        turn.over = turn.waiting is None  # in a thread: not before those who wait are woken


def _wake(turn: _Turn) -> None:
    turn.over = True
    for future in turn.waiting or ():
        if not future.done():  # else whoever waited was canceled
            future.set_result(None)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Turns]] = WeakKeyDictionary()


async def on_disk(log: Syncable) -> None:
    """Return once everything appended to `log` so far is on disk. Raises what its `sync` raises."""
    loop = asyncio.get_running_loop()
    logs = _turns.get(loop)
    if logs is None:
        logs = _turns[loop] = {}
    turns = logs.get(id(log))
    if turns is None or turns.log is not log:
        turns = logs[id(log)] = _Turns(loop, log)
    await turns.wait()
