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


class _Turns:
    """Who waits for one log on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Syncable) -> None:
        self._loop, self._log = loop, log
        self._waiting: list[asyncio.Future[None]] = []
        self._seconds = 0.0
        """What the last sync took."""

    def wait(self) -> asyncio.Future[None]:
        if not self._waiting:
            self._loop.call_soon(self._sync)
        future = self._loop.create_future()
        self._waiting.append(future)
        return future

    def _sync(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._seconds > SLOW_SECONDS:
            self._loop.run_in_executor(None, self._timed).add_done_callback(
                lambda done: _settle(waiting, done.result())
            )
        else:
            _settle(waiting, self._timed())

    def _timed(self) -> BaseException | None:
        begun = time.perf_counter()
        try:
            self._log.sync()
        except Exception as error:
            return error
        self._seconds = time.perf_counter() - begun
        return None


def _settle(waiting: list[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in waiting:
        if future.done():  # whoever waited was canceled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Turns]] = WeakKeyDictionary()


async def on_disk(log: Syncable) -> None:
    """Return once everything appended to `log` so far is on disk. Raises what its `sync` raises."""
    loop = asyncio.get_running_loop()
    logs = _turns.get(loop)
    if logs is None:
        logs = _turns[loop] = {}
    turns = logs.get(id(log))
    if turns is None or turns._log is not log:
        turns = logs[id(log)] = _Turns(loop, log)
    await turns.wait()
