"""Events out of the tables, and the transaction in which something is changed there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from operator import itemgetter
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
        "SELECT seq, ts, type, path, attempt, payload FROM wf.events "
        f"WHERE run_id = $1 AND seq > $2{' AND seq <= $3' if upto is not None else ''}",
        [run_id, after, upto],
    ).fetchall()
    rows.sort(key=itemgetter(0))  # nearly in order as they are: DuckDB would take as long to sort them as to find them
    payloads = json.loads(f"[{','.join(row[5] for row in rows)}]")
    return [
        Event(run_id, seq, ts, type_, path, n, payload)
        for (seq, ts, type_, path, n, _), payload in zip(rows, payloads, strict=True)
    ]


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
