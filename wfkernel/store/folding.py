"""From the journals beside a DuckDB file into its tables: *folding*.

Any process folds the journals of all. How far each is in the tables stands in ``wf.journals`` and changes in the
transaction that moves the events, so every frame lands exactly once. A journal that nobody will write to any more, for it
is full or its process is gone, is removed once it is in the tables *and* DuckDB's log is in the file: a log can be
damaged too. What follows a damaged frame is kept in the folder ``quarantine``.

Who only wants to know one run can read its events here as well, without moving anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfkernel.store.journal import (
    SUFFIX,
    TornTail,
    events_of,
    frame_bytes,
    goes_on,
    join_frames,
    owner_of,
    read_frames,
)
from wfkernel.store.owner import is_alive
from wfkernel.store.projection import insert_rows
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

    from wfkernel.engine.events import Event

__all__ = ["FOLD_BYTES", "Journals"]

FOLD_BYTES: Final = 4 << 20
"""No more than this is moved in one transaction."""
READ_BYTES: Final = 1 << 19
"""How much of the journals is read for the sake of one run rather than moved."""


class Journals:
    """The journals of all processes in `folder`, and how far they are in the tables of the file that is open.

    The caller sees to it that one thread at a time is here. `owners` is the folder of the living processes' locks.
    """

    def __init__(self, folder: Path, owners: Path) -> None:
        self._folder, self._owners = folder, owners
        self._folded: dict[str, int] | None = None
        """The offsets in ``wf.journals`` as far as known since the file was opened: what is not longer than that is folded."""
        self._moved: set[Path] = set()
        """Journals that are in the tables completely, and stay until DuckDB's log is in its file."""

    def files(self) -> list[Path]:
        """All journals that are there."""
        try:
            names = sorted(name for name in os.listdir(self._folder) if name.endswith(SUFFIX))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self._folder / name for name in names]

    # -- moving --------------------------------------------------------------------------------------------------------

    def fold(self, connection: duckdb.DuckDBPyConnection, log_bytes: Callable[[], int]) -> None:
        """Move the new frames of all journals into the tables together, with the offsets reached.

        A transaction takes as long for one event as for hundreds, so journals do not get one each. `log_bytes` tells how much
        waits in DuckDB's log.
        """
        files = self.files()
        if not files:
            return
        folded = self._offsets(connection)
        rows: list[bytes] = []
        reached: dict[str, int] = {}
        size = 0
        complete: dict[Path, bool] = {}
        """Journals that nobody will write to any more, and whether they are damaged."""
        for file in files:
            # Asked before reading: what is complete now holds nothing more when it has been read to its end.
            if self._is_complete(file, files):
                complete[file] = False
            if not goes_on(file, folded.get(file.name, 0)):
                continue
            try:
                for offset, frame in read_frames(file, self._reached(connection, file)):
                    rows.append(frame)
                    reached[file.name] = offset
                    size += len(frame)
                    if size >= FOLD_BYTES:
                        self._commit(connection, rows, reached)
                        rows, reached, size = [], {}, 0
            except TornTail as tail:
                if file in complete:
                    complete[file] = tail.complete
        if rows:
            self._commit(connection, rows, reached)
        for file, damaged in complete.items():
            if damaged:
                self._quarantine(file)
            if damaged or not log_bytes():
                file.unlink()  # its offset goes with the next commit: without it the file would be folded a second time
            else:
                self._moved.add(file)

    def remove_moved(self) -> None:
        """DuckDB's log is in the file: what is in the tables need not be here as well."""
        while self._moved:
            self._moved.pop().unlink(missing_ok=True)

    def forget(self) -> None:
        """The file is closed: from now on others move the journals along."""
        self._folded = None
        self._moved.clear()

    def _commit(self, connection: duckdb.DuckDBPyConnection, rows: list[bytes], reached: dict[str, int]) -> None:
        with transaction(connection):
            insert_rows(connection, join_frames(rows))
            gone = [file for file in self._offsets(connection) if not (self._folder / file).exists()]
            if gone:
                execute(connection, "DELETE FROM wf.journals WHERE list_contains($1, file)", [gone])
            values = [value for row in reached.items() for value in row]
            places = ", ".join(["(?, ?)"] * len(reached))
            execute(connection, f"INSERT OR REPLACE INTO wf.journals VALUES {places}", values)
        for file in gone:
            del self._offsets(connection)[file]
        self._offsets(connection).update(reached)

    def _quarantine(self, file: Path) -> None:
        """Keep a damaged journal for people to look at; what came before the damage is in the tables."""
        import shutil
        import warnings

        kept = self._folder.parent / "quarantine"
        kept.mkdir(exist_ok=True)
        shutil.copy2(file, kept / file.name)
        warnings.warn(f"the journal {file.name} is damaged; what follows the damage was kept in {kept}", stacklevel=2)

    # -- reading -------------------------------------------------------------------------------------------------------

    def not_folded(self, connection: duckdb.DuckDBPyConnection, run_id: str) -> list[Event] | None:
        """The events of a run that are not in the tables yet, in order; None where there is much to read."""
        files = self.files()
        folded = self._offsets(connection) if files else {}
        behind = [file for file in files if goes_on(file, folded.get(file.name, 0))]
        if sum(frame_bytes(file) - folded.get(file.name, 0) for file in behind) > READ_BYTES:
            return None
        return _events_in({file: self._reached(connection, file) for file in behind}, run_id)

    def all(self, run_id: str) -> list[Event] | None:
        """The events of a run in all journals, in order; None where there is much to read."""
        files = self.files()
        if sum(map(frame_bytes, files)) > READ_BYTES:
            return None
        return _events_in(dict.fromkeys(files, 0), run_id)

    # -- how far -------------------------------------------------------------------------------------------------------

    def _offsets(self, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
        """How far each journal is in the tables, as far as known."""
        if self._folded is None:
            self._folded = dict(connection.execute("SELECT file, folded FROM wf.journals").fetchall())
        return self._folded

    def _reached(self, connection: duckdb.DuckDBPyConnection, file: Path) -> int:
        """The same of one, asked again: another `Store` of this process, which shares the open file, may have moved it."""
        row = execute(connection, "SELECT folded FROM wf.journals WHERE file = ?", [file.name]).fetchone()
        offset = self._offsets(connection)[file.name] = row[0] if row else 0
        return offset

    def _is_complete(self, file: Path, files: list[Path]) -> bool:
        """Whether nobody will write to `file` any more: only the newest file of a living process is still written."""
        owner = owner_of(file)
        number = int(file.name.removesuffix(SUFFIX).rpartition(".")[2])
        if any(owner_of(f) == owner and int(f.name.removesuffix(SUFFIX).rpartition(".")[2]) > number for f in files):
            return True
        return not is_alive(self._owners, owner)


def _events_in(files: dict[Path, int], run_id: str) -> list[Event]:
    """The events of a run that stand in journals behind an offset in each, in order."""
    events: list[Event] = []
    for file, offset in files.items():
        with contextlib.suppress(TornTail):
            for _, frame in read_frames(file, offset):
                events += events_of(run_id, frame)
    return sorted(events, key=lambda event: event.seq)
