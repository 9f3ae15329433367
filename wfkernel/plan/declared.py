"""The inputs a workflow file declares, as a type that validates: ``inputs: {month: {type: integer, default: 3}}``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, Strict, create_model
from pydantic_core import core_schema

from wfkernel.plan.document import InputField

__all__ = ["InputFields", "inputs_of", "inputs_type"]

_KINDS: Final[dict[str, Any]] = {
    "string": Annotated[str, Strict()], "integer": Annotated[int, Strict()], "number": float,
    "boolean": Annotated[bool, Strict()], "array": list[Any], "object": dict[str, Any], "any": Any,
}  # fmt: skip


@dataclass(frozen=True)
class InputFields:
    """Annotates a dict: its keys are the declared inputs, validated, with their defaults filled in."""

    declared: str
    """The declaration as JSON, so that equal declarations are equal types."""

    def fields(self) -> dict[str, Any]:
        """The declaration as it stands in a file."""
        found: dict[str, Any] = json.loads(self.declared)
        return found

    def model(self) -> type[BaseModel]:
        """A model of the inputs."""
        parts: dict[str, Any] = {}
        for name, told in self.fields().items():
            one = InputField.model_validate({"type": told} if isinstance(told, str) else told)
            kind = Literal[tuple(one.enum)] if one.enum else _KINDS[one.type]
            has_default = isinstance(told, dict) and "default" in told
            required = one.required if one.required is not None else not has_default
            if not required and one.default is None and kind is not Any:
                kind = kind | None
            field: Any = Field(
                ... if required else one.default, ge=one.minimum, le=one.maximum, pattern=one.pattern,
                description=one.description or None,
            )  # fmt: skip
            parts[name] = (kind, field)
        return create_model("inputs", __config__=ConfigDict(extra="forbid", protected_namespaces=()), **parts)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        fields = handler.generate_schema(self.model())
        checked = core_schema.no_info_before_validator_function(lambda value: {} if value is None else value, fields)
        return core_schema.no_info_after_validator_function(lambda model: model.model_dump(), checked)


def inputs_type(inputs: dict[str, Any]) -> Any:
    """The type of a declaration: what fits is a dict with every input in it."""
    plain = {
        name: told.model_dump(exclude_unset=True) if isinstance(told, InputField) else told
        for name, told in inputs.items()
    }
    return Annotated[dict[str, Any], InputFields(json.dumps(plain))]


def inputs_of(kind: Any) -> dict[str, Any] | None:
    """The declaration behind a type made by `inputs_type`, None for any other type."""
    found = next((m for m in getattr(kind, "__metadata__", ()) if isinstance(m, InputFields)), None)
    return found.fields() if found is not None else None
