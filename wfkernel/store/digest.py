"""Content digests: did this value change?

`digest_value` gives the same digest for equal content in any process (also under another hash seed), on another day,
and before and after a value was saved and restored. Identity plays no part: ``[x, x]`` and ``[x, copy(x)]`` agree.

A value is turned into a *token*: scalars into their type and bytes, containers into a hash over the tokens of their
members, sorted where order does not count for equality (dict, set). Frames and arrays are hashed as the bytes of
their Arrow or npy file, without writing one, so the digest of a saved frame is the checksum of its file. Functions,
classes and modules: see `wfkernel.store.code_digest`. Other objects are taken apart the way pickle does it
(``__reduce_ex__``), so an object counts as changed when its class or its state changed.

What cannot be taken apart (a lock, a connection, a generator) is *opaque*: only its type counts, and a change inside
goes unnoticed. So does the order of a dict's items. On the other hand a value can look changed when it is not: arrays
that differ only in memory order, pyarrow tables only in their chunks, after an upgrade of the library that makes them.
"""

from __future__ import annotations

import copyreg
import marshal
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

from xxhash import xxh3_128, xxh3_128_digest

from wfkernel.store.arrays import is_array, write_array
from wfkernel.store.code_digest import code_parts, type_name
from wfkernel.store.frames import Inexact, is_frame, write_frame

__all__ = ["digest_value"]

_SCALARS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
"""What marshal writes by type and content alone."""


def digest_value(value: Any) -> str:
    """The content digest of any object: 128 bits in hex. Never raises for the sake of `value`."""
    try:
        token = _Tokens().of(value)
    except RecursionError:
        token = _pickled(value)
    return (token[1:] if token[:1] == _HASH else xxh3_128_digest(token)).hex()


_HASH: Final = b"#"
"""First byte of a token that is a hash; marshal uses others."""
_first: Final = itemgetter(0)


def _hash(tag: str, parts: Iterable[bytes]) -> bytes:
    return _HASH + xxh3_128_digest(b"".join((tag.encode(), b"\0", *parts)))


def _opaque(value: Any) -> bytes:
    return _hash("opaque", [type_name(type(value)).encode()])


def _pickled(value: Any) -> bytes:
    """The token of a value nested so deeply that only pickle may still reach its end. Identity plays a part here."""
    import cloudpickle

    try:
        return _hash("pickle", [cloudpickle.dumps(value, protocol=4)])
    except Exception:  # of foreign code, or because not even pickle does
        return _opaque(value)


def _marshalled(value: Any) -> bytes:
    """The bytes of a scalar, or of a list or tuple of scalars. Later versions of the format show identity."""
    return marshal.dumps(value, 2)


def _flat(tag: bytes, value: Any) -> bytes:
    return _HASH + xxh3_128_digest(tag + _marshalled(value))


class _Sink:
    """A file object that keeps the hash of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.hash = xxh3_128()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.hash.update(view)
        return len(view)

    def flush(self) -> None:
        """Part of the file protocol."""


class _Tokens:
    """The tokens of one object and everything it reaches."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, Any]] = {}
        """id -> token, and the object itself so that the id is not reused."""
        self._open: dict[int, int] = {}
        """id -> depth of the objects whose token is being made."""

    def of(self, value: Any) -> bytes:
        kind = type(value)
        if kind in _SCALARS:
            return _marshalled(value)
        if kind is list or kind is tuple:
            if _SCALARS.issuperset(map(type, value)):
                return _flat(b"flat", value)  # marshal tells lists from tuples
        elif kind is dict and _SCALARS.issuperset(map(type, value.values())) and set(map(type, value)) == {str}:
            return _flat(b"dict", sorted(value.items(), key=_first))
        key = id(value)
        if key in self._known:
            return self._known[key][0]
        if key in self._open:
            return b"^%d;" % self._open[key]  # a cycle: how deep the object it returns to lies
        self._open[key] = len(self._open)
        try:
            token = self._compound(value)
        finally:
            del self._open[key]
        self._known[key] = token, value
        return token

    def _compound(self, value: Any) -> bytes:
        kind = type(value)
        if kind is list or kind is tuple:
            return _hash(kind.__name__, map(self.of, value))
        if kind is dict or kind is MappingProxyType:
            return _hash("dict", sorted(self.of(key) + self.of(item) for key, item in value.items()))
        if kind is set or kind is frozenset:
            return _hash(kind.__name__, sorted(map(self.of, value)))
        if kind is bytearray or kind is memoryview:
            return _hash(kind.__name__, [bytes(value)])
        if is_frame(value):
            return self._frame(value)
        if is_array(value):
            return _written(write_array, value)
        if _is_object_array(value):
            return _hash("array", map(self.of, (value.dtype, value.shape, value.ravel().tolist())))
        parts = code_parts(value)
        if parts is None:
            parts = _model_parts(value)
        if parts is None:
            return self._taken_apart(value)
        tag, *contents = parts
        return _hash(tag, map(self.of, contents))

    def _frame(self, value: Any) -> bytes:
        try:
            return _written(write_frame, value)
        except Inexact:
            pass
        kind = type(value)
        pandas: Any = sys.modules.get("pandas")
        if kind is getattr(pandas, "DataFrame", None):
            columns = [pandas.Series(column.array, copy=False) for _, column in value.items()]
            parts: tuple[Any, ...] = (value.columns, value.index, columns)
        elif kind is getattr(pandas, "Series", None):
            data = value.to_numpy() if value.dtype == object else value.array
            parts = (value.name, value.index, data)
        else:
            return self._taken_apart(value)
        return _hash(type_name(kind), map(self.of, (*parts, value.attrs)))

    def _taken_apart(self, value: Any) -> bytes:
        """The token of what pickle would save: a callable, its arguments, a state, list and dict items."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        except RecursionError:
            raise
        except Exception:  # any error of foreign code means that this object does not show its content
            return _opaque(value)
        if isinstance(reduced, str):
            wrapped = getattr(value, "__wrapped__", None)
            return _hash("global", map(self.of, (getattr(value, "__module__", None), reduced, wrapped)))
        make, arguments, *rest = reduced
        state, listed, items = (*rest, None, None, None)[:3]
        parts = [self.of(make), *map(self.of, arguments or ()), b"|", self.of(state)]
        if listed is not None:
            parts.append(self.of(list(listed)))
        if items is not None:
            parts.append(self.of(list(items) if isinstance(value, OrderedDict) else dict(items)))
        return _hash("object", parts)


def _written(write: Callable[[Any, Any], None], value: Any) -> bytes:
    sink = _Sink()
    write(value, sink)
    return _HASH + sink.hash.digest()


def _is_object_array(value: Any) -> bool:
    # Another thread may be just importing numpy: then the module is there and the class is not yet.
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array is not None and type(value) is array and bool(value.dtype.hasobject)


def _model_parts(value: Any) -> tuple[Any, ...] | None:
    """A pydantic model: class and field values, not which fields were set nor what is computed from them."""
    model: Any = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    if model is None or not isinstance(value, model):
        return None
    fields = {name: value.__dict__.get(name) for name in type(value).model_fields}
    return ("model", type(value), fields, value.__pydantic_extra__, value.__pydantic_private__)
