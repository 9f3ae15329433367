"""SQL with its values written into it, because binding them is slow the first time.

DuckDB's Python client imports pandas, and with it pyarrow, when the first parameter of a process is bound, to see whether
the value is one of pandas' own. That takes 0.4 s with the interpreter locked, for ``wf ls`` as for the first step of a
kernel. A literal needs nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

__all__ = ["Scalar", "execute", "literal"]

Scalar = str | int | float | bool | None

_PLACE: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|\$(\d+)|\?""")


def execute(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Scalar | list[str]] = ()
) -> duckdb.DuckDBPyConnection:
    """Run `sql` with the values of ``?`` or ``$1``, ``$2``, ... in place."""
    if any(isinstance(value, str) and "\0" in value for value in parameters):
        return connection.execute(sql, parameters)  # no literal can hold that
    following = iter(parameters)

    def value_of(place: re.Match[str]) -> str:
        if place[1] is not None:
            return literal(parameters[int(place[1]) - 1])
        return literal(next(following)) if place[0] == "?" else place[0]

    return connection.execute(_PLACE.sub(value_of, sql) if parameters else sql)


def literal(value: Scalar | list[str]) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"'{value!r}'::DOUBLE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "[" + ", ".join(map(literal, value)) + "]::VARCHAR[]"
