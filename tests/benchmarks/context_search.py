"""What a search costs in a store of 100,000 texts with vectors of 256 dimensions. Prints medians; the target is 100 ms.

The vectors are random, the texts are drawn from a vocabulary with the frequencies of Zipf's law. A hybrid search is timed when
it is asked for the first time, and the encoder has to look at what was never found before, and again. The encoder is real;
how long it takes depends on the length of the texts, which is printed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from wfkernel.store import context, embedders
from wfkernel.store.context_text import ContextRow
from wfkernel.store.store import Store

TEXTS, DIMENSION, ROUNDS = 100_000, 256, 15


class Random:
    """An embedder that costs nothing, so that the search is what is measured; it counts as little as the default one."""

    name = "random"
    weight = 0.3

    def embed(self, texts: list[str]) -> np.ndarray:
        generator = np.random.default_rng(zlib.crc32(texts[0].encode()))
        return generator.standard_normal((len(texts), DIMENSION), dtype=np.float32)


def main() -> None:
    """Print how long filling and searching take."""
    generator = np.random.default_rng(1)
    vocabulary = np.array([f"w{n}" for n in range(50_000)])
    drawn = np.minimum(generator.zipf(1.3, (TEXTS, 20)), len(vocabulary)) - 1
    texts = [" ".join(row) for row in vocabulary[drawn]]
    context.INDEXED_AT_ONCE = 20_000  # filling is not what is measured
    context.load_embedder = embedders.load_embedder = lambda name: Random()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WFKERNEL_KEY_FILE"] = f"{folder}/key"
        store = Store(Path(folder) / "store.duckdb")
        begun = time.perf_counter()
        store.context.add([ContextRow(str(n), "note", text, meta={"n": n % 10}) for n, text in enumerate(texts)])
        store.context.search("w1", 1)
        print(f"{TEXTS:,} texts added and indexed in {time.perf_counter() - begun:.1f} s")
        length = statistics.mean(map(len, texts))
        print(f"hybrid    top 10, first asked: {_median(store):6.0f} ms (texts of {length:.0f} characters)")
        for mode in context.MODES:
            print(f"{mode:<9} top 10: {_median(store, mode=mode):6.0f} ms")
        _median(store, where={"n": 3})
        print(f"hybrid, where n = 3: {_median(store, where={'n': 3}):6.0f} ms")
        vector = Random().embed(["x"])[0].tolist()
        sql = f"SELECT digest FROM wf.context_vectors ORDER BY array_inner_product(vector, {vector}::FLOAT[{DIMENSION}]) DESC LIMIT 10"
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            store.query(sql)
            times.append(time.perf_counter() - begun)
        print(f"comparing the vectors alone: {statistics.median(times) * 1e3:6.0f} ms")
        store.close()


def _median(store: Store, **options: object) -> float:
    times = []
    for n in range(ROUNDS):
        begun = time.perf_counter()
        found = store.context.search(f"w{n + 5} w{n * 40 + 60} w{n * 500 + 900}", 10, **options)
        times.append(time.perf_counter() - begun)
        assert found
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    main()
