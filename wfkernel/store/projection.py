"""From the journal to the tables, inside DuckDB.

A batch of events arrives as the JSON text the journal holds and becomes the temporary table ``batch`` in one statement;
everything else is SQL over it, and Python's interpreter lock is free meanwhile, so a step that is executing is not held
up. (The same projections made in Python took 0.5 ms an event; this takes 0.02.)

Each event is stored with a *link*: 32 bits of a hash over its own content and that of the event before it in its run.
An event that was changed, exchanged or taken away breaks its own link or the next one, so `wfkernel.store.fsck` can name
the first bad event. A link detects damage; against forgery only signatures help, and values that could run code have them.

``wf.runs``, ``wf.steps`` and ``wf."values"`` are kept up to date with every batch, so that listing runs costs the same
however many events there are. They follow what `wfkernel.engine.state` makes of the same events. To plan a statement takes
DuckDB longer than to execute it on a few events, so what no event of a batch can concern is left out of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event, encode_events
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

__all__ = ["DIGEST", "LINK", "NO_DIGEST", "insert_events", "insert_rows", "rebuild", "relink"]

DIGEST: Final = (
    "md5_number_lower(concat_ws(chr(31), run_id, seq, (ts * 1000000)::BIGINT, type, path, attempt, payload::VARCHAR))"
)
"""SQL: 64 bits that stand for the content of an event."""
NO_DIGEST: Final = 0
"""Stands in for the event before a run's first."""
LINK: Final = "(md5_number_lower(concat_ws(':', previous, digest)) % 4294967296)::UINTEGER"
"""SQL: the link of an event with `digest` that follows one with the digest `previous`."""

_LOAD: Final = f"""
CREATE OR REPLACE TEMP TABLE batch AS SELECT *, {DIGEST} AS digest FROM (
    SELECT r[1] AS run_id, r[2]::BIGINT AS seq, r[3]::DOUBLE AS ts, r[4] AS type, r[5] AS path,
           r[6]::INTEGER AS attempt, r[7]::JSON AS payload
    FROM (SELECT unnest(from_json($1, '[["VARCHAR"]]')) AS r))
"""

_EVENTS: Final = f"""
INSERT INTO wf.events SELECT run_id, seq, ts, type, path, attempt, payload, {LINK} FROM (
    SELECT b.*, coalesce(lag(b.digest) OVER (PARTITION BY b.run_id ORDER BY b.seq), r.head, {NO_DIGEST}) AS previous
    FROM batch b LEFT JOIN wf.runs r USING (run_id)) ORDER BY run_id, seq
"""

# A column that a new life of a run or a new attempt empties is packed into a struct: NULL means that nothing was said
# about it in this batch, a struct with a NULL inside that it was emptied.
_LIVES: Final = f"('{ev.RUN_START}', '{ev.RUN_RESTART}', '{ev.RUN_RESUME}', '{ev.RUN_TRAVEL}', '{ev.RUN_FINISH}')"
_NEWEST: Final = """(SELECT run_id, max(seq) AS last_seq, arg_max(ts, seq) AS updated, arg_max(digest, seq) AS head
      FROM batch GROUP BY run_id)"""
_RUNS: Final = f"""
MERGE INTO wf.runs o USING (SELECT n.*, t.* EXCLUDE run_id FROM {_NEWEST} n LEFT JOIN (
    SELECT run_id, arg_max(payload->>'workflow', seq) AS workflow, arg_max(payload->>'notebook', seq) AS notebook,
           arg_max(payload->>'output', seq) AS output, arg_max(payload->>'mode', seq) AS mode,
           arg_max(payload->>'status', seq) AS status, arg_max(payload->>'owner', seq) AS owner,
           arg_max(nullif(payload->'params', 'null'), seq) AS params,
           arg_max(ts, seq) FILTER (type = '{ev.RUN_START}'
               OR type = '{ev.RUN_ATTACH}' AND (payload->>'restored_from') IS NOT NULL) AS started,
           arg_max(CASE WHEN type = '{ev.RUN_FINISH}' THEN {{'at': ts, 'error': nullif(payload->'error', 'null')}}
                   ELSE {{'at': NULL, 'error': NULL}} END, seq) FILTER (type IN {_LIVES}) AS life
    FROM batch WHERE starts_with(type, 'run.') GROUP BY run_id) t USING (run_id)) n
ON o.run_id = n.run_id
WHEN MATCHED THEN UPDATE SET
    workflow = coalesce(n.workflow, o.workflow), notebook = coalesce(n.notebook, o.notebook),
    output = coalesce(n.output, o.output), mode = coalesce(n.mode, o.mode), status = coalesce(n.status, o.status),
    owner = coalesce(n.owner, o.owner), params = coalesce(n.params, o.params),
    error = CASE WHEN n.life IS NULL THEN o.error ELSE n.life.error END, started = coalesce(n.started, o.started),
    updated = n.updated, ended = CASE WHEN n.life IS NULL THEN o.ended ELSE n.life.at END,
    last_seq = n.last_seq, head = n.head
WHEN NOT MATCHED THEN INSERT (
    run_id, workflow, notebook, output, mode, status, owner, params, error, started, updated, ended, last_seq, head)
VALUES (
    n.run_id, n.workflow, n.notebook, n.output, n.mode, n.status, n.owner, n.params, n.life.error, n.started, n.updated,
    n.life.at, n.last_seq, n.head)
"""
# Of a batch in which no run begins, ends or changes its status.
_RUNS_GO_ON: Final = f"""
MERGE INTO wf.runs o USING {_NEWEST} n ON o.run_id = n.run_id
WHEN MATCHED THEN UPDATE SET updated = n.updated, last_seq = n.last_seq, head = n.head
WHEN NOT MATCHED THEN INSERT (run_id, updated, last_seq, head) VALUES (n.run_id, n.updated, n.last_seq, n.head)
"""

# Time travel forgets steps and what is inside them; a run that is started anew forgets all.
_FORGOTTEN: Final = f"""
CREATE OR REPLACE TEMP TABLE forgotten AS
SELECT run_id, seq, unnest(payload->>'$.dropped[*]') AS path FROM batch WHERE type = '{ev.RUN_TRAVEL}'
UNION ALL SELECT run_id, seq, NULL FROM batch WHERE type = '{ev.RUN_START}' AND seq > 1
"""
_INSIDE: Final = (
    "(f.path IS NULL OR e.path = f.path OR starts_with(e.path, f.path || '.') OR starts_with(e.path, f.path || '['))"
)

_MOVES: Final = (
    ev.STEP_START,
    ev.STEP_RESULT,
    ev.STEP_SUSPENDED,
    ev.STEP_RESUMED,
    ev.STEP_RESTORED,
    ev.STEP_WAITING,
)
"""What changes a step's row."""
_PLACES: Final = f"""
    SELECT run_id, path, arg_max(position, seq) AS position FROM (
        SELECT run_id, seq, unnest(paths) AS path, unnest(range(len(paths))) AS position FROM (
            SELECT run_id, seq, payload->>'$.steps[*].path' AS paths FROM batch WHERE type = '{ev.STEP_PLANNED}'))
    GROUP BY run_id, path"""
_NOT_FORGOTTEN: Final = f" AND NOT EXISTS (FROM forgotten f WHERE f.run_id = e.run_id AND f.seq > e.seq AND {_INSIDE})"


def _steps(planned: bool, forgotten: bool) -> str:
    """SQL that brings ``wf.steps`` up to date with a batch; whether it has plans, and whether there is a ``forgotten``."""
    return f"""
CREATE OR REPLACE TEMP TABLE new_steps AS
SELECT run_id, path, coalesce(t.status, o.status, 'pending') AS status, coalesce(t.attempt, o.attempt) AS attempt,
       coalesce(o.executions, 0) + coalesce(t.executions, 0) AS executions, coalesce(t.restored, o.restored) AS restored,
       coalesce(t.started, o.started) AS started,
       CASE WHEN t.ended IS NULL THEN o.ended ELSE t.ended.at END AS ended,
       CASE WHEN t.ended IS NULL THEN o.duration ELSE t.ended.duration END AS duration,
       CASE WHEN t.ended IS NULL THEN o.error ELSE t.ended.error END AS error,
       CASE WHEN t.asked IS NULL THEN o.message ELSE t.asked.message END AS message,
       {"coalesce(p.position, o.position)" if planned else "o.position"} AS position, o.run_id IS NOT NULL AS known
FROM (
    SELECT run_id, path, count(*) FILTER (type = '{ev.STEP_START}') AS executions,
           arg_max(CASE type WHEN '{ev.STEP_RESULT}' THEN payload->>'status' WHEN '{ev.STEP_START}' THEN 'running'
                   WHEN '{ev.STEP_SUSPENDED}' THEN 'suspended' WHEN '{ev.STEP_RESUMED}' THEN 'pending'
                   WHEN '{ev.STEP_RESTORED}' THEN 'success' WHEN '{ev.STEP_WAITING}' THEN 'waiting' END, seq) AS status,
           arg_max(attempt, seq) FILTER (type = '{ev.STEP_START}') AS attempt,
           arg_max(ts, seq) FILTER (type = '{ev.STEP_START}') AS started,
           arg_max(type = '{ev.STEP_RESTORED}', seq)
               FILTER (type IN ('{ev.STEP_START}', '{ev.STEP_RESTORED}')) AS restored,
           arg_max(CASE WHEN type = '{ev.STEP_RESULT}'
                        THEN {{'at': ts, 'duration': (payload->>'duration')::DOUBLE,
                               'error': nullif(payload->'error', 'null')}}
                   ELSE {{'at': NULL, 'duration': NULL, 'error': NULL}} END, seq)
               FILTER (type IN ('{ev.STEP_START}', '{ev.STEP_RESULT}')) AS ended,
           arg_max(CASE WHEN type = '{ev.STEP_SUSPENDED}' THEN {{'message': payload->>'message'}}
                   ELSE {{'message': NULL}} END, seq)
               FILTER (type IN ('{ev.STEP_START}', '{ev.STEP_SUSPENDED}', '{ev.STEP_RESUMED}')) AS asked
    FROM batch e WHERE path <> '' AND type IN {_MOVES}{_NOT_FORGOTTEN if forgotten else ""}
    GROUP BY run_id, path) t
{f"FULL JOIN ({_PLACES}) p USING (run_id, path)" if planned else ""}
LEFT JOIN wf.steps o USING (run_id, path);
-- Without a primary key, whose index would take more room than the rows and most of the time of a batch.
DELETE FROM wf.steps s USING new_steps n WHERE n.known AND s.run_id = n.run_id AND s.path = n.path;
INSERT INTO wf.steps BY NAME SELECT * EXCLUDE known FROM new_steps ORDER BY run_id
"""


_VALUES: Final = f"""
CREATE OR REPLACE TEMP TABLE results AS
SELECT run_id, path, arg_max(payload->'outputs', seq) AS outputs FROM batch
WHERE type = '{ev.STEP_RESULT}' AND json_exists(payload, '$.outputs') GROUP BY run_id, path;
DELETE FROM wf."values" v USING results r WHERE v.run_id = r.run_id AND v.path = r.path;
INSERT INTO wf."values" SELECT run_id, path, o.name, o.codec, o.type, o.digest, o.size, o.why FROM (
    SELECT run_id, path, unnest(from_json(outputs, '[{{"name":"VARCHAR","codec":"VARCHAR","type":"VARCHAR",
    "digest":"VARCHAR","size":"BIGINT","why":"VARCHAR"}}]')) AS o FROM results)
"""


def insert_rows(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Add events, given as the text of a JSON array of arrays, and bring the projections up to date.

    The caller holds the transaction.
    """
    execute(connection, _LOAD, [rows])
    connection.execute(_EVENTS)
    _project(connection, lambda word: f'"{word}' in rows, forgets=_forgets(rows))


def insert_events(connection: duckdb.DuckDBPyConnection, events: list[Event]) -> None:
    """Add `events` and bring the projections up to date. The caller holds the transaction."""
    insert_rows(connection, encode_events(events).decode("utf-8"))


def rebuild(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> None:
    """Make the projections of these runs anew from their events. The caller holds the transaction."""
    for table in ("runs", "steps", '"values"'):
        execute(connection, f"DELETE FROM wf.{table} WHERE list_contains($1, run_id)", [run_ids])
    execute(
        connection,
        f"CREATE OR REPLACE TEMP TABLE batch AS SELECT * EXCLUDE link, {DIGEST} AS digest FROM wf.events "
        "WHERE list_contains($1, run_id)",
        [run_ids],
    )
    _project(connection, lambda word: True, forgets=True)


def relink(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> None:
    """Link the events of these runs anew after they were changed on purpose. The caller holds the transaction."""
    execute(
        connection,
        f"""CREATE OR REPLACE TEMP TABLE relinked AS SELECT run_id, seq, {LINK} AS link, digest FROM (
            SELECT *, coalesce(lag(digest) OVER (PARTITION BY run_id ORDER BY seq), {NO_DIGEST}) AS previous
            FROM (SELECT *, {DIGEST} AS digest FROM wf.events WHERE list_contains($1, run_id)))""",
        [run_ids],
    )
    connection.execute(
        "UPDATE wf.events SET link = n.link FROM relinked n WHERE events.run_id = n.run_id AND events.seq = n.seq"
    )
    connection.execute(
        "UPDATE wf.runs SET head = n.digest FROM relinked n WHERE runs.run_id = n.run_id AND runs.last_seq = n.seq"
    )


def _forgets(rows: str) -> bool:
    """Whether a run travels in these events or begins anew. (May be true where some text only looks like that.)"""
    if f'"{ev.RUN_TRAVEL}"' in rows:
        return True
    *begins, _ = rows.split(f',"{ev.RUN_START}"')  # before it stand the number of the event and its time
    return any(begin.rsplit(",", 2)[-2:-1] != ["1"] for begin in begins)


def _project(connection: duckdb.DuckDBPyConnection, has: Callable[[str], bool], *, forgets: bool) -> None:
    """Bring the projections up to date with ``batch``, which may have a JSON string that begins so only if `has` it.

    `forgets`: whether it may have an event that makes steps be forgotten.
    """
    if forgets:
        connection.execute(_FORGOTTEN)
        connection.execute(f"DELETE FROM wf.steps e USING forgotten f WHERE e.run_id = f.run_id AND {_INSIDE}")
    if has(ev.STEP_PLANNED) or any(map(has, _MOVES)):
        connection.execute(_steps(has(ev.STEP_PLANNED), forgets))
    if has("outputs"):
        connection.execute(_VALUES)
    connection.execute(_RUNS if has("run.") else _RUNS_GO_ON)
