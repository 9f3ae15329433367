"""A plan as boxes and arrows: what a view draws, as JSON-safe data without positions.

A `Chart` has levels. The level named ``""`` is the plan itself; a nested plan is one box there and a level of its own,
named by the path its steps' paths begin with (``checkout.``; ``each[].`` for every item of a foreach). Where there is no
plan the chart comes from what is known instead: which names steps read and bind (`chart_of_needs`), or what happened
after what (`chart_of_spans`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from wfkernel.plan.nodes import Body, Branch, Foreach, Graph, Loop, Map, Nested, Node, Parallel, Sleep

if TYPE_CHECKING:
    from wfkernel.plan.builder import Definition
    from wfkernel.plan.graph import Circular

__all__ = ["Box", "Chart", "Level", "chart_of_circles", "chart_of_needs", "chart_of_plan", "chart_of_spans", "needs_of"]


class Box(TypedDict, total=False):
    """One box. `path` is the step's path in a run, `kind` what it is: step, nested, branch, loop, foreach, map, sleep."""

    path: str
    label: str
    kind: str
    opens: str
    """Name of the level inside, if there is one."""


class Level(TypedDict):
    """Boxes and arrows; an arrow is [from, to] or [from, to, words], by position in `boxes`."""

    boxes: list[Box]
    arrows: list[list[Any]]
    circle: NotRequired[list[int]]
    """Positions in `arrows` of those that lead back to where they come from: no plan has any, but a mistake in one can."""


Chart = dict[str, Level]


def chart_of_plan(plan: Definition) -> Chart:
    """The chart of a workflow."""
    drawing = _Drawing()
    drawing.level(plan, "")
    return drawing.chart


class _Drawing:
    def __init__(self) -> None:
        self.chart: Chart = {}

    def level(self, plan: Definition, prefix: str) -> None:
        level = self.chart[prefix] = Level(boxes=[], arrows=[])
        entries: list[int] = []
        for node in plan.nodes:
            entries = self._node(level, prefix, node, entries)

    def _node(self, level: Level, prefix: str, node: Node, entries: list[int]) -> list[int]:
        match node:
            case Parallel():
                return [self._body(level, prefix, arm, entries) for arm in node.arms]
            case Branch():
                fork = self._box(level, entries, {"path": prefix + node.id, "label": node.id, "kind": "branch"})
                return [self._body(level, prefix, arm, [fork], arm.id) for _, arm in node.arms]
            case Loop():
                box: Box = {"path": prefix + node.id, "label": node.body.id, "kind": "loop"}
                return [self._box(level, entries, box, node.body, f"{prefix}{node.id}.")]
            case Foreach():
                box = {"path": prefix + node.id, "label": node.body.id, "kind": "foreach"}
                return [self._box(level, entries, box, node.body, f"{prefix}{node.id}[].")]
            case Map() | Sleep():
                kind = "map" if isinstance(node, Map) else "sleep"
                return [self._box(level, entries, {"path": prefix + node.id, "label": node.id, "kind": kind})]
            case Graph():
                return self._graph(level, prefix, node, entries)
            case _:
                return [self._body(level, prefix, node, entries)]

    def _graph(self, level: Level, prefix: str, graph: Graph, entries: list[int]) -> list[int]:
        drawn: dict[str, int] = {}
        for vertex in graph.vertices:
            before = [drawn[needed] for needed in (*vertex.needs, *vertex.after) if needed in drawn]
            drawn[vertex.body.id] = self._body(level, prefix, vertex.body, before or entries)
        return [drawn[id_] for id_ in graph.ends or drawn]

    def _body(self, level: Level, prefix: str, body: Body, entries: list[int], words: str = "") -> int:
        kind = "nested" if isinstance(body, Nested) else "step"
        box: Box = {"path": prefix + (body.key or body.id), "label": body.id, "kind": kind}
        return self._box(level, entries, box, body, f"{box['path']}.", words)

    def _box(
        self, level: Level, entries: list[int], box: Box, body: Body | None = None, inside: str = "", words: str = ""
    ) -> int:
        if isinstance(body, Nested) and body.plan.program is None:
            box["opens"] = inside
            self.level(body.plan, inside)
        level["boxes"].append(box)
        number = len(level["boxes"]) - 1
        level["arrows"] += [[entry, number, words] if words else [entry, number] for entry in entries]
        return number


def needs_of(steps: Iterable[tuple[str, Sequence[str], Sequence[str]]]) -> dict[str, list[str]]:
    """path -> the steps it reads from, given (path, reads, binds) in order: each name from the last to bind it before."""
    binders: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for path, reads, binds in steps:
        needs[path] = list(dict.fromkeys(binders[name] for name in reads if name in binders))
        binders.update(dict.fromkeys(binds, path))
    return needs


def chart_of_needs(needs: Mapping[str, Sequence[str]], foreach: Iterable[str] = ()) -> Chart:
    """The chart of steps that pass values by name; those in `foreach` have items."""
    numbers = {path: number for number, path in enumerate(needs)}
    repeated = set(foreach)
    boxes: list[Box] = [
        {"path": path, "label": path, "kind": "foreach" if path in repeated else "step"} for path in needs
    ]
    arrows: list[list[Any]] = [[numbers[one], numbers[path]] for path, ones in needs.items() for one in ones]
    return {"": {"boxes": boxes, "arrows": arrows}}


def chart_of_circles(graph: Circular) -> Chart:
    """The chart of steps that need each other, with the arrows of the circles marked."""
    chart = chart_of_needs(graph.needs)
    level = chart[""]
    numbers = {path: number for number, path in enumerate(graph.needs)}
    round_: set[tuple[int, int]] = set()
    for circle in graph.circles:
        round_ |= {(numbers[needed], numbers[path]) for path, needed in pairwise(circle)}
    level["circle"] = [n for n, (source, target) in enumerate(level["arrows"]) if (source, target) in round_]
    return chart


def chart_of_spans(spans: Mapping[str, tuple[float, float | None]]) -> Chart:
    """The chart of what happened: an arrow from each step to those that began next after it ended.

    `spans` is path -> (start, end) in order of start; what still runs has no end.
    """
    needs: dict[str, list[str]] = {}
    ended: list[tuple[str, float, float]] = []
    for path, (start, _) in spans.items():
        before = [one for one in ended if one[2] <= start]
        latest = max((begun for _, begun, _ in before), default=0.0)
        needs[path] = [one for one, _, end in before if end > latest]
        if (over := spans[path][1]) is not None:
            ended.append((path, start, over))
    return chart_of_needs(needs)
