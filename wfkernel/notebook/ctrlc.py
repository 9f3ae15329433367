"""Ctrl-C of a headless run: handed on to the kernel, where an interrupt suspends the run.

The kernel is in a process group of its own, which the terminal's Ctrl-C does not reach. Handed on, the first one suspends
the run at the step that executes, the second cancels it; who presses a third time means this process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["CtrlC", "relayed"]

PATIENCE: Final = 2
"""How often Ctrl-C is for the kernel."""


class CtrlC:
    """How often Ctrl-C was pressed."""

    pressed = 0


@contextmanager
def relayed(manager: Any) -> Iterator[CtrlC]:
    """Within the block, Ctrl-C interrupts the kernel of `manager`. Only the main thread hears Ctrl-C."""
    heard = CtrlC()
    group = getattr(getattr(manager, "provisioner", None), "pgid", None)
    if threading.current_thread() is not threading.main_thread() or not group:
        yield heard
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        heard.pressed += 1
        if heard.pressed > PATIENCE:
            raise KeyboardInterrupt
        os.killpg(group, signal.SIGINT)

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, previous)
