"""Which names are bound at each point of a body: a walk in the order in which Python evaluates it.

The walk carries a *flow* along: the names bound on every path to this point (``bound``), on some path
(``maybe``), and those a ``del`` has taken away on every path (``gone``). Branches walk copies of the flow and
join them. A condition yields two flows, one where it held and one where it did not, so that ``while True``
and ``if a and (b := f())`` come out right. A handler starts from the join of all flows its ``try`` body went
through, as does a ``finally`` reached by an exception. After ``return``, ``raise``, ``break`` and
``continue`` a flow is dead and takes no part in joins.

Beside it goes the question whether a point is reached for *certain* if the body ends without an exception. No
point is in an arm or a loop's body, or after something that may have left the body early; in a ``try`` with
handlers, points before the first operation that may raise are, unless a handler may catch the NameError of an
unbound name.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Flow", "FlowWalker", "called_name", "join"]

# Beyond the NameError of an unbound name.
_CANNOT_RAISE = (ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Lambda, ast.Expr, ast.Pass)

# Context managers after which a body may go on although its block was left by an exception.
_SWALLOWING = frozenset({"suppress", "raises"})


@dataclass(slots=True)
class Flow:
    """What is known about a scope's names at one point."""

    bound: set[str] = field(default_factory=set)
    maybe: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    dead: bool = False

    def copy(self) -> Flow:
        return Flow(set(self.bound), set(self.maybe), set(self.gone), self.dead)


def join(flows: Iterable[Flow]) -> Flow:
    """What is known where several paths meet."""
    flows = list(flows)
    alive = [flow for flow in flows if not flow.dead]
    ends = alive or flows
    return Flow(
        set.intersection(*(flow.bound for flow in ends)),
        set.union(*(flow.maybe for flow in ends)),
        set.intersection(*(flow.gone for flow in ends)),
        dead=not alive,
    )


class _Loop(NamedTuple):
    breaks: list[Flow]
    continues: list[Flow]


class FlowWalker(ast.NodeVisitor):
    """Walks statements and conditions; what a name's mention means is up to the subclass."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.ever: set[str] = set()  # every name bound (or deleted) anywhere
        self.awaits = False
        self.left = False  # the body may have been left before this point, not by an error
        self._arms = 0  # arms the walk is in
        self._tries: list[bool] = []  # per try with handlers: may its body have been left by now?
        self._regions: list[Flow] = []  # per try: the join of all flows since it was entered
        self._loops: list[_Loop] = []

    @property
    def certain(self) -> bool:
        return not (self._arms or self.left or any(self._tries))

    def bind(self, name: str, certain: bool = True) -> None:
        self.ever.add(name)
        if self.flow.dead:
            return
        for flow in (self.flow, *self._regions):
            flow.maybe.add(name)
            flow.gone.discard(name)
        if certain:
            self.flow.bound.add(name)

    def delete(self, name: str) -> None:
        self.ever.add(name)
        if self.flow.dead:
            return
        for flow in (self.flow, *self._regions):
            flow.bound.discard(name)
        self.flow.maybe.discard(name)
        self.flow.gone.add(name)

    def visit(self, node: ast.AST) -> None:
        getattr(self, f"visit_{type(node).__name__}", self.generic_visit)(node)
        if isinstance(node, ast.expr | ast.stmt) and not isinstance(node, _CANNOT_RAISE):
            self._tries = [True] * len(self._tries)

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    # -- conditions --------------------------------------------------------------------------------

    def arm(self, start: Flow, nodes: Iterable[ast.AST | None]) -> Flow:
        """Walk code that may be left out; the flow at its end."""
        self.flow = start
        self._arms += 1
        self.visit_all(nodes)
        self._arms -= 1
        return self.flow

    def test(self, node: ast.expr) -> tuple[Flow, Flow]:
        """Walk a condition; the flows in which it held and in which it did not."""
        match node:
            case ast.BoolOp(op=op, values=[first, *rest]):
                conjunction = isinstance(op, ast.And)
                yes, no = self.test(first)
                self._arms += 1
                for value in rest:
                    self.flow = yes if conjunction else no
                    held, failed = self.test(value)
                    yes = held if conjunction else join([yes, held])
                    no = join([no, failed]) if conjunction else failed
                self._arms -= 1
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                no, yes = self.test(operand)
            case _:
                self.visit(node)
                yes, no = self.flow, self.flow.copy()
                if isinstance(node, ast.Constant):
                    (no if node.value else yes).dead = True
        return yes, no

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.flow = join(self.test(node))

    def visit_Compare(self, node: ast.Compare) -> None:
        self.visit_all([node.left, node.comparators[0]])
        self.flow = join([self.flow.copy(), self.arm(self.flow, node.comparators[1:])])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        yes, no = self.test(node.test)
        self.flow = join([self.arm(yes, [node.body]), self.arm(no, [node.orelse])])

    def visit_If(self, node: ast.If) -> None:
        yes, no = self.test(node.test)
        self.flow = join([self.arm(yes, node.body), self.arm(no, node.orelse)])

    def visit_Assert(self, node: ast.Assert) -> None:
        yes, no = self.test(node.test)
        self.arm(no, [node.msg])
        self.flow = yes

    # -- statements that end a path ----------------------------------------------------------------

    def visit_Return(self, node: ast.Return | ast.Raise) -> None:
        self.generic_visit(node)
        self.left = True
        self.flow.dead = True

    visit_Raise = visit_Return

    def visit_Break(self, node: ast.Break) -> None:
        if self._loops:  # else a syntax error that only the compiler tells
            self._loops[-1].breaks.append(self.flow.copy())
        self.flow.dead = True

    def visit_Continue(self, node: ast.Continue) -> None:
        if self._loops:
            self._loops[-1].continues.append(self.flow.copy())
        self.flow.dead = True

    # -- loops -------------------------------------------------------------------------------------

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.awaits |= isinstance(node, ast.AsyncFor)
        self.visit(node.iter)
        self._loop(lambda: (self.flow.copy(), self.flow), [node.target, *node.body], node.orelse)

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self._loop(lambda: self.test(node.test), node.body, node.orelse)

    def _loop(self, head: Callable[[], tuple[Flow, Flow]], body: Iterable[ast.AST], orelse: Iterable[ast.AST]) -> None:
        """Walk a loop; `head` walks what begins each round and gives the flows into the body and out of the loop."""
        loop = _Loop([], [])
        for _ in range(2):  # the second time with what earlier rounds may have left behind
            start = self.flow.copy()
            enter, leave = head()
            self._loops.append(loop)
            end = self.arm(enter, body)
            self._loops.pop()
            self.flow = join([start, end, *loop.continues])
        self.flow = leave
        if loop.breaks:
            self.flow = join([self.arm(self.flow, orelse), *loop.breaks])
        else:
            self.visit_all(orelse)

    # -- exceptions --------------------------------------------------------------------------------

    @contextmanager
    def _region(self) -> Iterator[Flow]:
        """The join of all flows of the walk inside."""
        region = self.flow.copy()
        self._regions.append(region)
        yield region
        self._regions.pop()

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self.awaits |= isinstance(node, ast.AsyncWith)
        tries, swallows = list(self._tries), False
        with self._region() as anywhere:
            for item in node.items:
                self.visit(item.context_expr)
                manager = called_name(item.context_expr)
                swallows |= manager in _SWALLOWING
                if manager != "open":  # who knows which exceptions it swallows
                    self._tries.append(True)
                self.visit_all([item.optional_vars])
            self.visit_all(node.body)
        self._tries = tries
        if swallows:
            self.flow = join([self.flow, anywhere])

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        leaving = _Loop([], [])  # takes the breaks and continues that pass through the `finally`
        if node.finalbody:
            self._loops.append(leaving)
        with self._region() as anywhere:
            with self._region() as inside:
                if node.handlers:
                    self._tries.append(any(map(self._may_catch_name_error, node.handlers)))
                self.visit_all(node.body)
                if node.handlers:
                    self._tries.pop()
            ends = [self.arm(self.flow, node.orelse)]
            ends += [self.arm(inside.copy(), [handler]) for handler in node.handlers]
        if node.finalbody:
            self._loops.pop()
            self.arm(anywhere, node.finalbody)  # reached by an exception
            for exits, onwards in zip(leaving, self._loops[-1] if self._loops else leaving, strict=True):
                if exits:
                    onwards.append(self.arm(join(exits), node.finalbody))
        self.flow = join(ends)
        self.visit_all(node.finalbody)

    visit_TryStar = visit_Try

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.visit_all([node.type])
        if node.name is None:
            self.visit_all(node.body)
            return
        exits = self._loops[-1] if self._loops else _Loop([], [])
        before = len(exits.breaks), len(exits.continues)
        self.bind(node.name)
        self.visit_all(node.body)
        # However the handler is left, its name is not bound any more.
        for flow in (self.flow, *exits.breaks[before[0] :], *exits.continues[before[1] :]):
            flow.bound.discard(node.name)
            flow.maybe.discard(node.name)
        for region in self._regions:
            region.bound.discard(node.name)

    def _may_catch_name_error(self, handler: ast.ExceptHandler) -> bool:
        for node in handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]:
            if not isinstance(node, ast.Name) or node.id in self.flow.maybe:
                return True
            caught = getattr(builtins, node.id, object)
            if not isinstance(caught, type) or issubclass(NameError, caught):
                return True
        return False

    # -- match -------------------------------------------------------------------------------------

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        unmatched, ends = self.flow, []
        for case in node.cases:
            failed = unmatched.copy()
            failed.dead |= _matches_anything(case.pattern)
            yes = self.arm(unmatched, [case.pattern])
            if case.guard is not None:
                self._arms += 1
                yes, no = self.test(case.guard)
                self._arms -= 1
                failed = join([failed, no])
            ends.append(self.arm(yes, case.body))
            unmatched = failed
        self.flow = join([*ends, unmatched])

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        self.generic_visit(node)
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name:
            self.bind(name)

    visit_MatchStar = visit_MatchMapping = visit_MatchAs


def called_name(node: ast.expr) -> str | None:
    """The ``f`` of ``f(...)`` and of ``m.f(...)``."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name
    return None


def _matches_anything(pattern: ast.pattern) -> bool:
    match pattern:
        case ast.MatchAs(pattern=inner):
            return inner is None or _matches_anything(inner)
        case ast.MatchOr(patterns=[*_, last]):
            return _matches_anything(last)
    return False
