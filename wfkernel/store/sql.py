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

__all__ = ["UTC", "Scalar", "arrows_first", "execute", "literal", "problem_in", "told"]

Scalar = str | int | float | bool | None

UTC: Final = "SET TimeZone = 'UTC'"
"""Whatever the machine's clock shows: times in the store are UTC without saying so, and SQL compares them with now()."""

_PLACE: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|\$(\d+)|\?""")

_HINTS: Final = ("Did you mean", "Candidate bindings", "Either add it")
_LINE: Final = re.compile(r"^LINE (\d+): (.*)$", re.M)
_ARROWS: Final = re.compile(
    r"""'(?:[^']|'')*'|"[^"]*"|--[^\n]*|(?P<path>[A-Za-z_][\w.]*(?:\s*->>?\s*(?:'(?:[^']|'')*'|\d+))+)"""
)


def arrows_first(condition: str) -> str:
    """The condition with ``meta->>'topic'`` in parentheses wherever it stands.

    DuckDB's arrows bind weaker than AND does: ``kind = 'note' AND meta->>'topic' = 'x'`` is no condition to it.
    """
    return _ARROWS.sub(lambda found: f"({found[0]})" if found["path"] else found[0], condition)


def told(error: Exception) -> str:
    """What DuckDB says is wrong, with what it would put in place of it, in one line."""
    first, *more = str(error).splitlines()
    return " ".join([first, *(line for line in more if line.startswith(_HINTS))])


def problem_in(sql: str, error: Exception) -> str:
    """What DuckDB says of a query in one line, and where; of an arrow that took in too much what to do."""
    said = told(error)
    if len(sql.strip().splitlines()) > 1 and (place := _LINE.search(str(error))):
        said += f" (line {place[1]}: {place[2].strip()})"
    taken = "json_extract" in said or "Failed to cast value to numerical" in said
    if taken and any(found["path"] for found in _ARROWS.finditer(sql)):
        said += " DuckDB's -> and ->> bind weaker than =, NOT and AND: write (payload->>'$.x'), in parentheses."
    return said


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
