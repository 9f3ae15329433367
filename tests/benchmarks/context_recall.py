"""How often context search finds the right one of several hundred texts: recall@5 of words, vectors and both.

Prints the share of questions whose text is among the first five results, for each ranking alone, for the hybrid, and for the
hybrid without its second look (`one look`: how it is where the encoder cannot be installed), by the kind of text. The texts and
their questions are described in `context_texts`.

The numbers that say how words and vectors are merged (`wfkernel.store.ranking`, `weight_of`) and what is looked at again
(`wfkernel.store.second_look`) were chosen on one half of the questions. The figures to quote are those of the other half, which comes first; every question searches all texts. The
halves are told apart by a hash of the question. Below each table stands how many questions only the hybrid answers and how
many only words do: the difference of two shares says little when both numbers are large.

On that half the second look finds 0.68 -> 0.775 of the texts. With 50 texts instead of 75 it finds 0.764, with 100 to 150 0.773;
with 64 tokens of each instead of 128 0.750, with 256 0.768. The encoder at all texts finds 0.782. Adding the averaged vectors to
its cosine, other weights between 0.55 and 0.75, and names taken apart for it moved nothing upwards.

Tried with the default embedder and not kept, for its hybrid's recall (one look) moved by 0.03 or less on the half for choosing: weights
of tokens by rank or document frequency (SIF), taking away common components ("all but the top"), whitening, the best passage
of a text instead of its mean, late interaction (the best cosine of each asked word), pairs of adjacent words, letter n-grams,
the docs of exception classes added to errors, token vectors fitted to a sentence encoder's, and pseudo-relevance feedback
(Rocchio, RM3: 0.03 in its best setting, at the cost of the first place). BM25 with soft counts of similar words gained 0.03
there and lost as much on the half kept apart. Several of these made the vectors better alone: in what BM25 finds anyway.

    python tests/benchmarks/context_recall.py [EMBEDDER]
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.context_texts import Labelled, labelled
from wfkernel.store import second_look
from wfkernel.store.context import MODES, Mode
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
        hits = {mode: _found(store, texts, mode) for mode in MODES}
        with patch.object(second_look, "understood", lambda question, embedder: None):
            hits["one look"] = _found(store, texts, "hybrid")
        store.close()
    _print(f"recall@{K}, the half kept apart", [one for one in texts if not _tuned_on(one)], hits)
    _print(f"recall@{K}, all", texts, hits)


def _found(store: Store, texts: list[Labelled], mode: Mode) -> set[Labelled]:
    results = ((one, store.context.search(one.question, K, mode=mode)) for one in texts)
    return {one for one, found in results if any(result.text == one.text for result in found)}


def _tuned_on(one: Labelled) -> bool:
    return hashlib.blake2b(one.question.encode(), digest_size=8).digest()[0] % 2 == 0


def _print(title: str, asked: list[Labelled], hits: dict[str, set[Labelled]]) -> None:
    print(f"{title:<32}{'questions':>10}" + "".join(f"{way:>10}" for way in hits))
    for kind in [*dict.fromkeys(one.kind for one in asked), "all"]:
        of_kind = {one for one in asked if kind in (one.kind, "all")}
        shares = [len(found & of_kind) / len(of_kind) for found in hits.values()]
        print(f"{kind:<32}{len(of_kind):>10}" + "".join(f"{share:>10.3f}" for share in shares))
    only = [len((hits[one] - hits[other]) & set(asked)) for one, other in (("hybrid", "words"), ("words", "hybrid"))]
    print(f"found only by the hybrid: {only[0]}, only by words: {only[1]}\n")


if __name__ == "__main__":
    main()
