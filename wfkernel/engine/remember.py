"""What runs leave behind to be found later: texts a step remembers, the docs of workflows and steps, what a file is for.

The store renders inputs, outputs and errors by itself (`wfkernel.store.context_text`). A doc is in no event, so
it goes along with the first start of the step, or of a run of the workflow, that this process writes to a store.
"""

from __future__ import annotations

from typing import Any, Final

from wfkernel.errors import DefinitionError

__all__ = ["context_flag", "doc_once", "is_on", "remembered", "template_once"]

_DOC_LENGTH: Final = 1_500
_TEMPLATE: Final = "/template"
"""Stands where the step stands of a doc; no step is called so."""
_told: set[tuple[str, str, str, str]] = set()


def is_on() -> bool:
    """Whether runs of this process leave texts behind by themselves: the setting `context`."""
    from wfkernel.settings import settings

    return settings().context


def context_flag() -> dict[str, Any]:
    """What the start of a run says about it: nothing, unless no texts are to be made from the run."""
    return {} if is_on() else {"context": False}


def doc_once(owner: str, workflow: str, step: str, doc: str) -> dict[str, Any]:
    """The part of a start's payload that carries the doc of a step (of the workflow: ""), unless this writer told it before."""
    if not _is_news(owner, workflow, step, doc):
        return {}
    return {"doc": {"workflow": workflow, "step": step, "text": doc[:_DOC_LENGTH]}}


def template_once(owner: str, workflow: str, text: str) -> dict[str, Any]:
    """The part of a run's start that says what its workflow file is a template for, unless this writer told it before."""
    return {"template": text[:_DOC_LENGTH]} if _is_news(owner, workflow, _TEMPLATE, text) else {}


def _is_news(owner: str, workflow: str, what: str, text: str) -> bool:
    """Whether there is a text that this writer has to tell, which it has told then."""
    if not text or (known := (owner, workflow, what, text)) in _told or not is_on():
        return False
    _told.add(known)
    return True


def remembered(text: str, meta: dict[str, Any]) -> dict[str, Any]:
    """The payload of a `context.remember` event. Raises `DefinitionError` for what cannot be remembered."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    if not isinstance(text, str) or not text.strip():
        raise DefinitionError(f"remember() takes a text with words in it, not {text!r}")
    meta = dict(meta)
    kind = meta.pop("kind", "note")
    if not isinstance(kind, str) or not kind:
        raise DefinitionError(f"remember(): kind is a word, not {kind!r}")
    try:
        return {"text": text.strip(), "kind": kind, "meta": to_jsonable_python(meta)}
    except PydanticSerializationError as error:
        raise DefinitionError(f"remember(): what is said about the text is not JSON-safe: {error}") from None
