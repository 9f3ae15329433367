"""Stored values against a model that may have changed since they were written.

Values count by their content: an instance of the model inside another as it was then is not one of today's class. A key the
model does not know is told as a problem, at any depth, since pydantic would pass it over in silence; unless the model itself
knows what to do with it (an alias, a validator), which shows in a field it sets that was not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wfkernel.plan.shape import Misfit, Shape, is_model

__all__ = ["refitted"]

Problem = tuple[str, str]


def refitted(shape: Shape, stored: Mapping[str, Any], declared: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The fields of today's model for the `stored` values, defaults included, and what does not fit: (path, message).

    `declared` are the names that were fields when the values were written; others the model does not know are passed over.
    """
    fields = shape.fields()
    given = {n: _content(value) for n, value in stored.items() if n in fields or n in declared or not fields}
    if is_model(shape.kind):
        given = _input_names(shape.kind, given)
    try:
        fitting = shape.check(given)
    except Misfit as misfit:
        told = {path for path, _ in misfit.problems}
        known = {*fields, *(name for field in fields.values() for name in _input_names_of(field))}
        lost = [n for n in given if fields and n not in known and n not in told and not _takes_all(shape.kind)]
        return {}, [(name, _no_field(shape)) for name in lost] + misfit.problems
    values = {name: getattr(fitting, name) for name in fields} if is_model(shape.kind) else dict(fitting)
    return values, _dropped(given, fitting, "", fields)


def _dropped(given: Any, kept: Any, at: str, fields: Mapping[str, Any]) -> list[Problem]:
    """What `kept` was not made of, though it was `given`."""
    found: list[Problem] = []
    kind = type(kept)
    if is_model(kind) and isinstance(given, dict):
        names = {_input_name(field) or name: name for name, field in kind.model_fields.items()}
        unknown = [] if _takes_all(kind) else [key for key in given if key not in names]
        if not kept.model_fields_set - {names.get(key) for key in given}:
            found += [(f"{at}{key}", _no_field(kind.__name__)) for key in unknown]
        pairs = [(key, given[key], getattr(kept, names[key])) for key in given if key in names]
    elif isinstance(kept, dict) and isinstance(given, dict):
        found += [(f"{at}{key}", _no_field("the state")) for key in given if fields and key not in fields]
        pairs = [(key, value, kept[key]) for key, value in given.items() if key in kept]
    elif isinstance(kept, list | tuple) and isinstance(given, list) and len(kept) == len(given):
        pairs = [(str(n), *pair) for n, pair in enumerate(zip(given, kept, strict=True))]
    else:
        pairs = []
    for key, value, held in pairs:
        found += _dropped(value, held, f"{at}{key}.", {})
    return found


def _content(value: Any) -> Any:
    """The value without the classes of models in it: what a model would be made of."""
    kind = type(value)
    if is_model(kind):
        held = {n: _content(v) for n, v in vars(value).items() if n in kind.model_fields or not hasattr(kind, n)}
        return _input_names(kind, held)  # without what a cached property keeps there
    if kind is dict:
        return {key: _content(item) for key, item in value.items()}
    return [_content(item) for item in value] if kind in (list, tuple, set, frozenset) else value


def _input_names(model: Any, values: dict[str, Any]) -> dict[str, Any]:
    fields = model.model_fields
    return {(_input_name(fields[name]) if name in fields else "") or name: value for name, value in values.items()}


def _input_name(field: Any) -> str:
    """The alias a model takes the field by in its input; empty where it is the field's own name."""
    return next(iter(_input_names_of(field)), "")


def _input_names_of(field: Any) -> list[str]:
    alias = getattr(field, "validation_alias", None)
    return [name for name in getattr(alias, "choices", [alias]) if isinstance(name, str)]


def _takes_all(model: Any) -> bool:
    return getattr(model, "model_config", {}).get("extra") == "allow"


def _no_field(whose: object) -> str:
    return f"{whose} has no such field"
