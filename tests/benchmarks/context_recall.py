"""How often context search finds the right one of several hundred texts: recall@5 of words, vectors and both.

Prints the share of questions whose text is among the first five results, for each ranking alone and for the hybrid, by the
kind of text. The texts and their questions are described in `context_texts`.

    python tests/benchmarks/context_recall.py [EMBEDDER]
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.context_texts import labelled
from wfkernel.store.context import MODES
from wfkernel.store.context_text import ContextRow
from wfkernel.store.store import Store

K = 5


def main() -> None:
    """Print the table."""
    texts = labelled()
    sizes = Counter(one.kind for one in texts)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WFKERNEL_KEY_FILE"] = f"{folder}/key"
        store = Store(Path(folder) / "store.duckdb")
        if len(sys.argv) > 1:
            print("embedder", store.context.reindex(sys.argv[1]))
        store.context.add([ContextRow(str(n), one.kind, one.text) for n, one in enumerate(texts)])
        hits = {mode: Counter() for mode in MODES}
        for mode in MODES:
            for one in texts:
                found = store.context.search(one.question, K, mode=mode)
                hits[mode][one.kind] += any(result.text == one.text for result in found)
        store.close()
    print(f"{'recall@5':<12}{'texts':>7}" + "".join(f"{mode:>10}" for mode in MODES))
    for kind, size in [*sizes.items(), ("all", len(texts))]:
        shares = [(hits[mode].total() if kind == "all" else hits[mode][kind]) / size for mode in MODES]
        print(f"{kind:<12}{size:>7}" + "".join(f"{share:>10.3f}" for share in shares))


if __name__ == "__main__":
    main()
