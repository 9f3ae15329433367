"""Ranking texts by words, and merging rankings. Pure functions and SQL text; no library, no state.

Words are ranked by BM25 (Robertson and Zaragoza, 2009, "The Probabilistic Relevance Framework: BM25 and Beyond") over an
inverted table. DuckDB's full-text extension is not used: its index cannot be added to, only be built anew, and it is not
part of DuckDB's wheel. Rankings are merged by reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009), which
needs only the places, so scores of different kinds need not be made comparable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

__all__ = ["BM25", "fuse", "word_counts", "words"]

_TOKEN: Final = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_RRF: Final = 60
"""The constant of the paper: how little the very first places count above the next ones."""

BM25: Final = """
WITH asked AS (SELECT DISTINCT unnest($terms) AS term),
     hits AS (SELECT t.digest, t.term, t.uses FROM wf.context_terms t SEMI JOIN asked USING (term)),
     spread AS (SELECT term, count(*) AS texts FROM hits GROUP BY term),
     all_texts AS (SELECT count(*) AS texts, avg(words) AS words FROM wf.context_indexed)
SELECT h.digest,
       sum(ln(1 + (a.texts - s.texts + 0.5) / (s.texts + 0.5))
           * h.uses * 2.2 / (h.uses + 1.2 * (0.25 + 0.75 * i.words / a.words))) AS score
FROM hits h JOIN spread s USING (term) JOIN wf.context_indexed i USING (digest), all_texts a
{filter}
GROUP BY h.digest ORDER BY score DESC, h.digest LIMIT $depth
"""
"""With the usual k1 = 1.2 and b = 0.75. Parameters: `terms`, `depth`; the place ``{filter}`` for a condition on `h`."""


def words(text: str) -> list[str]:
    """The words of a text, lower case. A name like ``readCsv`` or ``read_csv`` counts as a whole and in its parts."""
    found: list[str] = []
    for token in _TOKEN.findall(text):
        whole = token.lower()
        found.append(whole)
        parts = _PART.findall(token)
        if len(parts) > 1:
            found += [part.lower() for part in parts]
    return found


def word_counts(text: str) -> Counter[str]:
    """How often each word occurs."""
    return Counter(words(text))


def fuse(*rankings: Sequence[str]) -> list[tuple[str, float]]:
    """Merge rankings (each best first) by reciprocal rank fusion; best first, with the fused score."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (_RRF + place)
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
