"""A time limit for code on the kernel's main thread.

When the time is up the main thread is interrupted, exactly as the Interrupt button does it, which also ends a blocking
``time.sleep``. One long call into C that does not look at signals ends first, as with the button.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wfkernel.engine.failures import StepTimeout
from wfkernel.notebook.interrupts import Interrupts

__all__ = ["time_limit"]


@contextmanager
def time_limit(interrupts: Interrupts, step: str, seconds: float | None) -> Iterator[None]:
    """Deliver `StepTimeout` where the body takes longer than `seconds`; None is no limit."""
    if seconds is None:
        yield
        return
    done = threading.Lock()
    finished = False

    def expire() -> None:
        with done:
            if not finished:
                interrupts.deliver(StepTimeout(f"step '{step}' took longer than {seconds:g} s"))

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with done:
            finished = True
