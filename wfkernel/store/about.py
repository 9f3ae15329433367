"""A few words about a value, for people and for search: what a record of a saved value is remembered by.

Only what is cheap and harmless is looked at: the shape and columns of a frame, the shape of an array, the `repr` of
dataclasses, pydantic models and scikit-learn estimators. The `repr` of other objects may query a database or compute
for minutes, so those are remembered by their type alone. Values that are plain JSON are rendered from the record later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from wfkernel.engine.redaction import is_secret_name
from wfkernel.plan.secrets import MASK
from wfkernel.store.arrays import is_array
from wfkernel.store.frames import is_frame

__all__ = ["TEXT_LENGTH", "about", "render_json"]

TEXT_LENGTH: Final = 600
"""Characters kept of one value."""
_COLUMNS: Final = 60
_NAMED: Final = (dict, list, tuple, set, frozenset, str, bytes)


def about(value: Any) -> str:
    """What can be said about `value` in a line, or "" where its type says it all."""
    if is_frame(value):
        return _about_frame(value)
    if is_array(value):
        return f"{value.dtype} array of {' x '.join(map(str, value.shape)) or 'one value'}"
    if isinstance(value, _NAMED):
        return render_json(value) if len(value) else ""
    if _tells_itself(value):
        try:
            text = repr(value)
        except Exception:  # the class's own mistake; the value is saved all the same
            return ""
        return _shortened(" ".join(text.split()))
    return ""


def render_json(value: Any, length: int = TEXT_LENGTH) -> str:
    """Nested lists and dicts as readable text of at most about `length` characters; stops looking when it has enough.

    Texts under the names of secrets are left out.
    """
    parts: list[str] = []
    left = length
    for part in _pieces(value):
        parts.append(part)
        left -= len(part)
        if left <= 0:
            break
    return _shortened("".join(parts), length)


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for number, (key, member) in enumerate(value.items()):
            yield f"{', ' if number else ''}{str(key)[:TEXT_LENGTH]}: "
            yield from _pieces(MASK if isinstance(member, str) and is_secret_name(str(key)) else member)
    elif isinstance(value, list | tuple | set | frozenset):
        yield "["
        for number, member in enumerate(value):
            if number:
                yield ", "
            yield from _pieces(member)
        yield "]"
    elif isinstance(value, str):
        yield value[: TEXT_LENGTH + 1]
    elif isinstance(value, bytes):
        yield f"{len(value)} bytes"
    elif value is None or isinstance(value, bool | int | float):
        yield str(value)
    else:
        yield type(value).__name__


def _about_frame(value: Any) -> str:
    names = getattr(value, "columns", None)
    if type(value).__module__.startswith("pyarrow"):
        names = value.schema.names
    if names is None:  # a series
        return f"{len(value):,} values of {value.dtype}" + (f", named {value.name}" if value.name else "")
    columns = [str(name) for name in names]
    shown = ", ".join(columns[:_COLUMNS]) + (", ..." if len(columns) > _COLUMNS else "")
    rows = value.num_rows if hasattr(value, "num_rows") else len(value)
    return f"{rows:,} rows x {len(columns)} columns: {shown}"[: 2 * TEXT_LENGTH]


def _tells_itself(value: Any) -> bool:
    kind = type(value)
    if "__dataclass_fields__" in vars(kind) or "__pydantic_fields__" in vars(kind):
        return True
    # Another thread may be just importing it: then the module is there and the class is not yet.
    estimator = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    return estimator is not None and isinstance(value, estimator)


def _shortened(text: str, length: int = TEXT_LENGTH) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
