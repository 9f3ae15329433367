"""Which of the texts a search may return: its filters as SQL over the view `context`.

A filter acts before the best are chosen: what is found is the best of what is wanted, however rare that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.events import to_json
from wfkernel.errors import DefinitionError, StoreError
from wfkernel.store.sql import UTC, arrows_first, told

if TYPE_CHECKING:
    import duckdb

__all__ = ["Filter", "filter_of"]

_COLUMNS: Final = frozenset({"kind", "run_id", "step", "workflow", "notebook", "session", "text", "digest", "id"})


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition in SQL, "" where everything is wanted, and the values of its parameters."""

    condition: str
    values: Mapping[str, Any]

    def put_into(self, template: str, rankings: str, ranking: str = "") -> str:
        """A statement from its `template`; ``{wanted}`` in `rankings` and `ranking` leaves those whose texts are wanted."""
        join = "SEMI JOIN wanted USING (digest)" if self.condition else ""
        rankings, ranking = (part.replace("{wanted}", join) for part in (rankings, ranking))
        if self.condition:
            rankings = f"wanted AS MATERIALIZED (SELECT digest FROM texts WHERE {self.condition}), {rankings}"
        where = f"WHERE {self.condition}" if self.condition else ""
        return template.format(rankings=rankings, ranking=ranking, condition=where)

    def run(self, connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any]) -> list[Any]:
        """The rows of a statement with the condition in it. Raises `StoreError` for a condition that fails."""
        from wfkernel.store.duck import duckdb

        try:
            if self.condition:
                connection.execute(UTC)
            return connection.execute(sql, {**self.values, **values}).fetchall()
        except duckdb.Error as error:
            if not self.condition:
                raise
            condition = " ".join(self.condition.split())
            raise StoreError(f"the condition {condition} fails: {told(error)}") from None


def filter_of(
    where: str | Mapping[str, Any] | None, session: str | None, run: str | None, kind: str | Sequence[str] | None
) -> Filter:
    """What a search is told about the texts it wants. Raises `DefinitionError`."""
    equal: dict[str, Any] = {"session": session, "run_id": run, "kind": kind}
    equal = {name: value for name, value in equal.items() if value is not None}
    parts: list[str] = []
    values: dict[str, Any] = {}
    if isinstance(where, str):
        _check_condition(where)
        parts.append(f"(\n{arrows_first(where)}\n)")
    elif isinstance(where, Mapping):
        equal |= where
        if unnamed := next((name for name in where if not isinstance(name, str)), None):
            raise DefinitionError(f"where: {unnamed!r} is no name of a column or a detail")
    elif where is not None:
        raise DefinitionError(f"where is a condition in SQL, or a dict of what columns and details are, not {where!r}")
    for number, (name, wanted) in enumerate(equal.items()):
        alternatives = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        if name in _COLUMNS:
            parts.append(f"list_contains($w{number}, {name})")
            values[f"w{number}"] = [str(one) for one in alternatives]
        else:
            parts.append(f"list_contains($w{number}, json_extract(meta, $p{number})::VARCHAR)")
            values[f"w{number}"] = [to_json(one) for one in alternatives]
            values[f"p{number}"] = '$."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return Filter(" AND ".join(parts), values)


def _check_condition(where: str) -> None:
    """Refuse what is not one condition. Raises `DefinitionError`."""
    from wfkernel.store.duck import duckdb

    for text in (f"(\n{where}\n)", where):  # without parentheses it must not close any: other filters stand beside it
        try:
            statements = duckdb.extract_statements(f"SELECT 1 FROM context WHERE {text}")
        except duckdb.Error as error:
            raise DefinitionError(f"where={where!r} is not a condition in SQL: {str(error).splitlines()[0]}") from None
        if len(statements) != 1:
            raise DefinitionError(f"where={where!r} is more than a condition")
