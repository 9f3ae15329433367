"""What an interrupt does while a cell runs: the kernel's square button, Ctrl-C, and the commands suspend and cancel.

A cell computes in the kernel's main thread, where only a signal reaches it. While a cell runs, SIGINT is ours:

- sent by a person, it goes on to IPython, which raises `KeyboardInterrupt` (or cancels a cell that awaits). Where it
  ended a step, `cause_of` turns it into `RunStopped`: the step was not at fault, it was stopped. The second one cancels.
- sent by `deliver`, from any thread, it raises what `deliver` was given: `RunStopped` for a command, `StepTimeout` for a
  time limit. An ``except KeyboardInterrupt`` in the cell does not swallow that.

A signal handler runs between two instructions of Python: one long call into C ends first, unless the library looks at
signals itself. Some libraries turn the interrupt into an error of their own; what a body raises within `ECHO` seconds of
an interrupt counts as its consequence.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from wfkernel.engine.uninterrupted import deferred
from wfkernel.errors import RunStopped
from wfkernel.notebook.runs import RUN_VARIABLE

__all__ = ["INTERRUPT", "Interrupts"]

ECHO: Final = 2.0
"""Seconds after an interrupt in which an exception is taken for its echo, and a second interrupt for "I mean it"."""
SHUTDOWN: Final = 0.5
"""Seconds a kernel that is being shut down lives on after it was interrupted for that."""
INTERRUPT: Final = "Interrupt"
"""How a run says it was stopped by SIGINT."""


class Interrupts:
    """SIGINT of one kernel.

    Args:
        stopped: makes the `RunStopped` for a status and who asked for it.
        stops_run: whether an interrupt of the present cell concerns the run; else it is any other cell's.
        again: called when a second interrupt comes soon after a first one has suspended the run and ended the cell.
    """

    def __init__(
        self, stopped: Callable[[str, str], RunStopped], stops_run: Callable[[], bool], again: Callable[[], object]
    ) -> None:
        self._stopped, self._stops_run, self._again = stopped, stops_run, again
        self._cells = 0
        self._previous: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cause: BaseException | None = None
        self._at = 0.0
        """When the last signal came while this cell ran, on the monotonic clock; 0 for none."""
        self._by_person = 0.0
        self._lock = threading.Lock()

    # -- around a cell -----------------------------------------------------------------------------------------------

    def begin_cell(self) -> None:
        """A cell begins: SIGINT is ours. Cells inside it (``%run``) are part of it; a subshell's cannot be interrupted."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._cells += 1
        if self._cells > 1:
            return
        try:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
        except RuntimeError:
            self._loop = self._task = None
        self._at = self._by_person = 0.0
        self._previous = signal.signal(signal.SIGINT, self._interrupted)

    def end_cell(self) -> BaseException | None:
        """The cell ended. Returns what was delivered while it ran and nobody took."""
        if threading.current_thread() is not threading.main_thread() or self._cells == 0:
            return None
        self._cells -= 1
        if self._cells:
            return None
        signal.signal(signal.SIGINT, self._previous)
        with self._lock:
            left, self._cause = self._cause, None
        if self._by_person and self._loop is not None and RUN_VARIABLE not in os.environ:
            # Once the kernel has put its own handler back.
            self._loop.call_later(0.05, self._listen_on)
        return left

    def _listen_on(self) -> None:
        """Hear a second interrupt although no cell runs."""
        until = self._by_person + ECHO
        if self._cells or self._loop is None or time.monotonic() >= until:
            return
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # the kernel has not put its own handler back yet
            self._loop.call_later(0.05, self._listen_on)
            return

        def heard(number: int, frame: FrameType | None) -> None:
            if time.monotonic() < until and self._loop is not None:
                # Whoever shuts a kernel down interrupts it first; that means the kernel, not the run.
                self._loop.call_soon_threadsafe(self._loop.call_later, SHUTDOWN, self._again)
            deaf()

        def deaf() -> None:
            if signal.getsignal(signal.SIGINT) is heard:
                signal.signal(signal.SIGINT, signal.SIG_IGN)

        signal.signal(signal.SIGINT, heard)
        self._loop.call_later(max(0.0, until - time.monotonic()), deaf)

    # -- stopping ----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a cell runs in the main thread."""
        return self._cells > 0

    def deliver(self, cause: BaseException) -> bool:
        """Make the running cell end with `cause`. From any thread; tells whether there was a cell."""
        with self._lock:
            if not self._cells:
                return False
            self._cause = cause
        main = threading.main_thread().ident
        if hasattr(os, "getpgid") and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGINT)  # as Interrupt does: programs the cell waits for get it too
        elif hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, signal.SIGINT)
        else:
            _thread.interrupt_main()
        return True

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if deferred(lambda: self._interrupted(number, None)):
            return
        now = self._at = time.monotonic()
        if self._cause is None or isinstance(self._cause, RunStopped):
            second = bool(self._by_person) and now - self._by_person < ECHO
            self._by_person = now
            if second and (self._cause is not None or self._stops_run()):
                self._cause = self._stopped("canceled", INTERRUPT)
            elif self._cause is None and RUN_VARIABLE in os.environ:
                self._cause = self._stopped("suspended", INTERRUPT)
        executing = self._loop is None or asyncio.current_task(self._loop) is self._task
        if executing and self._cause is not None:
            raise self._cause
        if callable(self._previous):
            self._previous(number, frame)
        if self._loop is not None:  # a loop that waits does not notice what a signal handler scheduled
            self._loop.call_soon_threadsafe(lambda: None)

    def cause_of(self, error: BaseException) -> BaseException:
        """What really ended a step's body, where `error` came out of it."""
        if self._at == 0.0:
            return error
        by_signal = isinstance(error, KeyboardInterrupt | asyncio.CancelledError | RunStopped)
        if not by_signal and time.monotonic() - self._at > ECHO:
            return error
        with self._lock:
            cause, self._cause = self._cause, None
        if cause is not None:
            return cause
        return error if isinstance(error, RunStopped) else self._stopped("suspended", INTERRUPT)

    def pending(self) -> BaseException | None:
        """What was delivered while the main thread was not in a step's body; it is taken."""
        with self._lock:
            cause, self._cause = self._cause, None
        return cause
