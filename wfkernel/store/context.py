"""Context search: the texts runs leave behind, found by meaning and by words.

``wf.context`` holds the texts. Nothing is done for it while steps run: when somebody searches, texts are first *gathered*
from the events that came since the last time (`wfkernel.store.context_text`), then those not seen before are *indexed* by
word and embedded. Word counts and vectors are keyed by the digest of a text, so a text is embedded once however often it
occurs, and the store's file is not held while an embedder computes or a network answers.

A search ranks by cosine similarity and by BM25 and merges both scores (`wfkernel.store.ranking`). The vectors are
compared one by one: over 100,000 of 256 dimensions DuckDB takes 40 ms. An approximate index (HNSW, DuckDB's `vss`) answers
sooner, but it has to be built (minutes for as many), makes the extension a need of everybody who opens the store, and
DuckDB's documentation warns that it is not recovered after a crash.

A store remembers which embedder its vectors are from. Vectors of different embedders cannot be compared, so another one
is refused until `reindex` has embedded everything anew.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from wfkernel.engine.events import Event, to_json
from wfkernel.engine.remember import remembered
from wfkernel.errors import DefinitionError, EmbedderError, StoreError
from wfkernel.store.context_text import GATHERED, ContextRow, texts_of
from wfkernel.store.embedders import DEFAULT, Embedder, load_embedder, weight_of
from wfkernel.store.ranking import BY_VECTORS, BY_WORDS, HYBRID, term_counts, term_number, words
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.database import Database
    from wfkernel.store.embedders import Vectors

__all__ = ["MODES", "Context", "Found", "Mode", "forget_runs"]

Mode = Literal["hybrid", "vectors", "words"]
MODES: Final[tuple[Mode, ...]] = ("hybrid", "vectors", "words")

DEPTH: Final = 200
"""How many of the best by words, and of the best by vectors, the hybrid looks at."""
INDEXED_AT_ONCE: Final = 1_000
GATHERED_AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class Found:
    """A text that was found. Of runs that left the same text behind, the newest.

    `score` is between 0 and 1, or a cosine in the mode ``vectors``; it orders the results of one search.
    """

    text: str
    score: float
    kind: str
    run_id: str | None = None
    step: str = ""
    workflow: str | None = None
    notebook: str | None = None
    session: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


class Context:
    """The searchable texts of one store; `Store.context` is one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- adding texts --------------------------------------------------------------------------------------------------

    def remember(self, text: str, meta: dict[str, Any], run_id: str | None = None) -> None:
        """Keep a text that no step remembers. In a step use `wfkernel.remember`: then it belongs to the run's events."""
        said = remembered(text, meta)
        self.add([ContextRow(uuid.uuid4().hex, said["kind"], said["text"], run_id, "", said["meta"], time.time())])

    def add(self, rows: Sequence[ContextRow], *, replacing: str = "") -> None:
        """Add texts; one whose id is known takes its place.

        Args:
            replacing: the beginning of ids: texts with such an id that are not among `rows` are removed.
        """
        with self._database.open() as connection, transaction(connection):
            if replacing:
                execute(
                    connection,
                    "DELETE FROM wf.context WHERE starts_with(id, $1) AND NOT list_contains($2, id)",
                    [replacing, [row.id for row in rows]],
                )
            _insert(connection, rows, {})

    def gather(self) -> None:
        """Make texts from the events that came since the last time."""
        while True:
            with self._database.open() as connection, transaction(connection):
                if not _gather(connection):
                    return

    # -- searching -----------------------------------------------------------------------------------------------------

    def search(
        self,
        text: str,
        k: int = 5,
        where: str | Mapping[str, Any] | None = None,
        session: str | None = None,
        *,
        run: str | None = None,
        kind: str | Sequence[str] | None = None,
        mode: Mode = "hybrid",
    ) -> list[Found]:
        """The `k` texts that fit `text` best; see `wfkernel.search`."""
        if not text.strip():
            raise DefinitionError("search needs some words to search for")
        if k < 1:
            raise DefinitionError(f"k is how many texts to return, at least 1, not {k}")
        if mode not in MODES:
            raise DefinitionError(f"there is no mode '{mode}': {', '.join(MODES)}")
        condition, values = _condition(where, session, run, kind)
        self.gather()
        parts = []
        embedder: Embedder | None = None
        if mode != "vectors":
            self._index_words()
            numbers = {term_number(word) for word in words(text)} or {0}
            parts.append(BY_WORDS.replace("{terms}", ", ".join(map(str, sorted(numbers)))))
        if mode != "words":
            embedder = self._index_vectors()
            values["asked"] = _embed(embedder, [text])[0].tolist()
            parts.append(BY_VECTORS.replace("{dimension}", str(len(values["asked"]))))
            if mode == "hybrid":
                parts.append(HYBRID)
                values |= {"depth": max(DEPTH, 2 * k), "weight": weight_of(embedder)}
        with self._database.open() as connection:
            if embedder is not None:
                held = _held(connection)
                _check_same(held, embedder, len(values["asked"]))
                if held is None:  # no text was ever embedded
                    return []
            return _best(connection, ",".join(parts), _RANKINGS[mode], k, condition, values)

    def reindex(self, embedder: str | None = None) -> str:
        """Embed every text anew, with another embedder if one is named. Returns the embedder's name.

        Without a name the setting `embedder` counts, then the embedder the store was filled with, then the default. What the
        store has is thrown away only after the embedder has proved to work.
        """
        from wfkernel.settings import settings

        with self._database.open() as connection:
            held = _held(connection)
        name = embedder or settings().embedder or (held[0] if held else DEFAULT)
        chosen = load_embedder(name)
        dimension = _embed(chosen, ["a text to try it with"]).shape[1]
        with self._database.open() as connection, transaction(connection):
            connection.execute("DROP TABLE IF EXISTS wf.context_vectors")
            connection.execute("DELETE FROM wf.settings WHERE name = 'embedder' OR ends_with(name, ' is complete')")
            connection.execute("DELETE FROM wf.context_terms")
            connection.execute("DELETE FROM wf.context_indexed")
            _hold(connection, chosen, dimension)
        self.gather()
        self._index_words()
        self._index_vectors(chosen)
        return chosen.name

    # -- indexing ------------------------------------------------------------------------------------------------------

    def _index_words(self) -> None:
        while True:
            with self._database.open() as connection, transaction(connection):
                pending = _pending(connection, "context_indexed")
                if not pending:
                    return
                counts = {digest: term_counts(text) for digest, text in pending}
                uses = [[digest, term, n] for digest, found in counts.items() for term, n in found.items()]
                lengths = [[digest, found.total()] for digest, found in counts.items()]
                for table, rows in (("context_terms", uses), ("context_indexed", lengths)):
                    columns = (
                        "r[1], r[2]::UBIGINT, r[3]::INTEGER" if table == "context_terms" else "r[1], r[2]::INTEGER"
                    )
                    connection.execute(
                        f"INSERT INTO wf.{table} SELECT {columns} FROM (SELECT unnest(from_json($1, '[[\"VARCHAR\"]]')) AS r)",
                        [to_json(rows)],
                    )

    def _index_vectors(self, embedder: Embedder | None = None) -> Embedder:
        """Embed what is not embedded; returns what it was done with. Raises `EmbedderError`."""
        while True:
            with self._database.open() as connection:
                held = _held(connection)
                embedder = embedder or _choose(held)
                pending = _pending(connection, "context_vectors")
            if not pending:
                return embedder
            vectors = _embed(embedder, [text for _, text in pending])
            with self._database.open() as connection, transaction(connection):
                held = _held(connection)
                _check_same(held, embedder, vectors.shape[1])
                if held is None:
                    _hold(connection, embedder, vectors.shape[1])
                _insert_vectors(connection, [digest for digest, _ in pending], vectors)


def forget_runs(connection: duckdb.DuckDBPyConnection, run_ids: Sequence[str]) -> None:
    """Remove the texts of runs that are removed or rebuilt, and what was indexed of texts nobody has any more.

    The caller holds the transaction. Texts of runs that still have events are gathered again by the next search.
    """
    for table in ("context", "context_gathered"):
        execute(connection, f"DELETE FROM wf.{table} WHERE list_contains($1, run_id)", [list(run_ids)])
    tables = ["context_terms", "context_indexed"] + (["context_vectors"] if _held(connection) else [])
    for table in tables:
        connection.execute(f"DELETE FROM wf.{table} WHERE digest NOT IN (SELECT digest FROM wf.context)")


# -- texts -------------------------------------------------------------------------------------------------------------

_INSERT: Final = """
INSERT OR REPLACE INTO wf.context SELECT r[1], r[2], r[3], coalesce(r[4], ''), r[5], r[6], r[7]::JSON, r[8]::DOUBLE, r[9]
FROM (SELECT unnest(from_json($1, '[["VARCHAR"]]')) AS r)
"""

# Runs with events that were not looked at, as many as come together to `$most` events. A run that is shorter than what was
# looked at was cut back (`wf recover`): it is looked at from its beginning.
_BEHIND: Final = """
CREATE OR REPLACE TEMP TABLE behind AS
SELECT run_id, after, last_seq, cut FROM (
    SELECT r.run_id, r.last_seq, coalesce(g.seq > r.last_seq, false) AS cut,
           CASE WHEN g.seq <= r.last_seq THEN g.seq ELSE 0 END AS after
    FROM wf.runs r LEFT JOIN wf.context_gathered g USING (run_id) WHERE g.seq IS DISTINCT FROM r.last_seq)
QUALIFY sum(last_seq - after) OVER (ORDER BY run_id) - (last_seq - after) < $most
"""
_EVENTS: Final = """
WITH starts AS (SELECT e.run_id, arg_max(e.payload->>'session', e.seq) AS session,
                       coalesce(arg_max(e.payload->>'context', e.seq), 'true') <> 'false' AS wanted
                FROM wf.events e SEMI JOIN behind USING (run_id) WHERE e.type = 'run.start' GROUP BY e.run_id)
SELECT e.run_id, e.seq, e.ts, e.type, e.path, e.attempt, e.payload, coalesce(s.session, '')
FROM wf.events e JOIN behind b USING (run_id) LEFT JOIN starts s USING (run_id)
WHERE e.seq > b.after AND e.seq <= b.last_seq AND list_contains($types, e.type)
  AND (coalesce(s.wanted, true) OR e.type = 'context.remember') ORDER BY e.run_id, e.seq
"""


def _gather(connection: duckdb.DuckDBPyConnection) -> bool:
    """One batch; False when there was nothing to do."""
    connection.execute(_BEHIND, {"most": GATHERED_AT_ONCE})
    if connection.execute("SELECT count(*) FROM behind").fetchone() == (0,):
        return False
    found = connection.execute(_EVENTS, {"types": list(GATHERED)}).fetchall()
    sessions = {row[0]: row[-1] for row in found}
    rows = texts_of(Event(*(*row[:-2], json.loads(row[-2]))) for row in found)
    connection.execute("DELETE FROM wf.context WHERE run_id IN (SELECT run_id FROM behind WHERE cut)")
    _insert(connection, rows, sessions)
    connection.execute("INSERT OR REPLACE INTO wf.context_gathered SELECT run_id, last_seq FROM behind")
    return True


def _insert(connection: duckdb.DuckDBPyConnection, rows: Sequence[ContextRow], sessions: Mapping[str, str]) -> None:
    if rows:
        cells = [
            [r.id, r.run_id, r.path, sessions.get(r.run_id or ""), r.kind, r.text, to_json(r.meta), r.at, r.digest]
            for r in rows
        ]
        execute(connection, _INSERT, [to_json(cells)])
        connection.execute("DELETE FROM wf.settings WHERE ends_with(name, ' is complete')")


def _pending(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    """(digest, text) of texts that `table` lacks, at most `INDEXED_AT_ONCE`.

    That there are none is noted, for looking takes time in a large store; `_insert` takes the note away.
    """
    if connection.execute("SELECT 1 FROM wf.settings WHERE name = $1", [f"{table} is complete"]).fetchone():
        return []
    made = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'wf' AND table_name = $1", [table]
    ).fetchone()
    condition = f"ANTI JOIN wf.{table} USING (digest)" if made else ""
    pending = connection.execute(
        f"SELECT digest, any_value(text) FROM wf.context {condition} GROUP BY digest LIMIT {INDEXED_AT_ONCE}"
    ).fetchall()
    if not pending:
        connection.execute("INSERT OR REPLACE INTO wf.settings VALUES ($1, 'true')", [f"{table} is complete"])
    return pending


# -- vectors -----------------------------------------------------------------------------------------------------------


def _held(connection: duckdb.DuckDBPyConnection) -> tuple[str, int] | None:
    """Name and dimension of the embedder the store's vectors are from."""
    rows = connection.execute("SELECT value FROM wf.settings WHERE name = 'embedder'").fetchall()
    if not rows:
        return None
    known = json.loads(rows[0][0])
    return known["name"], known["dimension"]


def _hold(connection: duckdb.DuckDBPyConnection, embedder: Embedder, dimension: int) -> None:
    """From now on the store holds vectors of this embedder, of which there are none yet."""
    connection.execute(f"CREATE TABLE wf.context_vectors (digest VARCHAR NOT NULL, vector FLOAT[{dimension}] NOT NULL)")
    held = to_json({"name": embedder.name, "dimension": dimension})
    execute(connection, "INSERT INTO wf.settings VALUES ('embedder', ?)", [held])


def _choose(held: tuple[str, int] | None) -> Embedder:
    from wfkernel.settings import settings

    return load_embedder(settings().embedder or (held[0] if held else DEFAULT))


def _check_same(held: tuple[str, int] | None, embedder: Embedder, dimension: int) -> None:
    if held is not None and held != (embedder.name, dimension):
        raise EmbedderError(
            f"the store's vectors are from {held[0]} ({held[1]} dimensions), and the setting embedder or another process asks "
            f"for {embedder.name} ({dimension}); they cannot be compared. `wf search --reindex --embedder {embedder.name}` "
            f"embeds all texts anew; WFKERNEL_EMBEDDER={held[0]} keeps what is there."
        )


def _embed(embedder: Embedder, texts: list[str]) -> Vectors:
    """Vectors of length one, or zero for a text the embedder knows nothing of. Raises `EmbedderError`."""
    import numpy as np

    vectors = np.asarray(embedder.embed(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise EmbedderError(
            f"the embedder {embedder.name} returned an array of shape {vectors.shape} for {len(texts)} texts; wanted: one row "
            "of finite numbers for each text."
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return normalised


def _insert_vectors(connection: duckdb.DuckDBPyConnection, digests: list[str], vectors: Vectors) -> None:
    import pyarrow as pa

    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    # It makes vectors a tenth smaller, and comparing them takes more than twice as long.
    connection.execute("SET disabled_compression_methods = 'alprd'")
    connection.register("new_vectors", pa.table({"digest": digests, "vector": rows}))
    try:
        connection.execute(
            "INSERT INTO wf.context_vectors SELECT * FROM new_vectors n "
            "WHERE n.digest NOT IN (SELECT digest FROM wf.context_vectors)"
        )
    finally:
        connection.unregister("new_vectors")


# -- rankings ----------------------------------------------------------------------------------------------------------

_COLUMNS: Final = frozenset({"kind", "run_id", "step", "workflow", "notebook", "session", "text"})


def _condition(
    where: str | Mapping[str, Any] | None, session: str | None, run: str | None, kind: str | Sequence[str] | None
) -> tuple[str, dict[str, Any]]:
    """SQL over the view `context`, and its parameters; "" when everything is asked for."""
    equal: dict[str, Any] = {"session": session, "run_id": run, "kind": kind}
    equal = {name: value for name, value in equal.items() if value is not None}
    parts: list[str] = []
    values: dict[str, Any] = {}
    if isinstance(where, str):
        _check_condition(where)
        parts.append(f"(\n{where}\n)")
    elif where is not None:
        equal |= where
    for number, (name, wanted) in enumerate(equal.items()):
        alternatives = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        if name in _COLUMNS:
            parts.append(f"list_contains($w{number}, {name})")
            values[f"w{number}"] = [str(one) for one in alternatives]
        else:
            parts.append(f"list_contains($w{number}, json_extract(meta, $p{number})::VARCHAR)")
            values[f"w{number}"] = [to_json(one) for one in alternatives]
            values[f"p{number}"] = '$."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return " AND ".join(parts), values


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


_RANKINGS: Final[dict[Mode, str]] = {"hybrid": "hybrid", "vectors": "by_vectors", "words": "by_words"}
# The texts are the view `context` without its order, which would cost more than the search. Some more than asked for are
# taken from the ranking, for what was indexed of a text that is gone finds no row.
_BEST: Final = """
WITH texts AS NOT MATERIALIZED (
         SELECT c.*, c.path AS step, wf.utc(c.noted) AS noted_at, r.workflow, r.notebook
         FROM wf.context c LEFT JOIN wf.runs r USING (run_id)),
     {rankings},
     best AS MATERIALIZED (
         SELECT digest, score FROM {ranking} {wanted} WHERE score > 0 ORDER BY score DESC, digest LIMIT $k + 50)
SELECT t.text, b.score, t.kind, t.run_id, t.step, t.workflow, t.notebook, t.session, t.meta
FROM best b JOIN texts t USING (digest) {condition}
QUALIFY row_number() OVER (PARTITION BY digest ORDER BY t.noted_at DESC, t.id) = 1 ORDER BY b.score DESC, b.digest LIMIT $k
"""


def _best(
    connection: duckdb.DuckDBPyConnection, rankings: str, ranking: str, k: int, condition: str, values: dict[str, Any]
) -> list[Found]:
    wanted = ""
    if condition:
        wanted = "SEMI JOIN wanted USING (digest)"
        rankings = f"wanted AS MATERIALIZED (SELECT digest FROM texts WHERE {condition}), {rankings}"
    sql = _BEST.format(
        rankings=rankings.replace("{wanted}", wanted),
        ranking=ranking,
        wanted=wanted,
        condition=f"WHERE {condition}" if condition else "",
    )
    return [
        Found(text, score, kind, run_id, step, workflow, notebook, session, json.loads(meta))
        for text, score, kind, run_id, step, workflow, notebook, session, meta in _run(
            connection, sql, {**values, "k": k}, condition
        )
    ]


def _run(connection: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any], condition: str) -> list[Any]:
    from wfkernel.store.duck import duckdb

    try:
        return connection.execute(sql, values).fetchall()
    except duckdb.Error as error:
        if not condition:
            raise
        raise StoreError(f"the condition {condition!r} fails: {str(error).splitlines()[0]}") from None
