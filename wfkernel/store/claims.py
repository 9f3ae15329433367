"""Who changed a run last: so that a process goes on with its own runs without asking the database.

Whatever changes a run other than its writer's next event (a claim, a restore, a removal) is done while holding one lock
between all processes, and is noted in the file ``owners/claimed`` before the lock is let go. A process that wrote a run's
last event and finds the run not noted by anybody else since, while it holds that lock, knows the run's state already:
reading it again would give the same. The notes only say "ask again"; what happened is in the events.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wfkernel.engine.events import Event
from wfkernel.store.disk import write_all
from wfkernel.store.locks import Between, between_processes

__all__ = ["CLAIMED", "Claims"]

CLAIMED: Final = "claimed"
EVERY_RUN: Final = "*"
LONGEST: Final = 1 << 18
"""Bytes the file of notes grows to before it is begun anew."""


class Claims:
    """The lock and the notes of one store, as one process sees them. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, str(folder / CLAIMED)
        self._lock = threading.RLock()
        self._between: Between | None = None
        self._pid = os.getpid()
        self._last: dict[str, int] = {}
        """run -> the number of its last event, if this process wrote it and nobody changed the run since."""
        self._seen: tuple[int, ...] = ()
        """The file of notes as it was when it was last read, by its inode, size and time."""
        self._begun, self._read = "", 0
        """Its first line, which no two of them share, and how far it was read."""
        self._read_notes()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Within the block no other process changes a run from outside."""
        with self._lock:
            if self._pid != os.getpid():  # forked: what the parent wrote is the parent's
                self._between, self._pid, self._last = None, os.getpid(), {}
            if self._between is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._between = between_processes(self._folder / f"{CLAIMED}.lock")
            with self._between:
                yield

    @contextlib.contextmanager
    def values_stay(self) -> Iterator[None]:
        """Within the block no other process is in one: who collects unused value files, and who copies all that there are.

        To be entered before `exclusive` and before the database is opened: it may last.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            between: Between = between_processes(self._folder / "values.lock")
        except OSError:  # in a store that may only be read
            between = contextlib.nullcontext()
        with between:
            yield

    def wrote(self, events: list[Event]) -> None:
        """This process, which has their runs, wrote these events."""
        last = self._last
        for event in events:
            last[event.run_id] = event.seq

    def has(self, run_id: str, seq: int) -> None:
        """This process has the run, whose last event is `seq`."""
        self._last[run_id] = seq

    def is_current(self, run_id: str, seq: int) -> bool:
        """Whether event `seq` is the run's last. True is certain as long as the block of `exclusive` lasts."""
        if self._last.get(run_id) != seq or self._pid != os.getpid():
            return False
        with self._lock:
            self._read_notes()
        return self._last.get(run_id) == seq

    def note(self, owner: str, run_id: str = EVERY_RUN) -> None:
        """Tell the others that `owner` changed the run (or any). Within `exclusive`."""
        self._read_notes()
        line = f"{owner} {run_id}\n"
        begin = not self._seen or self._seen[1] > LONGEST
        if begin:
            self._begun = f"{secrets.token_hex(8)}\n"
        notes = os.open(self._file, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if begin else os.O_APPEND), 0o666)
        try:
            write_all(notes, (self._begun + line if begin else line).encode())
            self._seen = _as_it_is(os.fstat(notes))
        finally:
            os.close(notes)
        self._read = self._seen[1]  # nobody else writes within `exclusive`, and its own note is no news

    def _read_notes(self) -> None:
        """Forget what others have changed."""
        try:
            seen = _as_it_is(os.stat(self._file))
        except (FileNotFoundError, NotADirectoryError):
            return
        if seen == self._seen:
            return
        with open(self._file, encoding="utf-8", newline="\n") as notes:
            begun = notes.readline()
            if begun != self._begun:
                if self._begun:  # begun anew: what stood at the end of the old one is not known
                    self._last.clear()
                self._begun, self._read = begun, 0
            notes.seek(max(self._read, len(begun)))
            for line in notes.readlines():
                run_id = line.rstrip("\n").partition(" ")[2]
                if run_id == EVERY_RUN:
                    self._last.clear()
                self._last.pop(run_id, None)
            self._read = notes.tell()
        self._seen = seen


def _as_it_is(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns
