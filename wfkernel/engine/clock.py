"""Time, as the engine sees it: replaceable, so that tests need not wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock", "time_limit"]


class Clock(Protocol):
    """Tells the time and sleeps. Times are seconds."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some moment, never going back."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class SystemClock:
    """The real time."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        # In pieces of at most an hour: the wall clock decides, whether it was set or the machine slept meanwhile.
        end = time.time() + seconds
        while (left := end - time.time()) > 0:
            await asyncio.sleep(min(left, 3600.0))


@asynccontextmanager
async def time_limit(clock: Clock, seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """`asyncio.timeout`, by `clock`: raises `TimeoutError` when the block takes longer than `seconds`."""
    if clock is SYSTEM_CLOCK:
        async with asyncio.timeout(seconds) as deadline:
            yield deadline
        return
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as deadline:
        alarm = asyncio.ensure_future(clock.sleep(seconds))
        alarm.add_done_callback(lambda done: None if done.cancelled() else deadline.reschedule(loop.time()))
        try:
            yield deadline
        finally:
            alarm.cancel()


SYSTEM_CLOCK: Final[Clock] = SystemClock()
