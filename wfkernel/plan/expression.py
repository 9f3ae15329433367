"""Expressions in workflow files: ``${{ steps.load.rows > 100 }}``, in CEL, the Common Expression Language.

CEL reads values and computes; it cannot call Python, loop without end or change anything, so a file that somebody sent
can be evaluated. The interpreter is `common-expression-language` (Rust). What an expression sees:

=============  =======================================================================================
``inputs``     the workflow's inputs
``input``      what this step gets: the output of the entry before, or of what it needs
``steps.ID``   output of a step above (``steps['some-id']`` where the id is no plain name)
``status.ID``  how that step ended: ``success``, ``failed``, ``skipped``
``state``      the run's state
``item``       the item of the foreach around
``iteration``  which round of the loop around, from 1
``run``        ``run.id`` and ``run.workflow``
``vars``       constants of the file
``result``     in ``outputs:`` only: what the step returned
=============  =======================================================================================

A path alone (``${{ steps.load.frame }}``) passes the value on as it is, whatever its type; everything else looks at
values as JSON sees them. A text that has more than one expression, or anything around it, becomes a text.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from wfkernel.errors import DefinitionError, WorkflowError

__all__ = [
    "FUNCTIONS",
    "ROOTS",
    "Condition",
    "ExpressionFailed",
    "Filled",
    "Mention",
    "Reshape",
    "has_expression",
    "mentions",
    "parts",
    "single_expression",
    "unknown_functions",
]

ROOTS: Final = ("inputs", "input", "steps", "status", "state", "item", "iteration", "run", "vars")
"""The names every expression may use; `result` is added for ``outputs:``."""

FUNCTIONS: Final = frozenset(
    [
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "type",
        "timestamp",
        "duration",
        "dyn",
        "has",
        "all",
        "exists",
        "exists_one",
        "map",
        "filter",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ]
)
"""The functions of CEL, all of which the interpreter has."""
_OPEN: Final = "${{"
_PATH: Final = re.compile(r"""[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*|\[\s*(?:\d+|'[^'\\]*'|"[^"\\]*")\s*\])*""")
_PATH_PART: Final = re.compile(r"""\.\s*([A-Za-z_]\w*)|\[\s*(\d+)\s*\]|\[\s*['"]([^'"]*)['"]\s*\]""")
_BOUND: Final = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(\s*([A-Za-z_]\w*)\s*,")
_STEP: Final = re.compile(
    r"""(?<![\w.])(steps|status)\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*'([^']*)'\s*\]|\[\s*"([^"]*)"\s*\])|'[^']*'|"[^"]*\""""
)
_INPUT: Final = re.compile(r"""(?<![\w.])inputs\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*'([^']*)'\s*\])|'[^']*'|"[^"]*\"""")


class ExpressionFailed(WorkflowError):
    """An expression could not be evaluated with the values of this run."""


class Mention(NamedTuple):
    """Something an expression refers to: `root` and, for steps and inputs, the `name` below it."""

    root: str
    name: str


class Piece(NamedTuple):
    """A part of a text: plain, or the source of an expression."""

    text: str
    is_expression: bool


@functools.lru_cache(maxsize=8192)
def parts(text: str) -> tuple[Piece, ...]:
    """`text` cut into plain pieces and expressions. Raises `DefinitionError` for a ``${{`` that is never closed."""
    found: list[Piece] = []
    position = 0
    while (start := text.find(_OPEN, position)) >= 0:
        if start > position:
            found.append(Piece(text[position:start], False))
        end = _closing(text, start + len(_OPEN))
        found.append(Piece(text[start + len(_OPEN) : end].strip(), True))
        position = end + 2
    if position < len(text) or not found:
        found.append(Piece(text[position:], False))
    return tuple(found)


def _closing(text: str, position: int) -> int:
    """Where the ``}}`` of an expression is; braces of maps and quoted texts are skipped."""
    depth, quote = 0, ""
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            if depth == 0 and text.startswith("}}", position):
                return position
            depth = max(0, depth - 1)
        position += 1
    raise DefinitionError("'${{' is never closed by '}}'")


def has_expression(data: Any) -> bool:
    """Whether an expression stands anywhere in JSON-like `data`."""
    if isinstance(data, str):
        return _OPEN in data
    if isinstance(data, Mapping):
        return any(has_expression(value) for value in data.values())
    return isinstance(data, list | tuple) and any(has_expression(value) for value in data)


def single_expression(text: Any) -> str | None:
    """The source of a text that is one ``${{ expression }}`` and nothing else."""
    if not isinstance(text, str):
        return None
    found = parts(text.strip())
    return found[0].text if len(found) == 1 and found[0].is_expression else None


def unknown_functions(source: str) -> list[str]:
    """The functions an expression calls that CEL does not have. Raises `DefinitionError` if it is not CEL."""
    called = set(compiled(source).functions()) - FUNCTIONS  # operators are there too, as `_+_`
    return sorted(name for name in called if name.isidentifier())


@functools.lru_cache(maxsize=8192)
def mentions(source: str) -> tuple[Mention, ...]:
    """What an expression refers to, found without evaluating it. Raises `DefinitionError` if it is not CEL."""
    names = set(compiled(source).variables()) - set(_BOUND.findall(source))
    found = [Mention(name, "") for name in sorted(names) if name not in ("steps", "status", "inputs")]
    for match in _STEP.finditer(source):
        if match[1]:
            found.append(Mention(match[1], match[2] or match[3] or match[4] or ""))
    found += [Mention("inputs", name) for match in _INPUT.finditer(source) if (name := match[1] or match[2])]
    found += [Mention(root, "") for root in ("steps", "status", "inputs") if root in names]
    return tuple(found)


@functools.cache
def _cel() -> Any:
    """The compiled module of the package `cel`: the package itself imports a command line with all that takes (0.1 s)."""
    package = importlib.util.find_spec("cel")
    folders = package.submodule_search_locations if package is not None else None
    spec = importlib.machinery.PathFinder.find_spec("cel.cel", folders)
    if "cel" in sys.modules or spec is None or spec.loader is None:
        return importlib.import_module("cel")
    module = sys.modules["cel.cel"] = importlib.util.module_from_spec(
        spec
    )  # so that `import cel` finds it, whoever does
    spec.loader.exec_module(module)
    return module


@functools.lru_cache(maxsize=8192)
def compiled(source: str) -> Any:
    """The CEL program of an expression. Raises `DefinitionError`."""
    if not source:
        raise DefinitionError("'${{ }}' is empty")
    try:
        return _cel().compile(source)
    except ValueError as error:
        told = str(error).partition("ERROR: ")[2].splitlines()[0] if "ERROR: " in str(error) else str(error)
        where = re.match(r"<input>:\d+:(\d+): (?:Syntax error: )?(.*)", told)
        reason = f"{where[2]} (character {where[1]})" if where else told
        raise DefinitionError(f"'{source}' is not an expression: {reason}") from None


def evaluate(source: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression. Raises `ExpressionFailed`."""
    if _PATH.fullmatch(source) and source not in ("true", "false", "null"):
        return _follow(source, names)
    program = compiled(source)
    used = {}
    for name in program.variables():
        if name in names:
            used[name] = _plain(names[name], source)
    try:
        return program.execute(used)
    except KeyError as error:
        raise ExpressionFailed(f"${{{{ {source} }}}}: there is no key {error}") from None
    except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExpressionFailed(f"${{{{ {source} }}}}: {reason}") from None


def _follow(source: str, names: Mapping[str, Any]) -> Any:
    match = re.match(r"[A-Za-z_]\w*", source)
    assert match is not None
    if match[0] not in names:
        raise ExpressionFailed(f"${{{{ {source} }}}}: there is no '{match[0]}' here")
    found, done = names[match[0]], match[0]
    for part in _PATH_PART.finditer(source, match.end()):
        key = part[1] if part[1] is not None else part[3]
        try:
            if part[2] is not None:
                found = found[int(part[2])]
            elif isinstance(found, Mapping):
                found = found[key]
            elif isinstance(found, str | int | float | list | tuple) or found is None or key.startswith("_"):
                raise LookupError
            else:
                found = getattr(found, key)
        except (LookupError, AttributeError, TypeError):
            raise ExpressionFailed(
                f"${{{{ {source} }}}}: {done} is {_described(found)} and has no '{key or part[2]}'"
            ) from None
        done += part[0]
    return found


def _described(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "an object with " + (", ".join(map(str, list(value)[:8])) or "no keys")
    return f"a {type(value).__name__}"


def _plain(value: Any, source: str) -> Any:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise ExpressionFailed(
            f"${{{{ {source} }}}}: an expression can only look at JSON-like values, and one of these is none. Pass it on with a "
            "path alone, or look at it in a step."
        ) from None


class _Names(Mapping[str, Any]):
    """What an expression sees, each root made when it is asked for."""

    def __init__(self, value: Any, ctx: Any, source: str) -> None:
        self._value, self._ctx, self._source = value, ctx, source

    def __getitem__(self, root: str) -> Any:
        ctx = self._ctx
        match root:
            case "input":
                return self._value
            case "inputs":
                return ctx.inputs()
            case "steps":
                return {m.name: ctx.step_result(m.name) for m in mentions(self._source) if m.root == root and m.name}
            case "status":
                return {m.name: ctx.step_status(m.name) for m in mentions(self._source) if m.root == root and m.name}
            case "state":
                return ctx.state
            case "item":
                return ctx.item
            case "iteration":
                return ctx.iteration
            case "vars":
                return ctx.vars
            case "run":
                return {"id": ctx.run_id, "workflow": ctx.workflow_id}
        raise KeyError(root)

    def __iter__(self) -> Iterator[str]:
        return iter(ROOTS)

    def __len__(self) -> int:
        return len(ROOTS)


def fill(data: Any, names_for: Any) -> Any:
    """`data` with every expression in it replaced by its value; `names_for(source)` gives what it sees."""
    if isinstance(data, str):
        if _OPEN not in data:
            return data
        pieces = parts(data)
        if len(pieces) == 1:
            return evaluate(pieces[0].text, names_for(pieces[0].text))
        return "".join(
            _text(evaluate(piece.text, names_for(piece.text))) if piece.is_expression else piece.text
            for piece in pieces
        )
    if isinstance(data, Mapping):
        return {key: fill(value, names_for) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [fill(value, names_for) for value in data]
    return data


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    from pydantic_core import to_jsonable_python

    return json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Filled:
    """A value with expressions in it, as a function of what a step gets and of its context."""

    data: Any

    def __call__(self, value: Any, ctx: Any) -> Any:
        return fill(self.data, lambda source: _Names(value, ctx, source))


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that decides something: it gives true or false, anything else is an error."""

    source: str

    def __call__(self, value: Any, ctx: Any) -> bool:
        found = evaluate(self.source, _Names(value, ctx, self.source))
        if not isinstance(found, bool):
            raise ExpressionFailed(f"${{{{ {self.source} }}}} gives {found!r}: a condition gives true or false")
        return found


@dataclass(frozen=True, slots=True)
class Reshape:
    """What a step returns turned into its output: ``outputs: {rows: ${{ result.table.rows }}}``."""

    data: Any

    def __call__(self, result: Any) -> Any:
        return fill(self.data, lambda source: {"result": result})
