"""Values in events: Python objects while a run lives, records where it is stored.

Steps pass Python objects to each other, and a run in memory never encodes anything. When a run has a store, the fields of
an event that hold values are turned into records by the store's `Codec` as the event is written; a state folded from
stored events holds the records, and `reveal` opens one when somebody needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

from wfkernel.engine import events as ev
from wfkernel.errors import ValueNotTrusted, ValueUnreadable

__all__ = [
    "RECORD",
    "Codec",
    "jsonable",
    "reveal",
    "reveal_fields",
    "revealed_payload",
    "shown_value",
    "stored_payload",
    "stored_value",
]

RECORD: Final = "$wfkernel.value"
_SHORT: Final = 1_000
_LARGE: Final = 1 << 53
"""Beyond it not every reader of JSON tells neighbouring integers apart."""
_SHOWN: Final = ("type", "codec", "digest", "size", "why")


@runtime_checkable
class Codec(Protocol):
    """Turns a value into a JSON-safe record and back."""

    def encode(self, value: Any, *, durable: bool) -> dict[str, Any]: ...
    def decode(self, record: dict[str, Any]) -> Any: ...


def stored_value(value: Any, codec: Codec, durable: bool) -> Any:
    """The value as an event holds it: None, numbers, booleans and short texts as they are, everything else a record."""
    kind = type(value)
    if (
        value is None
        or kind is bool
        or (kind is int and -_LARGE < value < _LARGE)
        or (kind is str and len(value) <= _SHORT and value.isascii())
        or (kind is float and math.isfinite(value))
    ):
        return value
    return {RECORD: codec.encode(value, durable=durable)}


def _stored_values(values: dict[str, Any] | None, codec: Codec, durable: bool) -> dict[str, Any] | None:
    return {key: stored_value(value, codec, durable) for key, value in values.items()} if values else values


def _json_safe(value: Any, codec: Codec, durable: bool) -> Any:
    if value is None or isinstance(value, str | int | bool):
        return value
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=repr, inf_nan_mode="strings")


_FIELDS: Final[dict[str, tuple[tuple[str, Callable[[Any, Codec, bool], Any]], ...]]] = {
    ev.RUN_START: (("input", stored_value), ("function", stored_value), ("state", _stored_values)),
    ev.RUN_FINISH: (("result", stored_value),),
    ev.STEP_START: (("input", stored_value), ("called_with", stored_value)),
    ev.STEP_WAITING: (("input", stored_value),),
    ev.STEP_RESULT: (("output", stored_value), ("state", _stored_values)),
    ev.STEP_SUSPENDED: (("state", _stored_values),),
    ev.RUN_TRAVEL: (("given", _stored_values), ("state", _stored_values)),
    ev.RUN_ROLLBACK: (("state", _stored_values),),
    ev.RUN_MIGRATED: (("state", _stored_values), ("gained", _stored_values)),
    ev.STEP_OUTPUT: (("output", _json_safe),),
    ev.STEP_PROGRESS: (("output", _json_safe),),
    ev.STEP_CUSTOM: (("data", _json_safe),),
    ev.STATE_CONFLICT: (("values", _json_safe),),
}
"""Where the events of a type hold values of people's, and how each is stored."""


def stored_payload(type_: str, payload: dict[str, Any], codec: Codec, durable: bool) -> dict[str, Any]:
    """`payload` as it is stored: every value in it JSON, see `stored_value`."""
    stored = payload
    for name, how in _FIELDS.get(type_, ()):
        if name in payload:
            value = payload[name]
            kept = how(value, codec, durable)
            if kept is value:
                continue
            if stored is payload:
                stored = dict(payload)
            stored[name] = kept
            if how is stored_value and type_ == ev.STEP_RESULT and payload["status"] == "success":
                # Where stored values of steps are looked for: see the view `step_values`.
                shown = {field: kept[RECORD][field] for field in _SHOWN if field in kept[RECORD]}
                stored["outputs"] = [{"name": name, **shown}]
    return stored


def revealed_payload(type_: str, payload: dict[str, Any], codec: Codec | None) -> dict[str, Any]:
    """The inverse of `stored_payload`, for people who watch; a value that cannot be read here is the error that says so."""
    if codec is None:
        return payload
    shown = dict(payload)
    for name, how in _FIELDS.get(type_, ()):
        if name not in shown:
            continue
        if how is stored_value:
            shown[name] = shown_value(shown[name], codec)
        elif how is _stored_values and shown[name]:
            shown[name] = {key: shown_value(value, codec) for key, value in shown[name].items()}
    if type_ == ev.STEP_RESULT and payload["status"] == "success":
        shown.pop("outputs", None)
    return shown


def shown_value(value: Any, codec: Codec | None) -> Any:
    """The value; one that was not saved, or cannot be read here, is shown as the error that says why."""
    try:
        return reveal(value, codec)
    except (ValueUnreadable, ValueNotTrusted) as error:
        return error


def reveal(value: Any, codec: Codec | None) -> Any:
    """The Python object behind a field of a run's state."""
    if codec is not None and type(value) is dict and len(value) == 1 and RECORD in value:
        return codec.decode(value[RECORD])
    return value


def reveal_fields(values: dict[str, Any] | None, codec: Codec | None) -> dict[str, Any]:
    """Every value of a dict revealed."""
    return {key: reveal(value, codec) for key, value in (values or {}).items()}


def jsonable(value: Any) -> Any:
    """What JSON makes of the value, as pydantic does it; that is imported only for what is not JSON's own."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is bool or kind is float:
        return value
    if kind is list:
        return [jsonable(item) for item in value]
    if kind is dict and all(type(key) is str for key in value):
        return {key: jsonable(item) for key, item in value.items()}
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)
