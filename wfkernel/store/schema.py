"""The version of the store's tables: made in an empty database, checked and brought up to date in any other.

Tables live in the schema ``wf`` and belong to wfkernel (`wfkernel.store.migrations` makes them); the views in the main
schema are for people (`wfkernel.store.views`). Events are the truth; ``wf.runs``, ``wf.steps`` and ``wf."values"`` are
projections of them (`wfkernel.store.projection`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wfkernel.errors import StoreTooNew
from wfkernel.store.migrations import MIGRATIONS, Migrated, migrate

if TYPE_CHECKING:
    import duckdb

__all__ = ["newest_version", "prepare"]


def newest_version() -> int:
    """The version of the tables this wfkernel writes."""
    return max(MIGRATIONS)


def prepare(connection: duckdb.DuckDBPyConnection, path: Path, file: Path) -> Migrated | None:
    """Make the tables in an empty database, and bring those of an older wfkernel up to date; None if they were.

    `file` is the file of the connection: the store at `path`, or a copy of it. Raises `StoreTooNew` when a newer wfkernel
    wrote the store.
    """
    from wfkernel.store.duck import duckdb

    try:
        row = connection.execute("SELECT version, written_by FROM wf.schema_version ORDER BY version DESC").fetchone()
    except duckdb.CatalogException:  # there is no such table: asked only then, for that is a query of its own
        return migrate(connection, file, 0)
    version, written_by = row or (0, "?")
    if version > newest_version():
        raise StoreTooNew(
            f"the store {path} has schema version {version}, written by wfkernel {written_by}; this wfkernel reads up to "
            f"version {newest_version()}. Upgrade wfkernel (pip install -U wfkernel) or set WFKERNEL_STORE to another file."
        )
    return migrate(connection, file, version) if version < newest_version() else None
