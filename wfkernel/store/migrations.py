"""The versions of the store's tables, each as the SQL that makes it from the one before.

A store goes through those it lacks: forward only, all in one transaction, after a copy of the file was made beside it. A
new one begins with a version whose tables are written down as a whole (`AT_ONCE`). Views are made anew after every
migration, so no version mentions them.
A released version is never changed; tests/store/data holds a store written by each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfkernel.store.projection import DIGEST, LINK, NO_DIGEST
from wfkernel.store.sql import execute
from wfkernel.store.views import VIEWS

if TYPE_CHECKING:
    import duckdb

__all__ = ["AT_ONCE", "MIGRATIONS", "Migrated", "migrate"]

_COMMON: Final = """
CREATE SCHEMA wf;
-- Naive UTC timestamps: DuckDB's zoned ones need pytz on the Python side.
CREATE MACRO wf.utc(seconds) AS make_timestamp((seconds * 1000000)::BIGINT);
CREATE TABLE wf.schema_version (version INTEGER, written_by VARCHAR, at_time TIMESTAMP DEFAULT now()::TIMESTAMP);
CREATE TABLE wf.journals (file VARCHAR PRIMARY KEY, folded BIGINT NOT NULL);
CREATE TABLE wf."values" (
    run_id VARCHAR, path VARCHAR, name VARCHAR, codec VARCHAR, type VARCHAR, digest VARCHAR, size BIGINT,
    why_not_saved VARCHAR
);
"""
_RUNS: Final = """
    run_id VARCHAR PRIMARY KEY, workflow VARCHAR, notebook VARCHAR, output VARCHAR, mode VARCHAR, status VARCHAR,
    owner VARCHAR, params JSON, error JSON, started DOUBLE, updated DOUBLE, ended DOUBLE, last_seq BIGINT"""

_VERSION_1: Final = f"""{_COMMON}
CREATE TABLE wf.events (
    run_id VARCHAR NOT NULL, seq BIGINT NOT NULL, ts DOUBLE NOT NULL, type VARCHAR NOT NULL,
    path VARCHAR NOT NULL, attempt INTEGER NOT NULL, payload JSON NOT NULL
);
CREATE TABLE wf.runs ({_RUNS});
CREATE TABLE wf.steps (
    run_id VARCHAR, path VARCHAR, status VARCHAR, attempt INTEGER, executions BIGINT, restored BOOLEAN,
    started DOUBLE, ended DOUBLE, duration DOUBLE, error JSON, message VARCHAR, position INTEGER,
    PRIMARY KEY (run_id, path)
);
"""

_EVENTS_2: Final = """
    run_id VARCHAR NOT NULL, seq BIGINT NOT NULL, ts DOUBLE NOT NULL, type VARCHAR NOT NULL,
    path VARCHAR NOT NULL, attempt INTEGER NOT NULL, payload JSON NOT NULL, link UINTEGER NOT NULL"""
_STEPS_2: Final = """
    run_id VARCHAR NOT NULL, path VARCHAR NOT NULL, status VARCHAR, attempt INTEGER, executions BIGINT, restored BOOLEAN,
    started DOUBLE, ended DOUBLE, duration DOUBLE, error JSON, message VARCHAR, position INTEGER"""
_ADDED_IN_2: Final = """
CREATE TABLE wf.checkpoints (
    checkpoint_id VARCHAR PRIMARY KEY, run_id VARCHAR NOT NULL, seq BIGINT NOT NULL, label VARCHAR NOT NULL,
    made_by VARCHAR NOT NULL, created DOUBLE NOT NULL, state VARCHAR NOT NULL, checksum VARCHAR NOT NULL
);
CREATE TABLE wf.settings (name VARCHAR PRIMARY KEY, value JSON NOT NULL);
-- The tables of `wfkernel.store.context`; their vectors' table is made when the embedder's dimension is known.
CREATE TABLE wf.context (
    id VARCHAR PRIMARY KEY, run_id VARCHAR, path VARCHAR NOT NULL, session VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    text VARCHAR NOT NULL, meta JSON NOT NULL, noted DOUBLE NOT NULL, digest VARCHAR NOT NULL
);
CREATE TABLE wf.context_gathered (run_id VARCHAR PRIMARY KEY, seq BIGINT NOT NULL);
CREATE TABLE wf.context_indexed (digest VARCHAR NOT NULL, words INTEGER NOT NULL);
CREATE TABLE wf.context_terms (digest VARCHAR NOT NULL, term UBIGINT NOT NULL, uses INTEGER NOT NULL);
"""

_VERSION_2: Final = f"""
CREATE TABLE wf.events_2 ({_EVENTS_2});
CREATE TEMP TABLE digests AS SELECT run_id, seq, {DIGEST} AS digest FROM wf.events;
INSERT INTO wf.events_2 SELECT * EXCLUDE (digest, previous), {LINK} FROM (
    SELECT e.*, digest, coalesce(lag(digest) OVER (PARTITION BY run_id ORDER BY seq), {NO_DIGEST}) AS previous
    FROM wf.events e JOIN digests USING (run_id, seq)) ORDER BY run_id, seq;
DROP TABLE wf.events;
ALTER TABLE wf.events_2 RENAME TO events;
ALTER TABLE wf.runs ADD COLUMN head UBIGINT;
UPDATE wf.runs SET head = digest FROM digests WHERE digests.run_id = runs.run_id AND digests.seq = runs.last_seq;
DROP TABLE digests;
CREATE TABLE wf.steps_2 ({_STEPS_2});
INSERT INTO wf.steps_2 FROM wf.steps;
DROP TABLE wf.steps;
ALTER TABLE wf.steps_2 RENAME TO steps;
{_ADDED_IN_2}"""

MIGRATIONS: Final[dict[int, str]] = {1: _VERSION_1, 2: _VERSION_2}
"""version -> what makes it from the version before."""
AT_ONCE: Final = {
    2: f"""{_COMMON}
CREATE TABLE wf.events ({_EVENTS_2});
CREATE TABLE wf.runs ({_RUNS}, head UBIGINT);
CREATE TABLE wf.steps ({_STEPS_2});
{_ADDED_IN_2}"""
}
"""version -> what makes it from nothing, as all versions up to it do, in half the time."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """Which version a store's tables had (0: there were none) and have now, and the copy that was made before."""

    before: int
    now: int
    copy: Path | None


def migrate(connection: duckdb.DuckDBPyConnection, path: Path, version: int) -> Migrated:
    """Bring the tables from `version` (0: none) to the newest. If it fails the store stays as it was."""
    from wfkernel import __version__

    copy = path.with_name(f"{path.stem}.v{version}{path.suffix}") if version else None
    if copy is not None:
        _back_up(connection, copy)
    connection.execute("BEGIN")
    try:
        begin = {} if version else {max(AT_ONCE): AT_ONCE[max(AT_ONCE)]}
        lacking = {number: MIGRATIONS[number] for number in sorted(MIGRATIONS) if number > max(begin, default=version)}
        for number, sql in (begin | lacking).items():
            execute(connection, sql)
            execute(
                connection, "INSERT INTO wf.schema_version (version, written_by) VALUES (?, ?)", [number, __version__]
            )
        connection.execute(VIEWS)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return Migrated(version, max(begin | lacking), copy)


def _back_up(connection: duckdb.DuckDBPyConnection, copy: Path) -> None:
    """Copy the database by SQL: opening its file a second time in this process would drop the lock on it."""
    unfinished = copy.with_name(f"{copy.name}.tmp")
    for file in (unfinished, unfinished.with_name(f"{unfinished.name}.wal")):
        file.unlink(missing_ok=True)
    name = str(connection.execute("SELECT current_database()").fetchall()[0][0]).replace('"', '""')
    quoted = str(unfinished).replace("'", "''")
    connection.execute(f"""ATTACH '{quoted}' AS "copy of {name}" """)
    try:
        connection.execute(f'COPY FROM DATABASE "{name}" TO "copy of {name}"')
        connection.execute(f'CHECKPOINT "copy of {name}"')
    finally:
        connection.execute(f'DETACH "copy of {name}"')
    unfinished.replace(copy)
