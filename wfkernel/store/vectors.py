"""Vectors of texts in the store: one for each digest, and from which embedder they are.

A table of them is made when the first vector's dimension is known. The name of its embedder and the dimension are kept
beside it, under `wf.settings`: vectors of different embedders cannot be compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wfkernel.engine.events import to_json
from wfkernel.errors import EmbedderError
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from wfkernel.store.embedders import Embedder, Vectors

__all__ = ["VectorTable", "embed"]


def embed(embedder: Embedder, texts: Sequence[str]) -> Vectors:
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


@dataclass(frozen=True, slots=True)
class VectorTable:
    """The table ``wf.NAME``; `setting` is where its embedder is noted."""

    name: str
    setting: str

    def held(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, int] | None:
        """Name and dimension of the embedder its vectors are from; None while there is no table."""
        rows = execute(connection, "SELECT value FROM wf.settings WHERE name = ?", [self.setting]).fetchall()
        if not rows:
            return None
        known = json.loads(rows[0][0])
        return known["name"], known["dimension"]

    def hold(self, connection: duckdb.DuckDBPyConnection, embedder: str, dimension: int) -> None:
        """Begin anew: from now on it holds vectors of this embedder, of which there are none yet."""
        self.drop(connection)
        connection.execute(f"CREATE TABLE wf.{self.name} (digest VARCHAR NOT NULL, vector FLOAT[{dimension}] NOT NULL)")
        held = to_json({"name": embedder, "dimension": dimension})
        execute(connection, "INSERT INTO wf.settings VALUES (?, ?)", [self.setting, held])

    def drop(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Forget all vectors and what they are from."""
        connection.execute(f"DROP TABLE IF EXISTS wf.{self.name}")
        execute(connection, "DELETE FROM wf.settings WHERE name = ?", [self.setting])

    def insert(self, connection: duckdb.DuckDBPyConnection, digests: list[str], vectors: Vectors) -> None:
        """Keep the vectors of texts that have none yet."""
        import duckdb  # noqa: F401 (from 2.0 on the package tells its compiled module what Python's objects are)
        import pyarrow as pa

        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        # It makes vectors a tenth smaller, and comparing them takes more than twice as long.
        connection.execute("SET disabled_compression_methods = 'alprd'")
        connection.register("new_vectors", pa.table({"digest": digests, "vector": rows}))
        try:
            connection.execute(
                f"INSERT INTO wf.{self.name} SELECT * FROM new_vectors n "
                f"WHERE n.digest NOT IN (SELECT digest FROM wf.{self.name})"
            )
        finally:
            connection.unregister("new_vectors")

    def forget(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Remove the vectors of texts nobody has any more."""
        if self.held(connection):
            connection.execute(f"DELETE FROM wf.{self.name} WHERE digest NOT IN (SELECT digest FROM wf.context)")
