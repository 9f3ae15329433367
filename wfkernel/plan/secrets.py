"""Which fields of data are secret, told by their JSON schema: ``format: password`` or ``writeOnly``, what pydantic makes of
`SecretStr` and its kin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["MASK", "has_secrets", "masked"]

MASK: Final = "**********"
"""What is shown of a secret, the same as pydantic shows."""


def masked(data: Any, schema: Mapping[str, Any]) -> Any:
    """`data` without its secrets. Where alternatives of the schema disagree, a value counts as secret."""
    return _masked(data, [schema], schema) if has_secrets(schema) else data


def has_secrets(schema: Any) -> bool:
    """Whether any field of a JSON schema is secret."""
    if isinstance(schema, list):
        return any(map(has_secrets, schema))
    return isinstance(schema, dict) and (_is_secret_field(schema) or any(map(has_secrets, schema.values())))


def _is_secret_field(schema: Mapping[str, Any]) -> bool:
    return schema.get("format") == "password" or schema.get("writeOnly") is True


def _masked(data: Any, parts: list[Any], root: Mapping[str, Any]) -> Any:
    """`parts` are the schemas that may describe `data`."""
    schemas = list(_alternatives(parts, root, set()))
    if data is not None and any(map(_is_secret_field, schemas)):
        return MASK
    if isinstance(data, dict):
        return {key: _masked(item, [*_of_key(schemas, key)], root) for key, item in data.items()}
    if isinstance(data, list):
        return [_masked(item, [*_of_item(schemas, n)], root) for n, item in enumerate(data)]
    return data


def _alternatives(parts: list[Any], root: Mapping[str, Any], seen: set[int]) -> Iterator[dict[str, Any]]:
    """The schemas with references followed and alternatives side by side."""
    for part in parts:
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        name = part.get("$ref", "").rpartition("/")[2]
        below = [root.get("$defs", {}).get(name), *(part.get("definitions", {}).values() if not name else ())]
        for word in ("anyOf", "oneOf", "allOf"):
            below += part.get(word, [])
        yield from _alternatives([*below, part.get("if"), part.get("then"), part.get("else")], root, seen)


def _of_key(schemas: list[dict[str, Any]], key: str) -> Iterator[Any]:
    for schema in schemas:
        properties = schema.get("properties", {})
        if key in properties:
            yield properties[key]
        else:
            yield from schema.get("patternProperties", {}).values()
            yield schema.get("additionalProperties")


def _of_item(schemas: list[dict[str, Any]], number: int) -> Iterator[Any]:
    for schema in schemas:
        first = schema.get("prefixItems", [])
        yield first[number] if number < len(first) else schema.get("items")
