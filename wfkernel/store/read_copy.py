"""A store that may be read and not written: a colleague's, an archive, a file system mounted read-only.

To read a store takes writing: journals are taken in, DuckDB reads its log, an older schema is brought up to date, texts are
indexed. So such a store is read in a copy of its database and journals in a folder of this process, made anew when they
have changed. Value files are read where they are. Nothing that is meant to last is written to the copy: who wants that
says so to `Database.open` and is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wfkernel.store.locks import Held

__all__ = ["ReadCopy", "may_only_be_read"]


def may_only_be_read(path: Path) -> bool:
    """Whether there is a store at `path` that this process can read and not write."""
    return os.access(path, os.R_OK) and path.is_file() and not all(os.access(p, os.W_OK) for p in (path, path.parent))


class ReadCopy:
    """The copy of the store at `path`; it goes away with this object."""

    def __init__(self, path: Path, journals: Path) -> None:
        self._path, self._journals = path, journals
        self._temporary = tempfile.TemporaryDirectory(prefix="wfkernel-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.file = self.folder / path.name
        self.journals = self.folder / "journal"
        self._seen: list[tuple[str, int, int]] = []

    def refresh(self) -> None:
        """Copy what is there now, if it changed since. Raises `Held` while a process has the file open."""
        if self.file.exists() and self._now() == self._seen:
            return
        with self._turn():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.journals.mkdir(parents=True)
            seen = self._now()
            for file in self._files():
                shutil.copyfile(file, (self.journals if file.parent == self._journals else self.folder) / file.name)
            self._seen = seen

    def _files(self) -> list[Path]:
        journals = sorted(self._journals.iterdir()) if self._journals.is_dir() else []
        beside = [self._path.with_name(self._path.name + end) for end in ("", ".wal", ".undo")]
        return [*journals, *(file for file in beside if file.exists())]

    def _now(self) -> list[tuple[str, int, int]]:
        return [(file.name, (found := file.stat()).st_size, found.st_mtime_ns) for file in self._files()]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Within the block nobody writes the file, as far as one can see to that without writing oneself."""
        try:
            import fcntl

            lock = os.open(f"{self._path}.lock", os.O_RDONLY)
        except (ImportError, OSError):  # nobody ever opened it where it is
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Held(str(self._path)) from None
        finally:
            os.close(lock)
