"""Code by its address: ``package.module:name``, ``folder/file.py:name``, ``book.ipynb#step``.

An address is the only way a workflow file can name code, and an address is all it can be: no calls, no arguments. A file
is checked without running anything: `look_up` finds the module's source and looks for the name in it. `find` imports.
A module is searched for where Python would find it, and in the folder of the workflow file.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wfkernel.errors import DefinitionError

__all__ = ["Address", "address_of", "did_you_mean", "find", "how_to_register", "load_file", "look_up", "parse_address"]

_SHAPE: Final = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_FILE: Final = re.compile(r"(?P<file>[^#:]+\.py):(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_CELL: Final = re.compile(r"(?P<file>[^#]+\.ipynb)#(?P<name>[^#]+)")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. One of `module` and `file` is set."""

    name: str
    module: str = ""
    file: str = ""

    @property
    def is_cell(self) -> bool:
        return self.file.endswith(".ipynb")

    def __str__(self) -> str:
        return f"{self.file}#{self.name}" if self.is_cell else f"{self.module or self.file}:{self.name}"


def parse_address(text: str) -> Address:
    """`text` as an address. Raises `DefinitionError`."""
    if match := _CELL.fullmatch(text):
        return Address(match["name"], file=match["file"])
    if match := _FILE.fullmatch(text):
        return Address(match["name"], file=match["file"])
    if match := _SHAPE.fullmatch(text):
        return Address(match["name"], match["module"])
    raise DefinitionError(
        f"'{text}' is no address of code: write module:function, folder/file.py:function or book.ipynb#step"
    )


def did_you_mean(wrong: str, known: Any) -> str:
    """`` (did you mean 'right'?)``, or the known names where none is close; empty where there are none."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(wrong, names, 1, 0.6)
    if close:
        return f" (did you mean '{close[0]}'?)"
    if not names:
        return ""
    return f" (known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''})"


def how_to_register(agent: str) -> str:
    """What to do about an agent nobody knows."""
    return f"name it under `agents:`, or call register_agent('{agent}', ...), in a module that wf gets with --import"


def look_up(address: Address, folder: Path) -> str | None:
    """Why an address leads nowhere, None if it does lead to something. Executes nothing."""
    if address.is_cell:
        steps = _cell_steps(folder / address.file)
        if isinstance(steps, str):
            return steps
        return (
            None
            if address.name in steps
            else f"{address.file} has no step '{address.name}'{did_you_mean(address.name, steps)}"
        )
    first = address.name.partition(".")[0]
    if address.module == "builtins":
        return None if hasattr(builtins, first) else f"builtins has no '{first}'{did_you_mean(first, dir(builtins))}"
    if address.file:
        source: Path | str | None = folder / address.file
        if not Path(folder / address.file).is_file():
            return f"there is no file {address.file} in {folder}"
    else:
        source = _source_of(address.module, str(folder))
        if source is None:
            return f"there is no module '{address.module}', neither for Python nor in the folder of the workflow"
    if not isinstance(source, Path):  # compiled, built in, or imported already: its names cannot be read
        return None
    names = _names_in(source)
    if names is None or first in names:
        return None
    return f"{address.module or address.file} has no '{first}'{did_you_mean(first, sorted(names))}"


@functools.lru_cache(maxsize=1024)
def _source_of(module: str, folder: str) -> Path | str | None:
    """The source file of a module, a text where it has none that can be read, None where there is no such module."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
        return Path(origin) if origin and origin.endswith(".py") else "loaded"
    search: list[str] | None = [*sys.path, folder]
    found = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        found = importlib.machinery.PathFinder.find_spec(name, search)
        if found is None:
            return "built in" if module in sys.builtin_module_names or module in sys.stdlib_module_names else None
        search = list(found.submodule_search_locations or [])
    origin = found.origin if found is not None else None
    return Path(origin) if origin and origin.endswith(".py") else "compiled"


@functools.lru_cache(maxsize=256)
def _parsed_names(path: Path, stamp: float) -> frozenset[str] | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            return None
    return None if "__getattr__" in names else frozenset(names)


def _names_in(path: Path) -> frozenset[str] | None:
    """What a module may have, None where that cannot be told by reading it."""
    try:
        return _parsed_names(path, path.stat().st_mtime)
    except OSError:
        return None


def _cell_steps(notebook: Path) -> list[str] | str:
    """The names of a notebook's steps, or why it has none."""
    from wfkernel.plan.outline import outline_of
    from wfkernel.plan.reading import read_cells

    try:
        return [step.name for step in outline_of(read_cells(notebook)).steps]
    except FileNotFoundError:
        return f"there is no notebook {notebook.name} in {notebook.parent}"
    except (OSError, ValueError) as error:
        return f"{notebook.name} is no notebook: {error}"


def find(address: Address, folder: Path) -> Any:
    """What an address leads to; imports its module. Raises `DefinitionError`."""
    if address.is_cell:
        return _cell_function(address, folder)
    if address.file:
        module: Any = load_file((folder / address.file).resolve())
    else:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        try:
            module = importlib.import_module(address.module)
        except ImportError as error:
            raise DefinitionError(f"{address}: {error}") from None
        except Exception as error:
            raise DefinitionError(
                f"{address}: importing {address.module} failed: {type(error).__name__}: {error}"
            ) from error
    found = module
    for part in address.name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise DefinitionError(f"{address}: there is no '{part}'{did_you_mean(part, vars(module))}") from None
    return found


def _cell_function(address: Address, folder: Path) -> Any:
    from wfkernel.plan.cellmodule import load_cells

    steps = {spec.id: value for value in vars(load_cells((folder / address.file).resolve())).values()
             if (spec := getattr(value, "__wf_step__", None)) is not None}  # fmt: skip
    if address.name not in steps:
        raise DefinitionError(f"{address.file} has no step '{address.name}'{did_you_mean(address.name, steps)}")
    return steps[address.name]


@functools.lru_cache(maxsize=256)
def load_file(path: Path) -> Any:
    """The module in a file, loaded once. Raises `DefinitionError`."""
    name = f"{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DefinitionError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise DefinitionError(f"{path}: {type(error).__name__}: {error}") from error
    module.__wf_file__ = str(path)  # type: ignore[attr-defined]
    return module


def address_of(code: Any, folder: Path | None = None) -> str:
    """The address of a function or class. Raises `DefinitionError` for one that has none: a lambda, one made inside a
    function, one of a notebook's or a script's own."""
    name = getattr(code, "__qualname__", "")
    module = getattr(code, "__module__", "")
    shown = name or repr(code)
    if not name or "<" in name:
        raise DefinitionError(
            f"{shown} has no address, so a file cannot name it: define it with `def` at the top level of a module"
        )
    loaded = sys.modules.get(module)
    found: Any = loaded
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not code and getattr(found, "__wf_step__", None) is None:
        raise DefinitionError(f"{module}:{name} is something else than {code!r}, so a file cannot name it")
    if module == "__main__":
        raise DefinitionError(
            f"{name} is defined in a notebook or script, so a file cannot name it: move it to a module"
        )
    file = getattr(loaded, "__wf_file__", None)
    if file is not None:
        path = Path(file)
        if folder is not None and path.is_relative_to(folder.resolve()):
            path = path.relative_to(folder.resolve())
        return f"{path}#{code.__wf_step__.id}" if path.suffix == ".ipynb" else f"{path}:{name}"
    return f"{module}:{name}"
