"""A type as something values are checked against.

pydantic does the work: models, dataclasses, `TypedDict`s, unions, containers and everything else it knows are validated
and converted, defaults included. A class pydantic knows nothing about is accepted by `isinstance`. What does not fit is
told as (path, message) pairs, one per problem.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import DefinitionError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["Misfit", "Shape", "is_model", "problem_list"]

_PLAIN: Final = (str, int, float, bool, bytes)


class Misfit(Exception):
    """A value does not fit a shape. `problems` holds (path, message) pairs; the path of the value itself is empty."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__(problems)

    def __str__(self) -> str:
        return problem_list(self.problems)


def problem_list(problems: list[tuple[str, str]]) -> str:
    """(path, message) pairs as lines for people; the path of the value itself is empty."""
    return "\n".join(f"- {path}: {message}" if path else f"- {message}" for path, message in problems)


def is_model(kind: Any) -> bool:
    """Whether `kind` is a pydantic model class."""
    return isinstance(kind, type) and hasattr(kind, "model_fields") and hasattr(kind, "model_validate")


class Shape:
    """Checks values against `kind`, a type annotation. Building the validator waits until the first check."""

    __slots__ = ("_adapter", "_as_it_is", "_digest", "accepts_anything", "kind")

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        # A model without fields means "an object of any kind": what comes in is passed on as it is.
        self.accepts_anything = kind is Any or kind is object or (is_model(kind) and not kind.model_fields)
        self._as_it_is = kind if kind in _PLAIN else None
        """Values of exactly this type fit, and stay as they are."""
        self._adapter: TypeAdapter[Any] | None = None
        self._digest = ""

    def __str__(self) -> str:
        return getattr(self.kind, "__name__", None) or str(self.kind)

    def check(self, value: Any) -> Any:
        """`value` validated and converted. Raises `Misfit`."""
        if self.accepts_anything or type(value) is self._as_it_is:
            return value
        from pydantic import ValidationError

        adapter = self._adapter
        if adapter is None:
            adapter = self._adapter = _make_adapter(self.kind)
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            raise Misfit([(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]) from None

    def schema(self) -> dict[str, Any]:
        """JSON schema of the shape; empty where there is none (arbitrary classes)."""
        from pydantic import PydanticUserError

        if self.accepts_anything:
            return {}
        try:
            return _make_adapter(self.kind).json_schema()
        except PydanticUserError:
            return {}

    def fields(self) -> Mapping[str, Any]:
        """Fields of a model or of a `TypedDict` by their names; empty for other types."""
        if is_model(self.kind):
            return self.kind.model_fields  # type: ignore[no-any-return]
        typed = isinstance(self.kind, type) and issubclass(self.kind, dict)
        return getattr(self.kind, "__annotations__", {}) if typed else {}

    def digest(self) -> str:
        """Changes when a field does: its name, its type, its default; in models inside it too. 16 characters."""
        if not self._digest:
            told = json.dumps(_bare(self.schema()) or str(self.fields()), sort_keys=True, default=str)
            self._digest = hashlib.blake2b(told.encode("utf-8", "replace"), digest_size=8).hexdigest()
        return self._digest


def _bare(schema: Any) -> Any:
    """A JSON schema without what is said in it for people."""
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {k: _bare(v) for k, v in schema.items() if not (k in ("description", "title") and isinstance(v, str))}


def _make_adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import (
        ConfigDict,
        PydanticSchemaGenerationError,
        PydanticUndefinedAnnotation,
        PydanticUserError,
        TypeAdapter,
    )

    try:
        try:
            return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            return TypeAdapter(kind)  # models, dataclasses and TypedDicts bring a configuration of their own
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError) as error:
        raise DefinitionError(f"{kind!r} cannot be used as a type to validate: {str(error).splitlines()[0]}") from None
