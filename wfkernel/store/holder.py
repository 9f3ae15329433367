"""Which process keeps the DuckDB file open, asked once waiting for it has taken too long.

To look takes tens of milliseconds, so who waits does it seldom. A process that is found stopped is looked at again at once,
and has to stay so: it may be stopped for a moment only, or be another one that waits, while the holder works.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Holder", "Watch", "holder_of"]

LOOK_SECONDS: Final = 2.0
"""How often who waits looks."""
AGAIN_SECONDS: Final = 0.25
"""The same while a stopped process keeps the file."""
STOPPED_SECONDS: Final = 1.5
"""How long it has to be stopped before nobody waits for it any longer."""
COMMAND_LENGTH: Final = 80


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a file open."""

    pid: int
    command: str
    stopped: bool
    """Whether it does nothing until somebody lets it go on: Ctrl-Z, SIGSTOP, a debugger."""


def holder_of(file: Path) -> Holder | None:
    """The other process of this user that keeps `file`, or its turn with it, if one can be found.

    Looks at what all processes have open, which takes tens of milliseconds. Who waits has the file of the turn open as well,
    for moments: a process that has only that is taken for the holder if it is stopped.
    """
    import psutil

    turn = f"{file}.lock"
    found: Holder | None = None
    for process in psutil.process_iter():
        try:
            opened = {one.path for one in process.open_files()} & {str(file), turn}
            if process.pid == os.getpid() or not opened:
                continue
            stopped = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
            if stopped or str(file) in opened:
                found = Holder(process.pid, _shortened(" ".join(process.cmdline())), stopped)
                if stopped:
                    return found
        except (psutil.Error, OSError):  # it ended, or is somebody else's
            continue
    return found


class Watch:
    """What one who waits for `file` has seen of its holder."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._next = time.monotonic() + LOOK_SECONDS
        self._stopped: int | None = None
        self._since = 0.0

    def stopped(self) -> Holder | None:
        """The process that keeps the file, if it is stopped for good."""
        now = time.monotonic()
        if now < self._next:
            return None
        holder = holder_of(self._file)
        if holder is None or not holder.stopped:
            self._stopped, self._next = None, now + LOOK_SECONDS
            return None
        if holder.pid != self._stopped:
            self._stopped, self._since = holder.pid, now
        self._next = now + AGAIN_SECONDS
        return holder if now - self._since >= STOPPED_SECONDS else None


def _shortened(command: str) -> str:
    command = " ".join(command.split())
    return command if len(command) <= COMMAND_LENGTH else f"…{command[1 - COMMAND_LENGTH :]}"
