"""Time, as the engine sees it: replaceable, so that tests need not wait."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock"]


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


SYSTEM_CLOCK: Final[Clock] = SystemClock()
