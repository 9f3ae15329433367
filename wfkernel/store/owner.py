"""Who writes a run: an identity per process, and whether that process is still alive.

Each process that writes runs holds an operating system lock on ``owners/<identity>.lock`` as long as it lives. The lock
vanishes with the process, however it dies, so a run whose owner's lock can be taken is known to be interrupted at once;
there is no heartbeat to wait for and no process id to be reused.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wfkernel.store.locks import ProcessLock, is_held

__all__ = ["Owner", "is_alive", "values_kept_since"]

KEEPS: Final = ".keeps"

_IDENTITY: Final = re.compile(r"[^/\\\0]{1,200}")
_held: Final[set[tuple[int, Path]]] = set()
"""The locks this process holds, with its id: a process that was forked holds none of them."""


class Owner:
    """This process's identity in one store; holds its lock until `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.pid = os.getpid()
        self.identity = f"{socket.gethostname().split('.')[0]}-{self.pid}-{secrets.token_hex(4)}"
        self._file = _lock_file(folder, self.identity)
        self._lock = ProcessLock(self._file)
        self._lock.acquire()
        self._keeps, self._keepers = self._file.with_suffix(KEEPS), 0
        _held.add((self.pid, self._file))

    def keep_values(self) -> Callable[[], None]:
        """Value files that are written from now on are not taken for unused, until what is returned is called.

        For events that are held back: nothing in the store names their values yet.
        """
        if not self._keepers:
            self._keeps.touch()
        self._keepers += 1

        def let_go() -> None:
            self._keepers -= 1
            if not self._keepers and self.pid == os.getpid():
                self._keeps.unlink(missing_ok=True)

        return let_go

    def release(self) -> None:
        self._keeps.unlink(missing_ok=True)
        _held.discard((self.pid, self._file))
        self._lock.release()


def is_alive(folder: Path, identity: str) -> bool:
    """Whether the process `identity` still runs. False for an empty or unknown identity."""
    if not _IDENTITY.fullmatch(identity):  # a foreign store does not choose which file is looked at
        return False
    file = _lock_file(folder, identity)
    if (os.getpid(), file) in _held:
        return True
    try:
        if is_held(file):
            return True
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return False
        raise
    with contextlib.suppress(OSError):  # in a store that may only be read it stays
        file.unlink()
    return False


def values_kept_since(folder: Path) -> float:
    """From when on (seconds since the epoch) written value files may be named by events that a living process holds back."""
    since = math.inf
    for file in folder.glob(f"*{KEEPS}"):
        with contextlib.suppress(FileNotFoundError):  # written just now
            if is_alive(folder, file.stem):
                since = min(since, file.stat().st_mtime)
            else:
                file.unlink()
    return since


def _lock_file(folder: Path, identity: str) -> Path:
    return folder / f"{identity}.lock"
