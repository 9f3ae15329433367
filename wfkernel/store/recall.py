"""`remember` and `search`: the store's texts for code that has no store in its hands.

In a step, `remember` writes an event of the step's run. Elsewhere the text goes straight into the store: the notebook's, or
the one of the current folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wfkernel.engine.context import current_step
from wfkernel.store.store import open_store

if TYPE_CHECKING:
    from wfkernel.store.context import Mode, Results
    from wfkernel.store.store import Store

__all__ = ["remember", "search", "work_in"]

_surroundings: Callable[[], tuple[Store, str | None]] | None = None


def work_in(surroundings: Callable[[], tuple[Store, str | None]] | None) -> None:
    """Say what tells the store and the run code outside steps works with; a notebook session does."""
    global _surroundings
    _surroundings = surroundings


def remember(text: str, **meta: Any) -> None:
    """Keep a text so that `search` finds it, in this run or another.

    Args:
        text: anything worth finding again: a decision, a remedy, a remark about the data.
        meta: JSON-safe details to filter by. `kind` sets the kind of the text, ``note`` without it.

    Raises:
        DefinitionError: the text is empty or the details are not JSON-safe.
    """
    step = current_step()
    if step is not None:
        step.remember(text, meta)
        return
    store, run_id = _here()
    store.context.remember(text, meta, run_id)


def search(
    text: str,
    k: int = 5,
    where: str | Mapping[str, Any] | None = None,
    session: str | None = None,
    *,
    run: str | None = None,
    kind: str | Sequence[str] | None = None,
    mode: Mode = "hybrid",
    store: Store | None = None,
) -> Results:
    """The texts that fit `text` best: docs, inputs, outputs and errors of steps, remembered texts, notebook prose.

    Ranked by meaning (cosine of embeddings) and by words (BM25); how both are merged: `wfkernel.store.ranking`. A sentence
    encoder orders the best of them (`wfkernel.store.second_look`): a text it has not seen before takes it some milliseconds.

    Args:
        text: what to look for, in your own words.
        k: how many results at most.
        where: a condition in SQL over the columns of the view `context`, as ``"kind = 'error' AND meta->>'topic' = 'x'"``,
            or a dict: a column's or a `meta` key's value, or a list of alternatives.
        session, run, kind: only texts of this session, run (its id, the beginning of it, or ``latest``), kind (or one of
            several kinds).
        mode: ``hybrid``, or one ranking alone, as it is: ``vectors`` or ``words``.
        store: the store to search; the notebook's or the current folder's by default.

    Raises:
        DefinitionError: nothing to search for, or a condition that is none. RunNotFound: there is no such run.
        EmbedderError: the embedder does not work, or is not the one the store was filled with.
    """
    chosen = store or _here()[0]
    run = None if run is None else chosen.find(run)
    return chosen.context.search(text, k, where, session, run=run, kind=kind, mode=mode)


def _here() -> tuple[Store, str | None]:
    return _surroundings() if _surroundings is not None else (open_store(), None)
