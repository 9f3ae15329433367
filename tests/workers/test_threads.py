"""The threads worker: bounded, with the caller's context, and not held up by what hangs."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from tests.workers.conftest import run
from wfkernel.engine.daemons import DaemonThreads
from wfkernel.engine.signal import CancelSignal, cancel_signal
from wfkernel.engine.worker import StepStopped
from wfkernel.workers.threads import ThreadWorker

place = contextvars.ContextVar("place", default="nowhere")


def test_the_callers_context_is_there_and_is_a_copy():
    def look():
        found = place.get()
        place.set("changed in the thread")
        return found, threading.current_thread() is threading.main_thread()

    async def scenario():
        place.set("here")
        return await run(ThreadWorker(), look), place.get()

    assert asyncio.run(scenario()) == (("here", False), "here")


def test_never_more_calls_than_size_at_once():
    now, most = 0, 0
    lock = threading.Lock()

    def overlap():
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.01)
        with lock:
            now -= 1

    async def scenario():
        worker = ThreadWorker(size=3)
        await asyncio.gather(*(run(worker, overlap) for _ in range(30)))

    asyncio.run(scenario())
    assert most == 3


def test_functions_that_wait_run_together_however_few_processors_there_are():
    together = threading.Barrier(20)

    async def scenario():
        worker = ThreadWorker()
        await asyncio.gather(*(run(worker, together.wait, 30) for _ in range(20)))

    asyncio.run(scenario())
    assert not together.broken


def test_a_canceled_call_is_left_behind_its_signal_set_its_place_free():
    ended = threading.Event()
    begun = threading.Event()

    def hang():
        begun.set()
        cancel_signal().wait_blocking()
        ended.set()

    async def scenario():
        worker = ThreadWorker(size=1)
        running = asyncio.ensure_future(run(worker, hang))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return await run(worker, lambda: "next")

    assert asyncio.run(scenario()) == "next"
    assert ended.wait(10)


def test_hanging_calls_do_not_make_the_pool_stand_still():
    release = threading.Event()

    async def scenario():
        worker = ThreadWorker(size=2)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await run(worker, release.wait)
        return await run(worker, lambda: "still here")

    assert asyncio.run(scenario()) == "still here"
    release.set()


def test_a_waiting_call_whose_signal_is_set_does_not_begin():
    release, begun = threading.Event(), threading.Event()

    async def scenario():
        worker = ThreadWorker(size=1)
        busy = asyncio.ensure_future(run(worker, release.wait))
        await asyncio.sleep(0.01)
        signal = CancelSignal()
        waiting = asyncio.ensure_future(run(worker, begun.set, signal=signal))
        await asyncio.sleep(0.01)
        signal.set("no need")
        with pytest.raises(StepStopped, match="was not begun: no need"):
            await waiting
        release.set()
        await busy

    asyncio.run(scenario())
    assert not begun.is_set()


def test_a_hanging_step_does_not_keep_the_interpreter_from_ending():
    code = (
        "import asyncio, threading\n"
        "from tests.workers.conftest import run\n"
        "from wfkernel.workers.threads import ThreadWorker\n"
        "async def main():\n"
        "    try:\n"
        "        async with asyncio.timeout(0.1):\n"
        "            await run(ThreadWorker(), threading.Event().wait)\n"
        "    except TimeoutError:\n"
        "        print('timed out')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "timed out\n"


def test_threads_are_reused_and_let_go_when_closed():
    pool = DaemonThreads(4, "test-pool")
    names = lambda: [t for t in threading.enumerate() if t.name == "test-pool"]  # noqa: E731
    for n in range(20):
        assert pool.submit(pow, n, 2).result() == n * n
    assert 1 <= len(names()) <= 4
    pool.close()
    for thread in names():
        thread.join(10)
    assert names() == []
    assert pool.submit(pow, 3, 2).result() == 9


def test_a_job_can_be_cancelled_until_it_begins():
    pool = DaemonThreads(1, "test-pool")
    release = threading.Event()
    running = pool.submit(release.wait)
    waiting = pool.submit(pow, 1, 1)
    assert waiting.cancel()
    release.set()
    assert running.result() is True
    with pytest.raises(CancelledError):
        waiting.result()
    assert pool.submit(pow, 2, 2).result() == 4
