"""The `pickle` codec: cloudpickle for the names of one step, aware of what they share.

Names of a step can share objects: two models with one tokenizer, a function and the list it fills, a dict that holds
a frame which has a name of its own. Every name is first pickled on its own, while `Pickler` notes the identity of
every object it meets that could be shared. Names that met a common object are then pickled together (`groups_of`);
all others keep a pickle of their own, so that one name can be restored, or fail to be saved, without its neighbours.

Frames and arrays with a file of their own are not pickled but referred to: a persistent id holds their value record,
and a key by which one restored object stands for all references to it.

Functions written in a notebook are pickled by value, but their globals are the notebook's namespace and remain it: a
function comes back bound to the namespace it is restored into, and sees what is bound there later. The globals it uses
are pickled along only to fill in what that namespace does not have.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import cloudpickle

from wfkernel.engine.sealed import is_secret, open_secret, seal_secret
from wfkernel.errors import StoreError

__all__ = ["NEVER_SHARED", "Pickler", "Reference", "groups_of", "unpickle"]

Reference = tuple[str, dict[str, Any]]
"""(key of the object within its step, value record)."""

NEVER_SHARED: Final = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, tuple, frozenset, range, slice),
        *(type(...), type(NotImplemented), ModuleType, BuiltinFunctionType, CodeType, FunctionType),
    }
)
"""Types whose instances nobody changes, so that nobody can tell whether they are shared.

Functions are among them because most are pickled by reference; those that are not are noted by `Pickler`.
"""
_NAMESPACE: Final = "namespace"


class Pickler(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
    """Pickles one object. Keep it as long as `met` is in use: it keeps alive what it met, and with that the ids."""

    def __init__(
        self,
        file: Any,
        namespace: dict[str, Any],
        refer: Callable[[Any], Reference | None],
        *,
        probed: dict[int, bool] | None = None,
    ) -> None:
        """`namespace`: the globals of the notebook's functions. `refer` tells objects with a file of their own.

        With `probed`, globals of functions are left out if they cannot be pickled; it holds what is known about that.
        """
        super().__init__(file, protocol=5)
        self._namespace, self._refer, self._probed = namespace, refer, probed
        self.met: set[int] = set()
        """ids of what was pickled here and could be shared with another pickle."""
        self.took_globals = False
        """Whether globals were pickled along with a function, which can fail although the function is fine."""

    def persistent_id(self, obj: Any) -> Reference | str | None:
        kind = type(obj)
        if kind in NEVER_SHARED:
            return None
        if obj is self._namespace:
            return _NAMESPACE
        reference = self._refer(obj)
        if reference is None and not issubclass(kind, type | Enum) and kind.__module__ != "numpy.dtypes":
            self.met.add(id(obj))
        return reference

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType):
            return self._reduce_function(obj)
        if is_secret(obj):
            return open_secret, (type(obj), seal_secret(obj))
        if isinstance(obj, CellType):  # cloudpickle's own way gives every function a copy of the cells they share
            return _empty_cell, (), _cell_content(obj), None, None, _fill_cell
        if isinstance(obj, io.TextIOBase):
            for name in ("stdout", "stderr"):
                if obj is getattr(sys, name):
                    return getattr, (sys, name)
            if isinstance(obj, io.TextIOWrapper):  # cloudpickle would pickle what it reads
                raise TypeError(f"cannot pickle an open file ({obj.name})")
        return super().reducer_override(obj)

    def _reduce_function(self, function: FunctionType) -> Any:
        reduced = super().reducer_override(function)
        if reduced is NotImplemented:  # it can be imported
            return reduced
        self.met.add(id(function))
        if function.__globals__ is not self._namespace:
            return reduced
        make, (code, _, *defaults, _), (attributes, slots), _, _, fill = reduced
        used = {name: value for name, value in slots["__globals__"].items() if self._can_pickle(value)}
        self.took_globals |= bool(used)
        arguments = (code, self._namespace, *defaults, function.__closure__)
        state = (attributes, slots | {"__globals__": {}, "__closure__": None}, used, fill)
        return make, arguments, state, None, None, _complete_function

    def _can_pickle(self, value: Any) -> bool:
        probed = self._probed
        if probed is None:
            return True
        if id(value) not in probed:
            probed[id(value)] = True  # until shown otherwise, for functions that look each other up
            try:
                Pickler(_Nowhere(), self._namespace, self._refer, probed=probed).dump(value)
            except StoreError:  # the disk, not the value
                raise
            except Exception:  # of foreign code: what the function looks up stays where it is, in the namespace
                probed[id(value)] = False
        return probed[id(value)]


class _Nowhere:
    """A file object that forgets."""

    def write(self, data: Any) -> int:
        return len(data)


def _complete_function(function: FunctionType, state: tuple[Any, Any, dict[str, Any], Callable[..., Any]]) -> None:
    """Finish a restored function without changing anything its namespace already holds."""
    attributes, slots, used_globals, fill = state
    namespace = function.__globals__
    for name, value in used_globals.items():
        namespace.setdefault(name, value)
    builtins = namespace.get("__builtins__")
    fill(function, (attributes, slots))
    if builtins is not None:
        namespace["__builtins__"] = builtins


def _empty_cell() -> CellType:
    return CellType()


def _cell_content(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _fill_cell(cell: CellType, content: tuple[Any, ...]) -> None:
    for value in content:
        cell.cell_contents = value


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, namespace: dict[str, Any], find: Callable[[str, dict[str, Any]], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._namespace, self._find = namespace, find

    def persistent_load(self, reference: Any) -> Any:
        return self._namespace if reference == _NAMESPACE else self._find(*reference)


def unpickle(data: bytes, namespace: dict[str, Any], find: Callable[[str, dict[str, Any]], Any]) -> Any:
    """Open a pickle, which runs code of whoever made it. `find(key, record)` gives what has a file of its own."""
    return _Unpickler(data, namespace, find).load()


def groups_of(met: Mapping[str, Iterable[int]]) -> list[list[str]]:
    """Partition names: two are together if they met a common object, directly or by way of others."""
    group_of: dict[str, list[str]] = {}
    first_to_meet: dict[int, str] = {}
    for name, objects in met.items():
        group_of[name] = [name]
        for other in {first_to_meet.setdefault(obj, name) for obj in objects}:
            if group_of[other] is not group_of[name]:
                joined = group_of[other] + group_of[name]
                group_of.update(dict.fromkeys(joined, joined))
    return list({id(group): group for group in group_of.values()}.values())
