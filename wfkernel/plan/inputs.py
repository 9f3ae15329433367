"""A notebook's declared inputs: what its ``parameters`` cell says about names, types, defaults and meaning.

The cell is read as a syntax tree, never run, so looking at a notebook somebody sent executes nothing. papermill reads the
same cell with patterns and misses ``int | None``, ``Literal[...]`` and inputs without a default; for what both
understand the answers are the same. ::

    month: int = 1                       # the month of 2013 to look at
    carrier: Literal["AA", "UA"]         # no default: whoever runs the notebook has to give it
    threshold = 0.5                      # no annotation: the type of the default counts

An annotation is checked when it is made of the types JSON knows; any other is shown and trusted.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from wfkernel.errors import DefinitionError

__all__ = ["DeclaredInput", "check_parameters", "declared_inputs", "inputs_in", "parameter_from_text"]

UNCHECKED: Final = object()
"""Stands for a type nobody can check without running the notebook."""
_TYPING: Final = frozenset({"Any", "Dict", "List", "Literal", "Mapping", "Optional", "Sequence", "Union"})
_PLAIN: Final[dict[str, Any]] = {"bool": bool, "dict": dict, "float": float, "int": int, "list": list, "str": str}


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """One name of the ``parameters`` cell."""

    name: str
    type: str
    """As written, or that of the default; "" where there is neither."""
    default: str | None
    """Source of the default; None: the input must be given."""
    comment: str
    checked_as: Any
    """The type a value is checked against, `UNCHECKED` where that cannot be known."""

    def problem(self, value: Any) -> str | None:
        """Why a JSON value does not fit, in words; None if it does."""
        if self.checked_as is UNCHECKED:
            return None
        from pydantic import TypeAdapter, ValidationError

        adapter: TypeAdapter[Any] = TypeAdapter(self.checked_as)
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"[{part!r}]" for part in first["loc"] if _is_place(part))
            return f"{where}: {first['msg']}".lstrip(": ")
        return None


def inputs_in(cells: Iterable[Mapping[str, Any]]) -> list[DeclaredInput]:
    """The inputs a notebook with these cells declares: those of the first that is tagged ``parameters``."""
    tagged = (cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    return declared_inputs(next(tagged, ""))


def declared_inputs(source: str) -> list[DeclaredInput]:
    """The inputs a ``parameters`` cell declares, in its order. A cell that does not parse declares nothing."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    comments = _comments(source)
    found: dict[str, DeclaredInput] = {}
    for statement in tree.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                written, checked = ast.unparse(annotation), _resolve(annotation)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                written, checked = _type_of_default(value)
            case _:
                continue
        comment = comments.get(statement.end_lineno or 0, "")
        if comment.startswith("type:") and isinstance(statement, ast.Assign):  # the older way to annotate
            written, _, comment = comment.removeprefix("type:").strip().partition(" ")
            checked = _resolve_text(written)
        default = None if value is None else ast.unparse(value)
        found[name] = DeclaredInput(name, written, default, comment.strip(), checked)
    return list(found.values())


def check_parameters(notebook: str, declared: Iterable[DeclaredInput], parameters: Mapping[str, Any]) -> None:
    """Refuse what the notebook does not declare, what does not fit its type, and what is missing.

    Raises `DefinitionError`: one line that names the notebook, the parameter and what would do.
    """
    known = {one.name: one for one in declared}
    for name, value in parameters.items():
        if name not in known:
            raise DefinitionError(_unknown(notebook, name, list(known)))
        problem = known[name].problem(value)
        if problem:
            shown = json.dumps(value, default=str, ensure_ascii=False)
            raise DefinitionError(f"{notebook}: parameter '{name}' is {known[name].type}, not {shown}: {problem}")
    for one in known.values():
        if one.default is None and one.name not in parameters:
            raise DefinitionError(f"{notebook}: parameter '{one.name}' ({one.type}) has no default and must be given")


def parameter_from_text(text: str, declared: DeclaredInput | None) -> Any:
    """A value typed on a command line: JSON if that fits the declared type, otherwise the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if declared is not None and declared.problem(value) and not declared.problem(text):
        return text
    return value


def _unknown(notebook: str, name: str, known: list[str]) -> str:
    if not known:
        return f"{notebook} has no parameter '{name}': it has no cell tagged 'parameters'"
    close = get_close_matches(name, known, n=1)
    meant = f", did you mean '{close[0]}'?" if close else ":"
    return f"{notebook} has no parameter '{name}'{meant} it declares {', '.join(known)}"


def _is_place(part: Any) -> bool:
    """Whether a part of pydantic's location is an index or a key, not the name of a union's member."""
    return isinstance(part, int) or (isinstance(part, str) and part.isidentifier() and part not in _PLAIN)


def _comments(source: str) -> dict[int, str]:
    """line -> the comment at its end."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("#").strip() for token in tokens if token.type == tokenize.COMMENT}


def _type_of_default(value: ast.expr) -> tuple[str, Any]:
    try:
        default = ast.literal_eval(value)
    except ValueError:
        return "", UNCHECKED
    name = type(default).__name__
    if name not in _PLAIN:
        return ("" if default is None else name), UNCHECKED
    # Nobody declared it: `limit = 1` does not mean that 0.5 is wrong.
    return name, (int | float if type(default) is int else _PLAIN[name])


def _resolve_text(annotation: str) -> Any:
    try:
        return _resolve(ast.parse(annotation, mode="eval").body)
    except SyntaxError:
        return UNCHECKED


def _resolve(node: ast.expr) -> Any:
    """The type an annotation names, if it names only types of JSON; `UNCHECKED` otherwise."""
    import typing

    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _resolve_text(node.value)
    allowed = (ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.Constant, ast.BinOp, ast.BitOr, ast.Load,
               ast.UnaryOp, ast.USub)  # fmt: skip
    names: dict[str, Any] = {**_PLAIN, **{name: getattr(typing, name) for name in _TYPING}}
    names |= {"typing": typing, "t": typing}
    for part in ast.walk(node):
        if not isinstance(part, allowed):
            return UNCHECKED
        if isinstance(part, ast.Name) and part.id not in names:
            return UNCHECKED
        if isinstance(part, ast.Attribute) and part.attr not in _TYPING:
            return UNCHECKED
    try:
        return eval(compile(ast.Expression(node), "<annotation>", "eval"), {"__builtins__": {}, **names})
    except (TypeError, AttributeError):  # not a type after all
        return UNCHECKED
