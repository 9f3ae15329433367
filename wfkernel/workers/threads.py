"""The `threads` worker: functions that wait (files, networks, databases) without holding up the event loop.

The context variables of the caller are copied into the thread, so `current_step()` and whatever else lives in them is
the same there. Python computes in one thread at a time: for computing in parallel there is `processes`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.daemons import DaemonThreads
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call
from wfkernel.workers.execute import Outcome, execute, stopped_before

if TYPE_CHECKING:
    from wfkernel.engine.context import StepContext

__all__ = ["ThreadWorker", "cancelled_from_outside"]

GRACE_SECONDS: Final = 0.0002
THREADS: Final = 32
"""How many calls at a time, however few processors there are: such functions wait rather than compute."""


def cancelled_from_outside() -> bool:
    """Whether the running task is being cancelled, rather than something it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Grace:
    """Waiting on the spot for functions that return at once, which is cheaper than being told through the event loop.

    The wait is `GRACE_SECONDS` at most. Each one that was in vain doubles the number of calls that are not waited for, so
    functions that take their time hold up the loop for microseconds a call on average.
    """

    def __init__(self) -> None:
        self._skip = self._in_vain = 0

    def lasts(self, future: Future[Outcome]) -> bool:
        """Whether the call ended while it was waited for here."""
        if self._skip:
            self._skip -= 1
            return False
        ended = threading.Lock()
        ended.acquire()
        future.add_done_callback(lambda _: ended.release())
        if ended.acquire(timeout=GRACE_SECONDS) and not future.cancelled():
            self._in_vain = 0
            return True
        self._in_vain = min(self._in_vain + 1, 12)
        self._skip = 1 << self._in_vain
        return False


class ThreadWorker:
    """At most `size` calls at a time, the others wait."""

    name = "threads"

    def __init__(self, size: int = THREADS) -> None:
        self._grace = _Grace()
        self._threads = DaemonThreads(size, "wfkernel-step")

    async def run(self, call: Call, step: StepContext, signal: CancelSignal) -> Any:
        """See `Worker.run`."""
        future = self._threads.submit(contextvars.copy_context().run, execute, call, step, signal)
        if self._grace.lasts(future):
            return future.result().get()
        with signal.listening(future.cancel):  # only what has not begun can be cancelled
            try:
                outcome = await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                if not cancelled_from_outside():
                    raise stopped_before(call.path, signal) from None
                signal.set()
                self._threads.give_up(future)
                raise
        return outcome.get()

    async def close(self) -> None:
        """Let the idle threads go."""
        self._threads.close()
