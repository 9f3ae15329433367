"""The `json` codec: values of exactly JSON's own Python types.

Exactly means that ``json.loads(json.dumps(value))`` is equal in type and value at every depth: None, bool, int, finite
float, str that is valid Unicode, list, and dict with str keys. A tuple, a subclass, a NumPy scalar, NaN, or a container
that appears twice (it would come back as two) is not plain.
"""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["plain_containers", "plain_text"]

_ATOMS: Final = frozenset({type(None), bool, int, float, str})
_CONTAINERS: Final = frozenset({list, dict})


def plain_containers(value: Any) -> set[int] | None:
    """The ids of all lists and dicts in `value`, or None if it is not plain."""
    seen: set[int] = set()
    if type(value) in _ATOMS:
        return seen
    waiting = [value]
    while waiting:
        container = waiting.pop()
        kind = type(container)
        if kind not in _CONTAINERS or id(container) in seen:
            return None
        seen.add(id(container))
        members = container
        if kind is dict:
            if set(map(type, container)) - {str}:
                return None
            members = container.values()
        if not set(map(type, members)) <= _ATOMS:
            waiting.extend(member for member in members if type(member) not in _ATOMS)
    return seen


def plain_text(value: Any) -> bytes | None:
    """The JSON of a value, or None for what JSON has no place for (NaN, lone surrogates, objects of other types, ...)."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
        return text.encode("utf-8")
    except (ValueError, TypeError, RecursionError):
        return None
