"""The `pickle` codec: cloudpickle for names of one step, aware of what they share.

A step's names can share objects: two models with one tokenizer, a function and the dict it fills, a list that holds a
frame which is bound to a name of its own. Every name is first pickled on its own, while `Pickler` notes the identity of
every object it meets that could be shared. Names that met a common object are pickled again, together; all others keep
their own pickle, so that they can be restored, and fail to be saved, on their own.

An object that is saved elsewhere (a frame or array bound to a name) is not pickled but referred to by that name.

Functions defined in a notebook are pickled by value. Their globals are the notebook's namespace, and remain it: the
namespace is referred to as such, and a function comes back bound to the namespace it is restored into. The globals a
function uses are pickled along, but only fill in what the namespace does not have.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import cloudpickle

__all__ = ["Pickler", "groups_of", "unpickle"]

_NEVER_SHARED: Final = frozenset(
    {type(None), bool, int, float, complex, str, bytes, tuple, frozenset, range, slice, type(...), type(NotImplemented),
     ModuleType, BuiltinFunctionType, CodeType, FunctionType}
)  # fmt: skip
"""Types whose instances cannot tell whether they are shared. Functions count when they are pickled by value."""
_NAMESPACE: Final = "namespace"
_NAME: Final = "name"


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one object to a file object. Keep it alive as long as `met` is used: it keeps ids from being reused."""

    def __init__(self, file: Any, named: Mapping[int, str], namespace: dict[str, Any]) -> None:
        """`named`: id -> name of objects saved elsewhere. `namespace`: the globals of the notebook's functions."""
        super().__init__(file, protocol=5)
        self.met: set[int] = set()
        """ids of the objects that were pickled and could be shared with another pickle."""
        self._named = named
        self._namespace = namespace

    def persistent_id(self, obj: Any) -> tuple[str, str] | None:
        kind = type(obj)
        if kind in _NEVER_SHARED:
            return None
        if obj is self._namespace:
            return (_NAMESPACE, "")
        name = self._named.get(id(obj))
        if name is not None:
            return (_NAME, name)
        if not issubclass(kind, type | Enum) and kind.__module__ != "numpy.dtypes":
            self.met.add(id(obj))
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, io.TextIOWrapper) and obj not in (sys.stdout, sys.stderr):
            raise TypeError("cannot pickle an open file")  # cloudpickle would save what the file contains
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented or not isinstance(obj, FunctionType):
            return reduced
        self.met.add(id(obj))
        if obj.__globals__ is not self._namespace:
            return reduced
        make, (code, _, *rest), (attributes, slots), _, _, fill = reduced
        state = (attributes, slots | {"__globals__": {}}, slots["__globals__"], fill)
        return make, (code, self._namespace, *rest), state, None, None, _complete_function


def _complete_function(function: FunctionType, state: tuple[Any, Any, dict[str, Any], Callable[..., Any]]) -> None:
    """Finish a restored function without changing what its namespace already holds."""
    attributes, slots, used_globals, fill = state
    namespace = function.__globals__
    for name, value in used_globals.items():
        namespace.setdefault(name, value)
    builtins = namespace.get("__builtins__")
    fill(function, (attributes, slots))
    if builtins is not None:
        namespace["__builtins__"] = builtins


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, find: Callable[[str], Any], namespace: dict[str, Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._find = find
        self._namespace = namespace

    def persistent_load(self, pid: tuple[str, str]) -> Any:
        kind, name = pid
        return self._namespace if kind == _NAMESPACE else self._find(name)


def unpickle(data: bytes, find: Callable[[str], Any], namespace: dict[str, Any]) -> Any:
    """Open a pickle, which runs code of whoever made it. `find` gives the objects that are saved under a name."""
    return _Unpickler(data, find, namespace).load()


def groups_of(met: Mapping[str, Iterable[int]]) -> list[list[str]]:
    """Partition names so that two names are together if they met a common object, directly or through others."""
    group_of: dict[str, list[str]] = {}
    first_to_meet: dict[int, str] = {}
    for name, objects in met.items():
        group_of[name] = [name]
        for other in {first_to_meet.setdefault(obj, name) for obj in objects}:
            if group_of[other] is not group_of[name]:
                joined = group_of[other] + group_of[name]
                for member in joined:
                    group_of[member] = joined
    order = {name: i for i, name in enumerate(met)}
    return [sorted(g, key=order.__getitem__) for g in {id(g): g for g in group_of.values()}.values()]
