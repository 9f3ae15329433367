"""Events out of the tables, and the transaction in which something is changed there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wfkernel.engine.events import Event
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

__all__ = ["read_events", "transaction"]


def read_events(
    connection: duckdb.DuckDBPyConnection, run_id: str, after: int = 0, upto: int | None = None
) -> list[Event]:
    """The events of a run with a sequence number above `after` and not above `upto`, in order."""
    rows = execute(
        connection,
        "SELECT run_id, seq, ts, type, path, attempt, payload FROM wf.events "
        "WHERE run_id = $1 AND seq > $2 AND ($3 IS NULL OR seq <= $3) ORDER BY seq",
        [run_id, after, upto],
    ).fetchall()
    return [Event(run, seq, ts, type_, path, n, json.loads(payload)) for run, seq, ts, type_, path, n, payload in rows]


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of what is done inside, or nothing of it."""
    from wfkernel.store.duck import duckdb

    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.TransactionException):  # a commit that failed has ended it already
            connection.execute("ROLLBACK")
        raise
