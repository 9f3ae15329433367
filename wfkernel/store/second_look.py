"""The second look of a search: a sentence encoder orders the best of what words and averaged word vectors have found.

A sentence encoder reads a text as a whole and finds what is said in other words, but takes thousands of times longer than
averaging word vectors: 5 ms for a line. So the cheap ranking chooses, and the encoder (all-MiniLM-L6-v2, from packages,
without a network) looks only at the best `LOOKED_AT`. Its vectors are kept by the digest of the text: a text is encoded
once, however often it is found. This is the two-stage retrieval of Nogueira and Cho (2019, "Passage Re-ranking with BERT"),
with an encoder whose vectors can be kept in place of one that reads question and text together.

Where the encoder cannot be loaded (its runtime has no build for every platform) searches do without; ``wf doctor`` says so.
A store whose own embedder is a sentence encoder gets no second look.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

from wfkernel.errors import EmbedderError
from wfkernel.store.embedders import Embedder, weight_of
from wfkernel.store.onnx_embedder import OnnxEmbedder, packaged_minilm
from wfkernel.store.vectors import VectorTable, embed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from wfkernel.store.embedders import Vectors

__all__ = ["CHOOSING", "LOOKED_AT", "TABLE", "encoder", "keep", "pending", "understood"]

LOOKED_AT: Final = 75
"""How many. Twice as many take twice as long and find little more (tests/benchmarks/context_recall.py)."""
TOKENS: Final = 128
"""After so many a text is cut, for the same reason."""
CHOOSING: Final = 0.5
"""How much the cosine of averaged vectors counts beside the words where it only chooses what is looked at: more than where
it orders the results, for what only the encoder would recognise has to be among the chosen."""
TABLE: Final = VectorTable("context_second_look", "second look")


@cache
def encoder() -> Embedder:
    """What looks; it is loaded when it embeds something."""
    return OnnxEmbedder(f"minilm, {TOKENS} tokens", lambda: replace(packaged_minilm(), tokens=TOKENS))


def understood(question: str, embedder: Embedder) -> list[float] | None:
    """The question as the encoder understands it; None where there is to be no second look at what `embedder` finds."""
    if weight_of(embedder) >= weight_of(encoder()):
        return None
    try:
        vector: list[float] = embed(encoder(), [question])[0].tolist()
    except EmbedderError:  # it cannot be loaded here: `wf doctor` says why
        return None
    return vector


def pending(connection: duckdb.DuckDBPyConnection, digests: Sequence[str], dimension: int) -> list[tuple[str, str]]:
    """(digest, text) of those of the texts that were never looked at."""
    seen = f"ANTI JOIN wf.{TABLE.name} USING (digest)" if _is_ours(connection, dimension) else ""
    return connection.execute(
        f"WITH new AS MATERIALIZED (SELECT digest FROM (SELECT unnest($1::VARCHAR[]) AS digest) {seen}) "
        "SELECT digest, any_value(text) FROM wf.context SEMI JOIN new USING (digest) GROUP BY digest",
        [list(digests)],
    ).fetchall()


def keep(connection: duckdb.DuckDBPyConnection, digests: list[str], vectors: Vectors) -> None:
    """Keep what the encoder made of texts; what another encoder made gives way."""
    if not _is_ours(connection, vectors.shape[1]):
        TABLE.hold(connection, encoder().name, vectors.shape[1])
    TABLE.insert(connection, digests, vectors)


def _is_ours(connection: duckdb.DuckDBPyConnection, dimension: int) -> bool:
    return TABLE.held(connection) == (encoder().name, dimension)
