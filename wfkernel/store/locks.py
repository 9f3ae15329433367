"""Locks between processes, on files. The operating system drops them with the process that holds them, however it ends.

On POSIX they are what `filelock.FileLock` makes of flock, and get along with it. filelock itself is left to Windows: to
import it takes 10 ms, to lock with it twenty times as long, and a process that only goes on with a run pays for both.

A process that was forked inherits the descriptors, and what it inherited would hold the locks on when its parent is dead: it
closes them at once, and needs objects of its own.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

__all__ = ["Between", "Held", "ProcessLock", "between_processes", "is_held"]

Between = AbstractContextManager[Any]
_POLL_SECONDS: Final = 0.02


class Held(Exception):
    """Another process holds the lock."""


class _Flock:
    """The file stays open while nobody holds it: for a lock that is taken very often, and for moments."""

    def __init__(self, file: Path) -> None:
        import fcntl

        self._flock, self._exclusive, self._free = fcntl.flock, fcntl.LOCK_EX, fcntl.LOCK_UN
        self._file = str(file)
        self._fd = -1  # where opening fails
        self._fd = _opened(self._file)

    def __enter__(self) -> None:
        self._flock(self._fd, self._exclusive)
        while not _is_there(self._file, self._fd):  # else whoever comes next would lock another file
            fd = _opened(self._file)
            os.close(self._fd)
            self._fd = fd
            self._flock(self._fd, self._exclusive)

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._flock(self._fd, self._free)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def between_processes(file: Path) -> Between:
    """A lock between processes, not between the threads of one, for a ``with``: it waits as long as it takes."""
    if os.name == "posix":
        return _Flock(file)
    from filelock import FileLock

    return FileLock(file, thread_local=False)


class ProcessLock:
    """The lock on `file` for this process, whichever of its threads asks: it is let go when all have released it.

    The caller sees to it that threads do not ask at the same moment.
    """

    def __init__(self, file: Path) -> None:
        self._file = str(file)
        self._times = 0
        self._held: Any = None
        """The descriptor, or filelock's lock."""
        _known.add(self)

    def acquire(self, *, wait: float = 0.0) -> None:
        """Take it; `wait` is for how many seconds to try. Raises `Held`, and `OSError` where the file cannot be opened."""
        if not self._times:
            self._held = (_flocked if os.name == "posix" else _filelocked)(self._file, wait)
        self._times += 1

    def release(self) -> None:
        """Let go of it, once for each `acquire`. What a forked process inherited it has let go of already."""
        if not self._times:
            return
        self._times -= 1
        if self._times:
            return
        held, self._held = self._held, None
        if os.name != "posix":
            held.release()
            return
        import fcntl

        fcntl.flock(held, fcntl.LOCK_UN)  # closing alone would not do where a forked process has it open too
        os.close(held)

    def leave_to_parent(self) -> None:
        """In a forked process: its parent's lock stays the parent's, and ends with it."""
        if self._times:
            os.close(self._held)
            self._held, self._times = None, 0

    def __del__(self) -> None:
        if self._times and os.name == "posix":  # filelock sees to its own
            os.close(self._held)


_known: Final[weakref.WeakSet[ProcessLock]] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for lock in tuple(_known):
        lock.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def is_held(file: Path) -> bool:
    """Whether some process holds the lock on `file`. Raises `FileNotFoundError`. Any number of processes may ask at once."""
    if os.name != "posix":
        probe = ProcessLock(file)
        try:
            probe.acquire()
        except Held:
            return True
        probe.release()
        return False
    import fcntl

    fd = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(
            fd, fcntl.LOCK_SH | fcntl.LOCK_NB
        )  # shared: who asks at the same moment is not taken for the holder
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _flocked(file: str, wait: float) -> int:
    """A descriptor of the file, locked."""
    import fcntl

    deadline = time.monotonic() + wait
    while True:
        fd = _opened(file)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(file, fd):
                return fd
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() >= deadline:
                raise Held(file) from None
            time.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(fd)
            raise
        else:
            os.close(fd)  # the file was removed before it was locked


def _filelocked(file: str, wait: float) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise Held(file) from None
    return lock


def _opened(file: str) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        with contextlib.suppress(OSError):  # what may only be read can be locked all the same
            return os.open(file, os.O_RDONLY)
        raise


def _is_there(file: str, fd: int) -> bool:
    """Whether the file was not removed since it was opened as `fd`."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(fd))
    except FileNotFoundError:
        return False
