"""``wf recover`` without a run: a store again, when the database file itself cannot be read.

The file is moved to quarantine, never changed. The new one starts from a backup, if there is one, and takes in the
journals: what processes wrote that still live, or whose journals nobody had folded when the file broke. What can still be
read in the old file is added, run by run, for damage in one block leaves the rest readable, and damage in its log what
stands before it. Value files were beside it all
the time. A run of which events are missing in between is named by `wfkernel.store.fsck`, and `wf recover RUN` takes it
back to its last whole event.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.events import Event
from wfkernel.errors import StoreCorrupt, StoreError
from wfkernel.store.deeds import note_deed
from wfkernel.store.fsck import UNFINISHED, Problem, check, first_bad_events
from wfkernel.store.projection import insert_events, rebuild, relink
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.store import Store

__all__ = ["Salvaged", "newest_copy", "salvage"]

CHUNK: Final = 5_000
"""Events that are added in one statement."""
_KEPT_TABLES: Final = {"checkpoints": "checkpoint_id", "context": "id"}
"""What is not made from events -> its key."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What `salvage` brought together, in events, and what it knows to be missing."""

    kept_in: Path
    """The unreadable file."""
    backup: Path | None
    from_backup: int
    from_journals: int
    from_file: int
    runs: int
    unread: list[str] | None
    """Runs that are in the file and cannot be read there; None when nothing can be read there, not even which runs."""
    problems: list[Problem]
    """Runs with events missing in between."""
    unread_log: int = 0
    """Bytes of DuckDB's write-ahead log, where it is damaged, from there on."""

    @property
    def complete(self) -> bool:
        """Whether everything is known to be back."""
        return self.unread == [] and not self.problems and not self.unread_log


def newest_copy(path: Path) -> Path | None:
    """The newest of the copies that migrations left beside a store file."""
    copies = path.parent.glob(f"{path.stem}.v*{path.suffix}")
    return max(copies, key=lambda copy: copy.stat().st_mtime, default=None)


def salvage(store: Store, backup: Path | None = None) -> Salvaged:
    """Make an unreadable store readable again, from `backup` (default: the newest copy beside it), journals and itself.

    One that was stopped is gone on with: all that it does can be done again. Raises `StoreError` when the store can be read, or the backup cannot.
    """
    kept_in = next((mark.with_suffix("") for mark in store.quarantine.glob(f"*{UNFINISHED}")), None)
    if kept_in is None and not any(problem.kind == "database" for problem in check(store)):
        raise StoreError(
            f"the store {store.path} can be read. Name the run to recover: `wf fsck` says which are damaged."
        )
    backup = backup or newest_copy(store.path)
    from_backup = _count(backup) if backup is not None else 0
    kept_in = kept_in or store.quarantine / f"{store.path.stem}-{time.time_ns()}{store.path.suffix}"
    mark = kept_in.with_name(f"{kept_in.name}{UNFINISHED}")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    store.database.replace(kept_in, backup)
    if backup is not None:
        _copy_values(backup.parent / store.blobs.path.name, store.blobs.path)
    with store.database.open() as connection:  # which takes in the journals
        if backup is not None:  # all of it is there, unless another recovery began without it
            _add_what_is_readable(connection, backup)
        journaled = _scalar(connection, "SELECT count(*) FROM wf.events") - from_backup
        with _with_a_whole_log(kept_in) as (file, unread_log):
            saved, unread = _add_what_is_readable(connection, file)
        runs, bad = _scalar(connection, "SELECT count(*) FROM wf.runs"), first_bad_events(connection)
    note_deed(store, "recovered", f"runs: {runs}; the file that could not be read is {kept_in}")
    mark.unlink()
    return Salvaged(kept_in, backup, from_backup, journaled, saved, runs, unread, bad, unread_log)


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def _count(backup: Path) -> int:
    """How many events a backup holds. Raises `StoreError` if it is none."""
    from wfkernel.store.duck import duckdb

    try:
        with duckdb.connect(str(backup), read_only=True) as connection:
            return _scalar(connection, "SELECT count(*) FROM wf.events")
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise StoreError(f"{backup} is no backup of a store: {str(error).splitlines()[0]}") from None


def _copy_values(source: Path, target: Path) -> None:
    """The value files that are only in the backup."""
    for file in source.glob("??/*"):
        here = target / file.parent.name / file.name
        if not here.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, here)


@contextlib.contextmanager
def _with_a_whole_log(file: Path) -> Iterator[tuple[Path, int]]:
    """`file`, or, where DuckDB cannot read its log, a copy with the log as far as it is whole; and how much that leaves out.

    DuckDB takes a damaged log for a damaged file, and what was moved into the file before is all there.
    """
    from wfkernel.store.duck import duckdb

    log = file.with_name(f"{file.name}.wal")
    length = log.stat().st_size if log.exists() else 0
    folder = file.with_name(f"{file.name}.part")  # which one that was killed has left
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        tried, end = file, length
        while True:
            try:
                duckdb.connect(str(tried), read_only=True).close()
            except (duckdb.Error, UnicodeDecodeError) as error:
                if "WAL file" not in str(error) or not end:
                    yield file, 0
                    return
                place = re.search(r"at byte position (\d+)", str(error))
                end = int(place[1]) if place is not None and int(place[1]) < end else 0
            else:
                yield tried, length - end
                return
            tried = folder / file.name
            shutil.copyfile(file, tried)
            tried.with_name(log.name).write_bytes(log.read_bytes()[:end])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _add_what_is_readable(connection: duckdb.DuckDBPyConnection, file: Path) -> tuple[int, list[str] | None]:
    """Add what `file` holds and the store lacks. Returns the number of events, and the runs that could not be read."""
    known: dict[str, set[int]] = {}
    for run_id, seq in connection.execute("SELECT run_id, seq FROM wf.events").fetchall():
        known.setdefault(run_id, set()).add(seq)
    reader = _Reader(file)
    try:
        runs = [row["run_id"] for row in reader.rows("SELECT DISTINCT run_id FROM wf.runs")]
    except StoreCorrupt:
        try:
            runs = [row["run_id"] for row in reader.rows("SELECT DISTINCT run_id FROM wf.events")]
        except StoreCorrupt:
            return 0, None
    unread: list[str] = []
    touched: set[str] = set()
    added = 0
    for events in _chunks(reader, runs, known, unread):
        with transaction(connection):
            insert_events(connection, events)
        touched.update(event.run_id for event in events)
        added += len(events)
    with transaction(connection):  # what was there already may be later than what was added
        if touched:
            relink(connection, sorted(touched))
            rebuild(connection, sorted(touched))
        for table, key in _KEPT_TABLES.items():
            _add_rows(connection, reader, table, key)
    return added, unread


def _chunks(reader: _Reader, runs: list[str], known: dict[str, set[int]], unread: list[str]) -> Iterator[list[Event]]:
    waiting: list[Event] = []
    for run_id in runs:
        try:
            rows = reader.rows(
                "SELECT seq, ts, type, path, attempt, payload FROM wf.events WHERE run_id = ? ORDER BY seq", run_id
            )
        except StoreCorrupt:
            unread.append(run_id)
            continue
        here = known.get(run_id, set())
        waiting += [
            Event(run_id, row["seq"], row["ts"], row["type"], row["path"], row["attempt"], json.loads(row["payload"]))
            for row in rows
            if row["seq"] not in here
        ]
        if len(waiting) >= CHUNK:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _add_rows(connection: duckdb.DuckDBPyConnection, reader: _Reader, table: str, key: str) -> None:
    try:
        rows = reader.rows(f"SELECT * FROM wf.{table}")
    except StoreCorrupt:
        return  # checkpoints and texts of runs are made anew when they are asked for
    for row in rows:
        places = ", ".join("?" * len(row))
        execute(
            connection,
            f"INSERT INTO wf.{table} ({', '.join(row)}) SELECT {places} "
            f"WHERE NOT EXISTS (FROM wf.{table} WHERE {key} = ?)",
            [*row.values(), row[key]],
        )


class _Reader:
    """Reads a file that is damaged somewhere, opening it anew after each place that is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: duckdb.DuckDBPyConnection | None = None

    def rows(self, sql: str, *values: str) -> list[dict[str, Any]]:
        """The rows of a query. Raises `StoreCorrupt`."""
        from wfkernel.store.duck import duckdb

        try:
            if self._connection is None:
                self._connection = duckdb.connect(str(self._file), read_only=True)
            cursor = execute(self._connection, sql, values)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except (duckdb.Error, UnicodeDecodeError) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            raise StoreCorrupt(str(error)) from None
