"""A clock that is moved by hand, so that hours of sleeping, retrying and timing out take a test no time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

__all__ = ["FakeClock"]

T = TypeVar("T")

_SETTLE_ROUNDS: Final = 20
"""How often everything else on the loop may act before the clock moves on."""


class FakeClock:
    """A `Clock` whose time stands still until `advance` or `drive` moves it.

    ``now()`` starts at 2024-01-01 00:00 UTC unless told otherwise, ``monotonic()`` at 0.
    """

    def __init__(self, start: float = 1_704_067_200.0) -> None:
        self._start = start
        self._passed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._asleep: asyncio.Event | None = None
        """Set by every new sleep while `drive` waits for one."""
        self.slept: list[float] = []
        """Every `sleep` that was asked for, in seconds, in order."""

    def now(self) -> float:
        """Seconds since the epoch, by this clock."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds this clock was moved since it was made."""
        return self._passed

    async def sleep(self, seconds: float) -> None:
        """Return when the clock was moved on by `seconds`."""
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed + seconds, next(self._order), wake))
        if self._asleep is not None:
            self._asleep.set()
        await wake

    @property
    def sleepers(self) -> int:
        """How many sleeps are going on."""
        return sum(1 for _, _, wake in self._sleepers if not wake.done())

    async def advance(self, seconds: float) -> None:
        """Move the clock on by `seconds`, waking everything that is due on the way, each at its time."""
        end = self._passed + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            await self._wake_next()
        self._passed = max(self._passed, end)
        await _settle()

    async def drive(self, what: Awaitable[T]) -> T:
        """Await `what`; whenever nothing but sleeping is left to do, move the clock to the next wake-up.

        Work in threads and processes is waited for only while nobody sleeps on this clock.
        """
        running = asyncio.ensure_future(_coroutine(what))
        try:
            while not running.done():
                await _settle()
                if running.done():
                    break
                if self.sleepers:
                    await self._wake_next()
                else:
                    await self._until_done_or_asleep(running)
        finally:
            if not running.done():
                running.cancel()
        return await running

    async def _until_done_or_asleep(self, running: asyncio.Future[T]) -> None:
        self._asleep = asyncio.Event()
        asleep = asyncio.ensure_future(self._asleep.wait())
        try:
            either: list[asyncio.Future[Any]] = [running, asleep]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._asleep = None
            asleep.cancel()

    async def _wake_next(self) -> None:
        when, _, wake = heapq.heappop(self._sleepers)
        if not wake.done():
            self._passed = max(self._passed, when)
            wake.set_result(None)
            await _settle()


async def _coroutine(what: Awaitable[T]) -> T:
    return await what


async def _settle() -> None:
    for _ in range(_SETTLE_ROUNDS):
        await asyncio.sleep(0)
