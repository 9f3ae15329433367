"""How a step is asked to end: a signal it can look at, wait for or be told by.

The run has one; an attempt that a worker or a time limit may end by itself has one of its own, which the run's sets too.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["CancelSignal", "cancel_signal", "signalled_by"]


class CancelSignal:
    """Tells a step that it should end. Set once, from any thread; it stays set.

    As an argument of a step it stands for "the signal of this call": in another process it arrives as the signal there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._listeners: list[Callable[[], object]] = []
        self.reason = ""

    def set(self, reason: str = "canceled") -> None:
        """Ask the step to end. `reason` is for people: "canceled", "timed out after 5 s"."""
        with self._lock:
            if self._is_set:
                return
            self.reason = reason
            self._is_set = True
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def is_set(self) -> bool:
        """Whether the step should end."""
        return self._is_set

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Block this thread until the signal is set or `timeout` seconds are over; tells whether it is set."""
        event = threading.Event()
        with self.listening(event.set):
            return event.wait(timeout)

    async def wait(self) -> None:
        """Wait until the signal is set."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            loop.call_soon_threadsafe(resolve)

        with self.listening(wake):
            await future

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Within the block, `listener` is called once, in the thread that sets the signal; at once if it is set."""
        with self._lock:
            already = self._is_set
            if not already:
                self._listeners.append(listener)
        if already:
            listener()
        try:
            yield
        finally:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

    def __reduce__(self) -> tuple[Callable[[], CancelSignal], tuple[()]]:
        return cancel_signal, ()


_signal: contextvars.ContextVar[CancelSignal | None] = contextvars.ContextVar("wfkernel_signal", default=None)


@contextmanager
def signalled_by(signal: CancelSignal) -> Iterator[None]:
    """Make `signal` the one `cancel_signal()` gives in this context."""
    token = _signal.set(signal)
    try:
        yield
    finally:
        _signal.reset(token)


def cancel_signal() -> CancelSignal:
    """The signal of the running step; outside steps one that nobody sets."""
    return _signal.get() or CancelSignal()
