"""Ranking texts by words and by meaning: the words of a text, and the SQL that scores.

Words are scored by BM25 (Robertson and Zaragoza, 2009, "The Probabilistic Relevance Framework: BM25 and Beyond") over an
inverted table, after Porter's English stemmer. DuckDB's full-text extension is not used: its index cannot be added to, only
be built anew, and it is not part of DuckDB's wheel.

Both scores are merged as a convex combination after each was divided by the highest value it could have: cosine by 1, BM25
by what a text would get that is made of the asked words alone (Bruch, Gai and Ingber, ACM TOIS 2023, "An Analysis of Fusion
Functions for Hybrid Retrieval"). Reciprocal rank fusion, the other usual way, looks at places only: it gives the best of a
bad ranking as much as the best of a good one, and found less (tests/benchmarks/context_recall.py).

What counts of a cosine is how far it is above the one the question has with the store's texts on average. Some encoders give
any two texts 0.8. The average is taken as if twenty more texts had a cosine of 0: of a few texts it says little.

How much the cosine counts is the embedder's own weight: averages of word vectors know less than BM25 does, a sentence
encoder knows more (`wfkernel.store.embedders.weight_of`). Where a sentence encoder looks at the best of what was found
(`wfkernel.store.second_look`), those are ranked anew in the same way, with its cosine.

Where the cosine counts, a short text gets a little more than a long one: BM25 allows for length itself, and a long text,
which is about many things, is near every question.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from functools import lru_cache
from typing import Any, Final

__all__ = ["BY_WORDS", "HYBRID", "again", "by_vectors", "term_counts", "term_number", "words"]

_TOKEN: Final = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_UNSPACED: Final = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]{3,}")
"""Thai, Japanese, Chinese, Korean: words that no blanks part."""
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")

BY_WORDS: Final = """
by_words AS MATERIALIZED (
    WITH asked AS (SELECT DISTINCT unnest([{terms}]::UBIGINT[]) AS term),
         hits AS (SELECT * FROM wf.context_terms WHERE term IN ({terms})),
         every AS (SELECT count(*) AS texts, avg(words) AS words FROM wf.context_indexed),
         weights AS (SELECT a.term, ln(1 + (any_value(e.texts) - count(h.digest) + 0.5) / (count(h.digest) + 0.5)) AS weight
                     FROM asked a LEFT JOIN hits h USING (term), every e GROUP BY a.term)
    SELECT h.digest,
           sum(w.weight * h.uses / (h.uses + 1.2 * (0.25 + 0.75 * i.words / e.words)))
               / (SELECT sum(weight) FROM weights) AS score
    FROM hits h JOIN weights w USING (term) JOIN wf.context_indexed i USING (digest), every e GROUP BY h.digest)
"""
"""BM25 with the usual k1 = 1.2 and b = 0.75, divided by its upper bound: from 0 to 1.

The place ``{terms}`` is for `term_number`s: a list of literals is compared six times faster than a parameter.
"""

HYBRID: Final = """
hybrid AS (
    WITH usual AS (SELECT avg(words) AS words, (SELECT greatest(sum(score) / (count(*) + 20), 0) FROM by_vectors) AS cosine
                   FROM wf.context_indexed)
    SELECT digest,
           CASE WHEN w.score > 0 OR v.score > 0
                THEN ((1 - $weight) * coalesce(w.score, 0)
                      + $weight * (greatest((v.score - u.cosine) / (1 - u.cosine), 0) + 0.2 * u.words / (u.words + i.words)))
                     / (1 + 0.2 * $weight)
                ELSE 0 END AS score
    FROM ((SELECT digest FROM by_words {wanted} ORDER BY score DESC, digest LIMIT $depth)
          UNION (SELECT digest FROM by_vectors {wanted} ORDER BY score DESC, digest LIMIT $depth))
    LEFT JOIN by_words w USING (digest) JOIN by_vectors v USING (digest) JOIN wf.context_indexed i USING (digest), usual u)
"""
"""Both, for the best of each, from 0 to 1; a text that neither the words nor the vectors are for gets 0.

Parameters: `depth`, how many of them, and `weight`, how much the cosine counts; the place ``{wanted}`` is for a join that
leaves what the filters want.
"""

_AGAIN: Final = """
chosen AS MATERIALIZED (
    SELECT r[1] AS digest, r[2]::DOUBLE AS score, r[3]::DOUBLE AS words
    FROM (SELECT unnest(from_json($chosen, '[["VARCHAR"]]')) AS r)),
by_words AS MATERIALIZED (
    SELECT digest, words AS score FROM chosen ORDER BY chosen.score DESC, digest LIMIT $depth),
{by_vectors}, {hybrid},
again AS (
    SELECT digest, score FROM hybrid
    UNION ALL
    SELECT digest, score * coalesce((SELECT min(score) FROM hybrid WHERE score > 0), 1)
    FROM chosen ANTI JOIN by_words USING (digest))
"""


def by_vectors(table: str, dimension: int, among: str = "") -> str:
    """The ranking ``by_vectors``: the cosine, for vectors are stored with length one. Parameter: `asked`."""
    return f"""
by_vectors AS MATERIALIZED (
    SELECT digest, array_inner_product(vector, $asked::FLOAT[{dimension}]) AS score FROM wf.{table} {among})
"""


def again(table: str, dimension: int) -> str:
    """The ranking ``again``: the first `depth` of `chosen` by their words and the vectors of `table`, then the others.

    The others keep their order, with scores made small enough to stand behind. Parameters: `chosen`, a list of (digest, score,
    score of the words) as JSON, `depth`, `asked` and `weight`.
    """
    vectors = by_vectors(table, dimension, "SEMI JOIN by_words USING (digest)")
    return _AGAIN.format(by_vectors=vectors, hybrid=HYBRID.replace("{wanted}", ""))


def words(text: str) -> list[str]:
    """The stems of a text's words. A name like ``readCsv`` or ``read_csv`` counts as a whole and in its parts.

    Of writing without blanks every two characters count as well, as in Lucene's analyzer of Chinese, Japanese and Korean.
    """
    found: list[str] = []
    for token in _TOKEN.findall(text):
        found.append(_stem(token.lower()))
        parts = _PART.findall(token)
        if len(parts) > 1:
            found += [_stem(part.lower()) for part in parts]
        for run in _UNSPACED.findall(token):
            found += [run[at : at + 2] for at in range(len(run) - 1)]
    return found


def term_counts(text: str) -> Counter[int]:
    """How often each term occurs."""
    return Counter(map(term_number, words(text)))


@lru_cache(maxsize=50_000)
def term_number(word: str) -> int:
    """64 bits that stand for a word: the inverted table is read many times faster without texts in it."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "big")


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
