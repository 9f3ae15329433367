"""The fake clock: nothing moves unless it is moved, and then in order."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfkernel.engine.clock import Clock
from wfkernel.testing import FakeClock


def test_it_is_a_clock():
    clock: Clock = FakeClock(start=1_000.0)
    assert (clock.now(), clock.monotonic()) == (1_000.0, 0.0)


def test_time_stands_still_until_it_is_moved():
    async def scenario():
        clock = FakeClock()
        sleeping = asyncio.ensure_future(clock.sleep(10))
        await clock.advance(9.5)
        assert not sleeping.done()
        assert clock.sleepers == 1
        await clock.advance(0.5)
        assert sleeping.done()
        assert (clock.monotonic(), clock.sleepers, clock.slept) == (10, 0, [10])

    asyncio.run(scenario())


@given(st.lists(st.integers(1, 1_000), max_size=20))
def test_sleepers_wake_in_the_order_of_their_times_each_at_its_time(delays):
    async def scenario():
        clock = FakeClock()
        woken = []

        async def sleeper(delay):
            await clock.sleep(delay)
            woken.append((delay, clock.monotonic()))

        tasks = [asyncio.ensure_future(sleeper(delay)) for delay in delays]
        await clock.advance(1_000)
        assert all(task.done() for task in tasks)
        return woken

    assert asyncio.run(scenario()) == [(delay, delay) for delay in sorted(delays)]


def test_driving_passes_days_of_sleep_at_once():
    async def scenario():
        clock = FakeClock()
        started, begun = clock.now(), time.monotonic()

        async def work():
            for _ in range(30):
                await clock.sleep(86_400)
            return "rested"

        assert await clock.drive(work()) == "rested"
        assert clock.now() - started == 30 * 86_400
        assert time.monotonic() - begun < 30 * 86_400

    asyncio.run(scenario())


def test_driving_waits_for_threads_and_hands_on_exceptions():
    async def scenario():
        clock = FakeClock()

        async def work():
            await asyncio.to_thread(time.sleep, 0.02)
            await clock.sleep(60)
            raise KeyError("after the sleep")

        with pytest.raises(KeyError, match="after the sleep"):
            await clock.drive(work())
        assert clock.monotonic() == 60

    asyncio.run(scenario())


def test_a_canceled_sleep_does_not_move_the_clock():
    async def scenario():
        clock = FakeClock()

        async def work():
            long = asyncio.ensure_future(clock.sleep(1_000_000))
            await clock.sleep(5)
            long.cancel()
            await clock.sleep(5)

        await clock.drive(work())
        assert clock.monotonic() == 10

    asyncio.run(scenario())


def test_no_sleep_only_gives_way():
    async def scenario():
        clock = FakeClock()
        await clock.sleep(0)
        await clock.sleep(-3)
        return clock.monotonic()

    assert asyncio.run(scenario()) == 0
