"""A time limit for code on the kernel's main thread.

When the time is up the main thread is interrupted, exactly as the Interrupt button does it, which also ends a blocking
``time.sleep``; what comes out of the body then is turned into `StepTimeout`. One long call into C that does not look at
signals ends first, as with the button.
"""

from __future__ import annotations

import _thread
import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wfkernel.engine.failures import StepTimeout

__all__ = ["time_limit"]


@contextmanager
def time_limit(step: str, seconds: float | None) -> Iterator[None]:
    """Raise `StepTimeout` where the body takes longer than `seconds`; None is no limit."""
    if seconds is None:
        yield
        return
    expired = threading.Event()
    done = threading.Lock()

    def interrupt() -> None:
        with done:
            if finished:
                return
            expired.set()
            if hasattr(signal, "pthread_kill") and (main := threading.main_thread().ident) is not None:
                signal.pthread_kill(main, signal.SIGINT)
            else:
                _thread.interrupt_main()
            if loop is not None:  # a loop that waits does not notice what a signal handler scheduled
                loop.call_soon_threadsafe(lambda: None)

    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    finished = False
    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        if not expired.is_set():
            raise
        raise StepTimeout(f"step '{step}' took longer than {seconds:g} s") from None
    finally:
        timer.cancel()
        with done:
            finished = True
