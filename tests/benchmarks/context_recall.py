"""How often context search finds the right one of several hundred texts: recall@5 of words, vectors and both.

Prints the share of questions whose text is among the first five results, for each ranking alone and for the hybrid, by the
kind of text. The texts and their questions are described in `context_texts`.

The numbers that say how words and vectors are merged (`wfkernel.store.ranking`, `weight_of`) were chosen on one half of the
questions. The figures to quote are those of the other half, which comes first; every question searches all texts. The
halves are told apart by a hash of the question.

    python tests/benchmarks/context_recall.py [EMBEDDER]
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.context_texts import Labelled, labelled
from wfkernel.store.context import MODES
from wfkernel.store.context_text import ContextRow
from wfkernel.store.store import Store

K = 5


def main() -> None:
    """Print the tables."""
    texts = labelled()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WFKERNEL_KEY_FILE"] = f"{folder}/key"
        store = Store(Path(folder) / "store.duckdb")
        if len(sys.argv) > 1:
            print("embedder", store.context.reindex(sys.argv[1]))
        store.context.add([ContextRow(str(n), one.kind, one.text) for n, one in enumerate(texts)])
        hits: dict[str, set[Labelled]] = {mode: set() for mode in MODES}
        for mode in MODES:
            for one in texts:
                found = store.context.search(one.question, K, mode=mode)
                if any(result.text == one.text for result in found):
                    hits[mode].add(one)
        store.close()
    _print(f"recall@{K}, the half kept apart", [one for one in texts if not _tuned_on(one)], hits)
    _print(f"recall@{K}, all", texts, hits)


def _tuned_on(one: Labelled) -> bool:
    return hashlib.blake2b(one.question.encode(), digest_size=8).digest()[0] % 2 == 0


def _print(title: str, asked: list[Labelled], hits: dict[str, set[Labelled]]) -> None:
    print(f"{title:<32}{'questions':>10}" + "".join(f"{mode:>10}" for mode in MODES))
    for kind in [*dict.fromkeys(one.kind for one in asked), "all"]:
        of_kind = {one for one in asked if kind in (one.kind, "all")}
        shares = [len(hits[mode] & of_kind) / len(of_kind) for mode in MODES]
        print(f"{kind:<32}{len(of_kind):>10}" + "".join(f"{share:>10.3f}" for share in shares))


if __name__ == "__main__":
    main()
