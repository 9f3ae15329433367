"""Python expressions as CEL, as far as both mean the same: what ``--when`` and ``--foreach`` of a cell usually say.

Comparisons, ``and``, ``or``, ``not``, ``in``, ``len``, items by a constant key, constants, lists. Left out is what reads alike and
is something else in CEL: arithmetic (whole numbers and others do not mix there), values that count as true, attributes. (That
``True == 1`` in Python is left aside.)
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Final

__all__ = ["condition_in_cel", "list_in_cel"]

_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.Is: "==", ast.IsNot: "!=",
}  # fmt: skip


class _Beyond(Exception):
    """CEL has nothing that means the same."""


def condition_in_cel(source: str, names: Mapping[str, str], booleans: frozenset[str] = frozenset()) -> str | None:
    """A Python condition as CEL, None where there is none. `names`: what each name is in CEL; `booleans` are true or false."""
    try:
        return _Translation(names, booleans).condition(ast.parse(source.strip(), mode="eval").body)
    except _Beyond:
        return None


def list_in_cel(source: str, names: Mapping[str, str]) -> str | None:
    """A Python expression that gives a list, as CEL; None where there is none."""
    node = ast.parse(source.strip(), mode="eval").body
    if not isinstance(node, ast.Name | ast.List | ast.Tuple | ast.Subscript):
        return None
    try:
        return _Translation(names, frozenset()).value(node)
    except _Beyond:
        return None


class _Translation:
    def __init__(self, names: Mapping[str, str], booleans: frozenset[str]) -> None:
        self._names, self._booleans = names, booleans

    def condition(self, node: ast.expr) -> str:
        """What is true or false in both languages."""
        match node:
            case ast.Constant(value=bool()):
                return self.value(node)
            case ast.Name(id=name) if name in self._booleans:
                return self.value(node)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return f"!({self.condition(operand)})"
            case ast.BoolOp(op=op, values=values):
                sign = " && " if isinstance(op, ast.And) else " || "
                return sign.join(f"({self.condition(value)})" for value in values)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                pairs = [self._compared(op, sides[n], sides[n + 1]) for n, op in enumerate(ops)]
                return " && ".join(pairs)
        raise _Beyond

    def _compared(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> str:
        if isinstance(op, ast.Is | ast.IsNot) and not (isinstance(right, ast.Constant) and right.value is None):
            raise _Beyond
        if isinstance(op, ast.NotIn):
            return f"!({self.value(left)} in {self.value(right)})"
        return f"{self.value(left)} {_COMPARISONS[type(op)]} {self.value(right)}"

    def value(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return json.dumps(value, ensure_ascii=False)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return f"-{value}"
            case ast.Name(id=name) if name in self._names:
                return self._names[name]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return f"[{', '.join(map(self.value, items))}]"
            case ast.Subscript(value=inner, slice=ast.Constant(value=str() | int() as key)) if key != -1:
                return f"{self.value(inner)}[{json.dumps(key, ensure_ascii=False)}]"
            case ast.Call(func=ast.Name(id="len"), args=[one], keywords=[]) if "len" not in self._names:
                return f"size({self.value(one)})"
        raise _Beyond
