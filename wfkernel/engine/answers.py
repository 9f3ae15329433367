"""Answers to suspended steps: checking one, and those given beforehand by the settings, for runs nobody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wfkernel.errors import AnswerInvalid

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["prepared_answers", "validate_answer"]


def validate_answer(path: str, model: type[BaseModel] | None, data: Any) -> Any:
    """`data` as an instance of `model`. Raises `AnswerInvalid` naming every field that does not fit."""
    if model is None:
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
