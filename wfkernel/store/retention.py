"""``wf prune``: delete old runs, and value files nothing refers to any more.

Other processes may be writing meanwhile. A run that is executing, suspended or waiting is never deleted. A value file is
written before the event that names it is journaled, so one that seems unused may be about to be named: only files that
nobody has written or asked for within `GRACE_SECONDS` are deleted, and while a run is executed whose events are held back
(the durability ``exit``), none that is younger than these. As long as `wf recover` keeps a database that could not be read in
quarantine, the values that were there then stay.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import DefinitionError
from wfkernel.store.blobs import ASIDE
from wfkernel.store.context import forget_runs
from wfkernel.store.deeds import note_deed
from wfkernel.store.owner import values_kept_since
from wfkernel.store.read import transaction
from wfkernel.store.references import referenced
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.store import Store

__all__ = ["GRACE_SECONDS", "Pruned", "prune"]

GRACE_SECONDS: Final = 3600.0
"""A value file younger than this is kept, whoever refers to it."""

_ENDED: Final = "('success', 'failed', 'tripwire', 'canceled')"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` deleted, or would delete."""

    runs: list[dict[str, Any]]
    """run_id, workflow, status and `updated` (seconds since the epoch) of each."""
    values: int
    """How many value files."""
    bytes: int
    """Their size together."""


def prune(
    store: Store, *, older_than: float | None = None, keep_last: int | None = None, dry_run: bool = False
) -> Pruned:
    """Delete ended (and interrupted) runs whose last event is more than `older_than` seconds ago.

    `keep_last`: the newest runs of each workflow that stay however old they are; alone, all others are deleted. With
    neither, only unused value files are deleted. `dry_run` deletes nothing and tells what would be.
    """
    if (older_than is not None and older_than < 0) or (keep_last is not None and keep_last < 0):
        raise DefinitionError("prune: an age and a number of runs to keep cannot be below 0")
    with store.claims.values_stay(), store.claims.exclusive(), store.database.open(change=not dry_run) as connection:
        runs = [] if older_than is None and keep_last is None else _choose(connection, store, older_than, keep_last)
        if not dry_run:
            _delete(connection, [run["run_id"] for run in runs])
            store.claims.note(store.owner)
        values, size = _collect(connection, store, [run["run_id"] for run in runs], dry_run)
        if not dry_run:
            store.database.checkpoint()
    if not dry_run and (runs or values):
        note_deed(store, "pruned", f"runs: {len(runs)}, value files: {values}")
    return Pruned(runs, values, size)


def _choose(
    connection: duckdb.DuckDBPyConnection, store: Store, older_than: float | None, keep_last: int | None
) -> list[dict[str, Any]]:
    cursor = execute(
        connection,
        f"""SELECT run_id, workflow, status, updated, owner FROM (
            SELECT *, row_number() OVER (PARTITION BY workflow, notebook ORDER BY started DESC) AS place FROM wf.runs)
        WHERE (status IN {_ENDED} OR status = 'running') AND updated <= $1 AND place > $2 ORDER BY updated""",
        [time.time() - (older_than or 0.0), keep_last or 0],
    )
    names = [column[0] for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [row for row in rows if not (store.is_alive(row.pop("owner") or "") and row["status"] == "running")]


def _delete(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> None:
    tables = connection.execute(
        "SELECT DISTINCT table_name FROM duckdb_columns() JOIN duckdb_tables() USING (schema_name, table_name) "
        "WHERE schema_name = 'wf' AND column_name = 'run_id'"
    ).fetchall()
    with transaction(connection):
        for (table,) in tables:
            execute(connection, f'DELETE FROM wf."{table}" WHERE list_contains($1, run_id)', [run_ids])
        if run_ids:
            forget_runs(connection, run_ids)


def _collect(connection: duckdb.DuckDBPyConnection, store: Store, without: list[str], dry_run: bool) -> tuple[int, int]:
    for aside in store.blobs.path.glob(f"??/*{ASIDE}"):  # its fate was not decided: the process that pruned was killed
        os.replace(aside, aside.with_suffix(""))
    used = referenced(connection, store.journals, store.quarantine, store.blobs, without)
    count = size = 0
    before = min(time.time(), values_kept_since(store.owners)) - GRACE_SECONDS
    # What a database in quarantine names cannot be read there: what is older may be its.
    set_aside = max((file.stat().st_ctime for file in store.quarantine.glob(f"*{store.path.suffix}")), default=0.0)
    for file in sorted(store.blobs.path.glob("??/*")):
        if file.name not in used and _is_old(file, before) and file.stat().st_mtime > set_aside:
            length = file.stat().st_size
            if dry_run or _remove(file, before):
                count, size = count + 1, size + length
    for unfinished in store.blobs.path.glob("*.tmp"):  # of a process that died while writing it
        with contextlib.suppress(FileNotFoundError):  # finished just now
            if _is_old(unfinished, before) and not dry_run:
                unfinished.unlink()
    return count, size


def _is_old(file: Path, before: float) -> bool:
    return file.stat().st_mtime <= before


def _remove(file: Path, before: float) -> bool:
    """Delete a value file unless somebody asked for it at this very moment, which makes it young."""
    aside = file.with_name(f"{file.name}{ASIDE}")
    os.replace(file, aside)
    if _is_old(aside, before):
        aside.unlink()
        return True
    os.replace(aside, file)
    return False
