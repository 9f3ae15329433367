"""How a ``%%step`` cell is executed natively by IPython.

Two small transformations, nothing else stands between the cell and IPython:

1. an *input transformer* makes the first line (``%%step clean --retries 2``) a string, which marks the cell and keeps
   the line's place, so every line number stays the cell's own and a traceback shows the line as it was typed. It is pure
   text: IPython calls it several times per cell.
2. an *AST transformer*, which IPython calls exactly once per execution, sees the mark, asks the session what to do, and
   wraps the cell's statements:

       while __wfkernel__[7].next_attempt():
           with __wfkernel__[7].attempt():
               <the cell's statements>

   or, when the step's result is already there, puts a restore in their place. Statements keep their positions, so
   tracebacks, ``%debug``, plots, top-level ``await`` and the last expression's display are IPython's own.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

from wfkernel.plan.cell import split_cell

__all__ = ["BRIDGE", "StepTransformer", "call", "is_valid", "mark_step", "wrap"]

BRIDGE: Final = "__wfkernel__"
"""Name in `builtins` under which a transformed cell finds its step: not in the user's namespace."""
MARK: Final = "%%step"


def mark_step(lines: list[str]) -> list[str]:
    """Input transformer: replace the ``%%step`` line by the mark."""
    parts = split_cell("".join(lines))
    if parts is None:
        return lines
    first = next(i for i, line in enumerate(lines) if line.strip("\n"))
    return [*lines[:first], f"{f'{MARK} {parts[0]}'!r}\n", *lines[first + 1 :]]


class StepTransformer(ast.NodeTransformer):
    """AST transformer: hands a marked cell to `prepare`, which gets the line and the body and returns what to run."""

    def __init__(self, prepare: Callable[[str, ast.Module], ast.Module]) -> None:
        self._prepare = prepare

    def visit(self, node: ast.AST) -> ast.AST:
        if not (isinstance(node, ast.Module) and node.body):
            return node
        match node.body[0]:
            case ast.Expr(value=ast.Constant(value=str(line))) if line.partition(" ")[0] == MARK:
                line = line.partition(" ")[2]
                return self._prepare(line, ast.Module(body=node.body[1:], type_ignores=node.type_ignores))
        return node


def is_valid(body: ast.Module) -> bool:
    """Whether Python accepts the body as a cell: wrapped in a loop, a stray ``break`` would pass unnoticed."""
    try:
        compile(body, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError:
        return False
    return True


def call(number: int, method: str) -> ast.Module:
    """A cell that only calls ``__wfkernel__[number].method()``."""
    module = ast.Module(body=[ast.Expr(_call(number, method))], type_ignores=[])
    return ast.fix_missing_locations(module)


def wrap(body: ast.Module, number: int, interactivity: str) -> ast.Module:
    """The cell with its statements inside the attempt loop of step run `number`.

    Args:
        interactivity: IPython's ``ast_node_interactivity``: which expressions the cell displays.
    """
    statements = list(body.body)
    future = []  # `from __future__` must stay first
    while statements and isinstance(statements[0], ast.ImportFrom) and statements[0].module == "__future__":
        future.append(statements.pop(0))
    shown = _shown(statements, interactivity)
    inner: list[ast.stmt] = []
    for index, statement in enumerate(statements):
        if index in shown and isinstance(statement, ast.Expr):
            value = ast.copy_location(_call(number, "show", statement.value), statement.value)
            inner.append(ast.copy_location(ast.Expr(value), statement))
        else:
            inner.append(statement)
            if index in shown and (name := _assigned_name(statement)):
                inner.append(ast.copy_location(ast.Expr(_call(number, "show", ast.Name(name, ast.Load()))), statement))
    block = ast.With(items=[ast.withitem(_call(number, "attempt"))], body=inner or [ast.Pass()])
    loop = ast.While(test=_call(number, "next_attempt"), body=[block], orelse=[])
    return ast.fix_missing_locations(ast.Module(body=[*future, loop], type_ignores=body.type_ignores))


def _shown(statements: list[ast.stmt], interactivity: str) -> set[int]:
    """Indices of the statements whose value IPython would display."""
    if not statements or interactivity == "none":
        return set()
    if interactivity == "all":
        return set(range(len(statements)))
    return {len(statements) - 1} if interactivity != "last_expr" or isinstance(statements[-1], ast.Expr) else set()


def _assigned_name(statement: ast.stmt) -> str | None:
    """The name of ``x = ...`` for IPython's ``last_expr_or_assign``."""
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=name)])
            | ast.AnnAssign(target=ast.Name(id=name))
            | ast.AugAssign(target=ast.Name(id=name))
        ):
            return name
    return None


def _call(number: int, method: str, *args: ast.expr) -> ast.Call:
    run = ast.Subscript(ast.Name(BRIDGE, ast.Load()), ast.Constant(number), ast.Load())
    return ast.Call(func=ast.Attribute(run, method, ast.Load()), args=list(args), keywords=[])
