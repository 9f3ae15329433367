"""SQL that people ask the store, over the views of `wfkernel.store.views`.

A query is asked in a session of its own, which ends with it: what it sets (``USE``, ``SET``, temporary tables) is nothing to
whoever uses the file next. It reads and cannot write. Its time zone is UTC, that of the views' columns: DuckDB takes the
machine's, and ``started_at > now() - INTERVAL 1 HOUR`` would then be wrong by as much as its clocks differ from UTC.

A query may name values, ``$limit``, and frames of pandas, Polars or Arrow as tables.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import StoreError
from wfkernel.store.explain import tells_of_damage
from wfkernel.store.frames import is_frame
from wfkernel.store.sql import UTC, problem_in

if TYPE_CHECKING:
    import duckdb

__all__ = ["asked"]

_MOVES_LOG: Final = re.compile(r"\s*(force\s+)?checkpoint\b", re.I)
_MISSING_TABLE: Final = re.compile(r"Table with name (\w+) does not exist")


@contextlib.contextmanager
def asked(
    connection: duckdb.DuckDBPyConnection, sql: str, names: Mapping[str, Any] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The result of `sql`, to fetch while the block lasts. Raises `StoreError`, also where it would write.

    Args:
        names: the values of ``$NAME`` in the query, and the frames it may read as tables; there may be others among them.
    """
    from wfkernel.store.duck import duckdb

    cursor = connection.cursor()
    try:
        cursor.execute(UTC)
        cursor.execute("SET python_enable_replacements = false")  # it would look for tables among our own variables
        statements = cursor.extract_statements(sql)
        _check(statements)
        values = _values(statements[-1], names)
        alone = len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT  # it cannot write
        if not alone:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
        yield _executed(cursor, sql, values, names or {})
    except duckdb.Error as error:
        if tells_of_damage(error):
            raise
        if "read-only mode" in str(error) or "Can only delete from base table" in str(error):
            raise StoreError("SQL reads the store, it cannot change it") from None
        raise StoreError(f"the query failed: {problem_in(sql, error)}") from None
    finally:
        cursor.close()


def _check(statements: list[duckdb.Statement]) -> None:
    from wfkernel.store.duck import duckdb

    if not statements:
        raise StoreError("there is no query: SELECT * FROM runs is one")
    if any(one.type == duckdb.StatementType.TRANSACTION for one in statements):
        raise StoreError("a query is a transaction of its own: leave BEGIN, COMMIT and ROLLBACK out")
    if any(_MOVES_LOG.match(one.query) for one in statements):
        raise StoreError("SQL reads the store, it cannot change it: it is the store that empties DuckDB's log")


def _values(statement: duckdb.Statement, names: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values a statement asks for; those of NumPy and pandas as Python's own, which are all that DuckDB takes."""
    wanted = sorted(statement.named_parameters)
    for name in wanted:
        if not name.isidentifier():
            raise StoreError(
                f"values in a query have names: write $limit in place of {'?' if name == '1' else f'${name}'}"
            )
        if name not in (names or {}):
            raise StoreError(f"the query asks for ${name}: bind {name} in the notebook, or `wf db sql -p {name}=VALUE`")
    given = {name: (names or {})[name] for name in wanted}
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in given.items()}


def _executed(
    cursor: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any], names: Mapping[str, Any]
) -> duckdb.DuckDBPyConnection:
    from wfkernel.store.duck import duckdb

    while True:
        try:
            return cursor.execute(sql, values) if values else cursor.execute(sql)
        except duckdb.CatalogException as error:
            missing = _MISSING_TABLE.search(str(error))
            frame = names.get(missing[1]) if missing is not None else None
            if missing is None or not (is_frame(frame) and hasattr(frame, "columns")):  # a series has none
                raise
            cursor.register(missing[1], frame)
