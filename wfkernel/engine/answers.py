"""Answers to suspended steps: checking one, keeping it, and those given beforehand by the settings, for runs nobody watches.

An answer with secret fields is stored twice in its event: ``data`` with the secrets masked, which is what every view, log
and export shows, and ``sealed``, the whole answer, which only this user's key opens and only for the step that asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union
from weakref import WeakKeyDictionary

from wfkernel.engine.sealed import is_secret, open_text, seal_text
from wfkernel.engine.values import jsonable
from wfkernel.errors import AnswerInvalid, DefinitionError, SecretUnreadable
from wfkernel.plan.secrets import masked
from wfkernel.plan.shape import is_model

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "Asked",
    "answer_event",
    "answer_schema",
    "checked_question",
    "kept_answer",
    "opened_answer",
    "plain_answer",
    "prepared_answers",
    "shown_answer",
    "validate_answer",
]

Asked: TypeAlias = Union["type[BaseModel]", Mapping[str, Any], None]
"""What a step asks for: a pydantic model, a JSON schema, or any JSON value."""

_SEALED: Final = "$wfkernel.sealed"
_schemas: WeakKeyDictionary[type[BaseModel], dict[str, Any]] = WeakKeyDictionary()
"""Making one takes pydantic as long as everything else a suspension does."""


def checked_question(path: str, model: Any) -> Asked:
    """`model`, if a step can ask for it. Raises `DefinitionError`."""
    if isinstance(model, Mapping):
        from wfkernel.plan.schema import problem_of_schema

        if problem := problem_of_schema(dict(model)):
            raise DefinitionError(f"suspend() in step '{path}': not a JSON schema: {problem}")
    elif model is not None and not is_model(model):
        raise DefinitionError(
            f"suspend() in step '{path}' takes a pydantic model class, a JSON schema or nothing, not {model!r}"
        )
    asked: Asked = model
    return asked


def answer_schema(model: Asked) -> dict[str, Any]:
    """What an answer has to look like, as JSON schema; empty when anything goes. Shared: not to be changed."""
    if model is None:
        return {}
    if isinstance(model, Mapping):
        return dict(model)
    if model not in _schemas:
        _schemas[model] = model.model_json_schema()
    return _schemas[model]


def answer_event(index: int, data: Any, by: str, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The payload of ``step.resumed``: the answer `data`, JSON-safe, to a question with this JSON schema."""
    shown = masked(data, schema or {})
    event = {"index": index, "data": shown, "by": by}
    return event if shown == data else {**event, "sealed": seal_text(json.dumps(data))}


def kept_answer(event: Mapping[str, Any]) -> Any:
    """What the state of a run keeps of a ``step.resumed`` payload."""
    return {_SEALED: event["sealed"], "shown": event["data"]} if "sealed" in event else event["data"]


def shown_answer(kept: Any) -> Any:
    """A kept answer for people to see."""
    return kept["shown"] if isinstance(kept, dict) and _SEALED in kept else kept


def opened_answer(path: str, kept: Any) -> Any:
    """A kept answer for the step at `path`, which asked for it. Raises `AnswerInvalid` where its secrets cannot be read."""
    if not (isinstance(kept, dict) and _SEALED in kept):
        return kept
    try:
        return json.loads(open_text(kept[_SEALED], "the answer"))
    except SecretUnreadable as error:
        raise AnswerInvalid(path, [("", str(error))]) from None


def plain_answer(data: Any) -> Any:
    """An answer as JSON-safe data, with the secrets of pydantic models in clear: to be sealed next."""

    def revealed(value: Any) -> Any:
        if is_secret(value):
            return revealed(value.get_secret_value())
        if is_model(type(value)):
            value = value.model_dump(by_alias=True)
        if isinstance(value, dict):
            return {key: revealed(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [revealed(item) for item in value]
        return value

    return jsonable(revealed(data))


def validate_answer(path: str, model: Asked, data: Any) -> Any:
    """`data` as an instance of `model`, as it is for a schema. Raises `AnswerInvalid` naming every field that does not fit."""
    if model is None:
        return data
    if isinstance(model, Mapping):
        from wfkernel.plan.schema import check_schema

        if found := check_schema(dict(model), data):
            raise AnswerInvalid(path, found)
        return data
    from pydantic import ValidationError

    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
        raise AnswerInvalid(path, problems) from None


def prepared_answers(path: str) -> list[Any]:
    """Answers for `path` given beforehand (the setting `answers`), for runs nobody watches."""
    from wfkernel.settings import settings

    given = settings().answers.get(path, [])
    return given if isinstance(given, list) else [given]
