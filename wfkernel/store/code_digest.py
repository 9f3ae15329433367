"""What counts in functions, classes and modules when their content is digested.

Code that was written in a notebook (or another place that cannot be imported) is what it does: the instructions with
the constants and names they use, defaults, closures, and the globals they look up, again by content. Positions,
comments and docstrings do not count, so moving or documenting a function changes nothing.

Code that can be imported is where it comes from: module and qualified name, the version of its package, and the file's
content when the module is not an installed one (so an edit to ``utils.py`` beside the notebook counts). Of wfkernel's own
functions only the name counts: an upgrade of wfkernel executes no finished step again.
"""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from xxhash import xxh3_128_hexdigest

__all__ = ["code_parts", "type_name"]

_NOT_CONTENT: Final = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__"),
        *("__signature__", "__annotations_cache__", "_abc_impl"),
    }
)
"""Class attributes that are bookkeeping of Python and pydantic."""
_OUR_OWN: Final = __name__.partition(".")[0]
_LOOKUPS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_NAMED_OPERANDS: Final = frozenset({*dis.hasconst, *dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hascompare})
_HAS_DOCSTRING: Final = 0x4000000
"""A flag of code objects since Python 3.13."""


def type_name(kind: type) -> str:
    """The qualified name of a type, for people and for digests."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def code_parts(value: Any) -> tuple[Any, ...] | None:
    """A tag and the objects that make up the content of code; None for what is not code."""
    if isinstance(value, FunctionType):
        return _function_parts(value)
    if isinstance(value, type):
        return _class_parts(value)
    if isinstance(value, CodeType):
        return _code_parts(value)
    if isinstance(value, ModuleType):
        return "module", *_origin(value.__name__)
    if isinstance(value, MethodType):
        return "method", value.__func__, value.__self__
    if isinstance(value, BuiltinFunctionType):
        owner = value.__self__
        return "builtin", value.__name__, owner.__name__ if isinstance(owner, ModuleType) else owner
    if isinstance(value, CellType):
        try:
            return "cell", value.cell_contents
        except ValueError:
            return ("empty cell",)
    if isinstance(value, property):
        return "property", value.fget, value.fset, value.fdel
    if isinstance(value, classmethod | staticmethod):
        return type(value).__name__, value.__func__
    return None


def _is_our_own(function: FunctionType) -> bool:
    return str(function.__module__).partition(".")[0] == _OUR_OWN


def _code_parts(code: CodeType) -> tuple[Any, ...]:
    """Instructions with what their operands stand for, since the tables these point into also hold docstrings."""
    instructions: list[Any] = []
    for instruction in dis.get_instructions(code):
        named = instruction.opcode in _NAMED_OPERANDS
        instructions += instruction.opname, instruction.argval if named else instruction.arg
    arguments = (code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, code.co_varnames)
    return "code", code.co_flags & ~_HAS_DOCSTRING, arguments, instructions, code.co_exceptiontable


def _function_parts(function: FunctionType) -> tuple[Any, ...]:
    code = function.__code__
    if _is_our_own(function):
        return "function", function.__module__, function.__qualname__
    if _can_be_imported(function):
        return "function", *_origin(function.__module__), function.__qualname__, code
    cells = function.__closure__ or ()
    parts = (function.__name__, code, function.__defaults__, function.__kwdefaults__, cells)
    home = sys.modules.get(str(function.__globals__.get("__name__")))
    if home is not None and home.__name__ != "__main__" and _is_made_by(home, function):
        return (
            "closure",
            *_origin(home.__name__),
            *parts,
        )  # made by imported code, whose globals are not the user's
    used = {name: function.__globals__[name] for name in _looked_up(code) if name in function.__globals__}
    return "function", *parts, used


def _is_made_by(module: ModuleType, function: FunctionType) -> bool:
    """Whether code of `module` made the function, as `dataclasses` makes a ``__repr__``; one restored has its own globals."""
    return vars(module) is function.__globals__ or function.__code__.co_filename == getattr(module, "__file__", None)


def _class_parts(cls: type) -> tuple[Any, ...]:
    if _can_be_imported(cls):
        return "class", *_origin(cls.__module__), cls.__qualname__
    content = {
        name: value
        for name, value in vars(cls).items()
        if name not in _NOT_CONTENT and not name.startswith("__pydantic_")
    }
    fields = {  # of a pydantic model
        name: (field.annotation, field.default, field.default_factory, field.metadata, field.alias)
        for name, field in getattr(cls, "__pydantic_fields__", {}).items()
    }
    return "class", cls.__qualname__, type(cls), cls.__bases__, content, fields


def _looked_up(code: CodeType) -> Iterator[str]:
    """The global names that a code object and the ones inside it look up."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in _LOOKUPS:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _looked_up(constant)


def _can_be_imported(code: FunctionType | type) -> bool:
    module = sys.modules.get(code.__module__)
    if module is None or module.__name__ == "__main__":
        return False
    found: Any = module
    for name in code.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is code


def _origin(module_name: str) -> tuple[str, str | None, str | None]:
    """Module name, version of its package, digest of its source unless it is installed."""
    top = module_name.partition(".")[0]
    if top == _OUR_OWN:
        return module_name, None, None
    package = sys.modules.get(top)
    version = getattr(package, "__version__", None)
    file = getattr(sys.modules.get(module_name), "__file__", None)
    source = None
    if file is not None and module_name != "__main__" and not _is_installed(file) and Path(file).is_file():
        source = xxh3_128_hexdigest(Path(file).read_bytes())
    return module_name, version if isinstance(version, str) else None, source


@functools.cache
def _is_installed(file: str) -> bool:
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
