"""Context search: the texts runs leave behind, found by meaning and by words.

``wf.context`` holds the texts. Nothing is done for it while steps run: when somebody searches, texts are first *gathered*
from the events that came since the last time (`wfkernel.store.context_text`), then those not seen before are *indexed* by
word and embedded. Word counts and vectors are keyed by the digest of a text, so a text is embedded once however often it
occurs, and the store's file is not held while an embedder computes or a network answers.

A search ranks by cosine similarity and by BM25 and merges both scores (`wfkernel.store.ranking`). The vectors are
compared one by one: over 100,000 of 256 dimensions DuckDB takes 40 ms. An approximate index (HNSW, DuckDB's `vss`) answers
sooner, but it has to be built (minutes for as many), makes the extension a need of everybody who opens the store, and
DuckDB's documentation warns that it is not recovered after a crash. What the default embedder makes is good enough to choose
by; the best of a hybrid search are ordered by a sentence encoder (`wfkernel.store.second_look`).

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
from wfkernel.errors import DefinitionError, EmbedderError
from wfkernel.store import second_look
from wfkernel.store.context_filter import Filter, filter_of
from wfkernel.store.context_text import GATHERED, ContextRow, texts_of
from wfkernel.store.embedders import DEFAULT, Embedder, from_store, load_embedder, weight_of
from wfkernel.store.ranking import BY_WORDS, HYBRID, again, by_vectors, term_counts, term_number, words
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute
from wfkernel.store.vectors import VectorTable, embed

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.database import Database

__all__ = ["MODES", "Context", "Found", "Mode", "Results", "forget_runs", "gather_anew"]

Mode = Literal["hybrid", "vectors", "words"]
MODES: Final[tuple[Mode, ...]] = ("hybrid", "vectors", "words")

DEPTH: Final = 200
"""How many of the best by words, and of the best by vectors, the hybrid looks at."""
INDEXED_AT_ONCE: Final = 1_000
GATHERED_AT_ONCE: Final = 20_000
VECTORS: Final = VectorTable("context_vectors", "embedder")


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


class Results(list[Found]):
    """What one search found, the best first. A notebook shows it as a table."""


class Context:
    """The searchable texts of one store; `Store.context` is one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- adding texts --------------------------------------------------------------------------------------------------

    def remember(self, text: str, meta: dict[str, Any], run_id: str | None = None) -> None:
        """Keep a text that no step remembers. In a step use `wfkernel.remember`: then it belongs to the run's events."""
        said = remembered(text, meta)
        self.add([ContextRow(uuid.uuid4().hex, said["kind"], said["text"], run_id, "", said["meta"], time.time())])

    def add(self, rows: Sequence[ContextRow], *, replacing: Sequence[str] = ()) -> None:
        """Add texts; one whose id is known takes its place.

        Args:
            replacing: beginnings of ids: texts with such an id that are not among `rows` are removed.
        """
        with self._database.open(change=True) as connection, transaction(connection):
            for beginning in replacing:
                execute(
                    connection,
                    "DELETE FROM wf.context WHERE starts_with(id, $1) AND NOT list_contains($2, id)",
                    [beginning, [row.id for row in rows]],
                )
            _insert(connection, rows, {})

    def gather(self) -> None:
        """Make texts from the events that came since the last time; not from those that come meanwhile, which may not end."""
        more = True
        while more:
            with self._database.open() as connection, transaction(connection):
                more = _gather(connection)

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
    ) -> Results:
        """The `k` texts that fit `text` best; see `wfkernel.search`."""
        if not isinstance(text, str) or not text.strip():
            raise DefinitionError("search needs some words to search for")
        if not isinstance(k, int) or k < 1:
            raise DefinitionError(f"k is how many texts to return, at least 1, not {k!r}")
        if mode not in MODES:
            raise DefinitionError(f"there is no mode '{mode}': {', '.join(MODES)}")
        wanted = filter_of(where, session, run, kind)
        self.gather()
        with self._database.open() as connection:
            candidates = len(wanted.run(connection, wanted.put_into(_FIRST_TWO, ""), {}))
        if not candidates:
            return Results()
        parts = []
        values: dict[str, Any] = {}
        embedder: Embedder | None = None
        asked_again: list[float] | None = None
        if mode != "vectors":
            self._index_words()
            numbers = {term_number(word) for word in words(text)} or {0}
            parts.append(BY_WORDS.replace("{terms}", ", ".join(map(str, sorted(numbers)))))
        if mode != "words":
            embedder = self._index_vectors()
            values["asked"] = embed(embedder, [text])[0].tolist()
            parts.append(by_vectors(VECTORS.name, len(values["asked"])))
            if mode == "hybrid":
                if candidates > 1:  # what would order one text need not be loaded
                    asked_again = second_look.understood(text, embedder)
                weight = weight_of(embedder) if asked_again is None else second_look.CHOOSING
                parts.append(HYBRID)
                values |= {"depth": max(DEPTH, 2 * k), "weight": weight}
        rankings = ",".join(parts)
        with self._database.open() as connection:
            if embedder is not None:
                held = VECTORS.held(connection)
                _check_same(held, embedder, len(values["asked"]))
                if held is None:  # forgotten just now
                    return Results()
            if asked_again is None:
                return _best(connection, rankings, _RANKINGS[mode], k, wanted, values)
            chosen = _chosen(connection, rankings, max(k, second_look.LOOKED_AT), wanted, values)
        return self._look_again(chosen, asked_again, k, wanted) if chosen else Results()

    def _look_again(self, chosen: list[_Chosen], asked: list[float], k: int, wanted: Filter) -> Results:
        """The `k` best of the texts, after the first of them were put in an order by the encoder."""
        looked_at = [digest for digest, _, _ in chosen[: second_look.LOOKED_AT]]
        while True:
            with self._database.open() as connection:
                pending = second_look.pending(connection, looked_at, len(asked))
                if not pending:
                    rankings = again(second_look.TABLE.name, len(asked))
                    values = {"chosen": to_json(chosen), "asked": asked, "depth": len(looked_at)}
                    values["weight"] = weight_of(second_look.encoder())
                    return _best(connection, rankings, "again", k, wanted, values)
            encoded = embed(second_look.encoder(), [text for _, text in pending])
            with self._database.open() as connection, transaction(connection):
                second_look.keep(connection, [digest for digest, _ in pending], encoded)

    def reindex(self, embedder: str | None = None) -> str:
        """Embed every text anew, with another embedder if one is named. Returns the embedder's name.

        Without a name the setting `embedder` counts, then the embedder the store was filled with, then the default. What the
        store has is thrown away only after the embedder has proved to work.
        """
        from wfkernel.settings import settings

        with self._database.open(change=True) as connection:
            held = VECTORS.held(connection)
        name = embedder or settings().embedder or (from_store(held[0]) if held else DEFAULT)
        chosen = load_embedder(name)
        dimension = embed(chosen, ["a text to try it with"]).shape[1]
        with self._database.open() as connection, transaction(connection):
            second_look.TABLE.drop(connection)
            connection.execute("DELETE FROM wf.settings WHERE ends_with(name, ' is complete')")
            connection.execute("DELETE FROM wf.context_terms")
            connection.execute("DELETE FROM wf.context_indexed")
            VECTORS.hold(connection, chosen.name, dimension)
        self.gather()
        self._index_words()
        self._index_vectors(chosen)
        return chosen.name

    # -- indexing ------------------------------------------------------------------------------------------------------

    def _index_words(self) -> None:
        more = True
        while more:
            with self._database.open() as connection, transaction(connection):
                pending = _pending(connection, "context_indexed")
                if not pending:
                    return
                more = len(pending) == INDEXED_AT_ONCE
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
                held = VECTORS.held(connection)
                embedder = embedder or _choose(held)
                pending = _pending(connection, "context_vectors")
            if not pending:
                return embedder
            vectors = embed(embedder, [text for _, text in pending])
            with self._database.open() as connection, transaction(connection):
                held = VECTORS.held(connection)
                _check_same(held, embedder, vectors.shape[1])
                if held is None:
                    VECTORS.hold(connection, embedder.name, vectors.shape[1])
                VECTORS.insert(connection, [digest for digest, _ in pending], vectors)
            if len(pending) < INDEXED_AT_ONCE:
                return embedder


def forget_runs(connection: duckdb.DuckDBPyConnection, run_ids: Sequence[str]) -> None:
    """Remove the texts of runs that are removed, and what was indexed of texts nobody has any more. In a transaction."""
    for table in ("context", "context_gathered"):
        execute(connection, f"DELETE FROM wf.{table} WHERE list_contains($1, run_id)", [list(run_ids)])
    for table in ("context_terms", "context_indexed"):
        connection.execute(f"DELETE FROM wf.{table} WHERE digest NOT IN (SELECT digest FROM wf.context)")
    for vectors in (VECTORS, second_look.TABLE):
        vectors.forget(connection)


def gather_anew(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Events of the run were taken out: the next search gathers its texts from its beginning. In a transaction."""
    execute(connection, "UPDATE wf.context_gathered SET seq = 9223372036854775807 WHERE run_id = ?", [run_id])


# -- texts -------------------------------------------------------------------------------------------------------------

_INSERT: Final = """
INSERT OR REPLACE INTO wf.context SELECT r[1], r[2], r[3], coalesce(r[4], ''), r[5], r[6], r[7]::JSON, r[8]::DOUBLE, r[9]
FROM (SELECT unnest(from_json($1, '[["VARCHAR"]]')) AS r)
"""

# Runs with events that were not looked at, as many as come together to so many events. A run that is shorter than what was
# looked at was cut back (`wf recover`): it is looked at from its beginning.
_BEHIND: Final = """
CREATE OR REPLACE TEMP TABLE behind AS
SELECT run_id, after, last_seq, cut FROM (
    SELECT r.run_id, r.last_seq, coalesce(g.seq > r.last_seq, false) AS cut,
           CASE WHEN g.seq <= r.last_seq THEN g.seq ELSE 0 END AS after
    FROM wf.runs r LEFT JOIN wf.context_gathered g USING (run_id) WHERE g.seq IS DISTINCT FROM r.last_seq)
QUALIFY sum(last_seq - after) OVER (ORDER BY run_id) - (last_seq - after) < $1
"""
_EVENTS: Final = """
WITH starts AS (SELECT e.run_id, arg_max(e.payload->>'session', e.seq) AS session,
                       coalesce(arg_max(e.payload->>'context', e.seq), 'true') <> 'false' AS wanted
                FROM wf.events e SEMI JOIN behind USING (run_id) WHERE e.type = 'run.start' GROUP BY e.run_id)
SELECT e.run_id, e.seq, e.ts, e.type, e.path, e.attempt, e.payload, coalesce(s.session, '')
FROM wf.events e JOIN behind b USING (run_id) LEFT JOIN starts s USING (run_id)
WHERE e.seq > b.after AND e.seq <= b.last_seq AND list_contains($1, e.type)
  AND (coalesce(s.wanted, true) OR e.type = 'context.remember') ORDER BY e.run_id, e.seq
"""


def _gather(connection: duckdb.DuckDBPyConnection) -> bool:
    """One batch; whether there was more behind than goes into one."""
    execute(connection, _BEHIND, [GATHERED_AT_ONCE])
    ((runs, events),) = connection.execute("SELECT count(*), sum(last_seq - after) FROM behind").fetchall()
    if not runs:
        return False
    found = execute(connection, _EVENTS, [list(GATHERED)]).fetchall()
    sessions = {row[0]: row[-1] for row in found}
    rows = texts_of(Event(*(*row[:-2], json.loads(row[-2]))) for row in found)
    connection.execute(
        "DELETE FROM wf.context USING behind WHERE cut AND context.run_id = behind.run_id "
        "AND (starts_with(id, context.run_id || '#') OR starts_with(id, context.run_id || '/'))"  # made from its events
    )
    _insert(connection, rows, sessions)
    connection.execute("INSERT OR REPLACE INTO wf.context_gathered SELECT run_id, last_seq FROM behind")
    return bool(events >= GATHERED_AT_ONCE)


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
    if execute(connection, "SELECT 1 FROM wf.settings WHERE name = $1", [f"{table} is complete"]).fetchone():
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


def _choose(held: tuple[str, int] | None) -> Embedder:
    from wfkernel.settings import settings

    return load_embedder(settings().embedder or (from_store(held[0]) if held else DEFAULT))


def _check_same(held: tuple[str, int] | None, embedder: Embedder, dimension: int) -> None:
    if held is not None and held != (embedder.name, dimension):
        raise EmbedderError(
            f"the store's vectors are from {held[0]} ({held[1]} dimensions), and the setting embedder or another process asks "
            f"for {embedder.name} ({dimension}); they cannot be compared. `wf search --reindex --embedder {embedder.name}` "
            f"embeds all texts anew; WFKERNEL_EMBEDDER={held[0]} keeps what is there."
        )


# -- results -----------------------------------------------------------------------------------------------------------

_RANKINGS: Final[dict[Mode, str]] = {
    "hybrid": "hybrid {wanted}", "vectors": "by_vectors {wanted}", "words": "by_words {wanted}",
}  # fmt: skip
_Chosen = tuple[str, float, float]
"""Digest, score, and score of the words alone."""
# The texts are the view `context` without its order, which would cost more than the search.
_TEXTS: Final = """
WITH texts AS NOT MATERIALIZED (
         SELECT c.*, c.path AS step, wf.utc(c.noted) AS noted_at, r.workflow, r.notebook
         FROM wf.context c LEFT JOIN wf.runs r USING (run_id)),
     {rankings}"""
_FIRST_TWO: Final = f"""{_TEXTS.replace("{rankings}", "first AS MATERIALIZED (SELECT digest FROM texts {condition} LIMIT 1)")}
SELECT digest FROM first UNION ALL
(SELECT digest FROM (SELECT digest FROM texts {{condition}}) WHERE digest <> (SELECT digest FROM first) LIMIT 1)
"""
# Some more than asked for are taken from the ranking, for what was indexed of a text that is gone finds no row.
_BEST: Final = f"""{_TEXTS},
     best AS MATERIALIZED (
         SELECT digest, score FROM {{ranking}} WHERE score > 0 ORDER BY score DESC, digest LIMIT $k + 50)
SELECT t.text, b.score, t.kind, t.run_id, t.step, t.workflow, t.notebook, t.session, t.meta
FROM best b JOIN texts t USING (digest) {{condition}}
QUALIFY row_number() OVER (PARTITION BY digest ORDER BY t.noted_at DESC, t.id) = 1 ORDER BY b.score DESC, b.digest LIMIT $k
"""
_CHOSEN: Final = f"""{_TEXTS}
SELECT h.digest, h.score, coalesce(w.score, 0)
FROM hybrid h LEFT JOIN by_words w USING (digest) SEMI JOIN wf.context c USING (digest)
ORDER BY h.score DESC, h.digest LIMIT $most
"""


def _best(
    connection: duckdb.DuckDBPyConnection, rankings: str, ranking: str, k: int, wanted: Filter, values: dict[str, Any]
) -> Results:
    rows = wanted.run(connection, wanted.put_into(_BEST, rankings, ranking), {**values, "k": k})
    return Results(
        Found(text, score, kind, run_id, step, workflow, notebook, session, json.loads(meta))
        for text, score, kind, run_id, step, workflow, notebook, session, meta in rows
    )


def _chosen(
    connection: duckdb.DuckDBPyConnection, rankings: str, most: int, wanted: Filter, values: dict[str, Any]
) -> list[_Chosen]:
    """The texts to look at again, best first, and behind them as many as are asked for."""
    return wanted.run(connection, wanted.put_into(_CHOSEN, rankings), {**values, "most": most})
