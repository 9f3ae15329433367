"""A workflow as a Mermaid flowchart: text that JupyterLab, GitHub and many editors draw by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wfkernel.plan.chart import Chart
from wfkernel.plan.nodes import Body, Branch, Foreach, Graph, Loop, Map, Nested, Node, Parallel, Sleep

if TYPE_CHECKING:
    from wfkernel.plan.builder import Definition

__all__ = ["mermaid", "mermaid_of_chart"]


def mermaid(plan: Definition) -> str:
    """The plan as a Mermaid flowchart, from left to right."""
    chart = _Chart()
    chart.plan(plan, [])
    return "\n".join(["flowchart LR", *chart.lines])


def mermaid_of_chart(chart: Chart) -> str:
    """The outermost level of a chart as a Mermaid flowchart; the arrows of circles are red."""
    level = chart[""]
    lines = [f'    n{number}["{_quoted(box["label"])}"]' for number, box in enumerate(level["boxes"])]
    lines += [f"    n{source} --> n{target}" for source, target, *_ in level["arrows"]]
    if circle := level.get("circle"):
        lines.append(f"    linkStyle {','.join(map(str, circle))} stroke:#cf222e,stroke-width:3px")
    return "\n".join(["flowchart LR", *lines])


def _quoted(text: str) -> str:
    return text.replace('"', "'")


class _Chart:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def plan(self, plan: Definition, entries: list[str]) -> list[str]:
        """Draw the plan after `entries`; returns the boxes the next entry follows."""
        for node in plan.nodes:
            entries = self._node(node, entries)
        return entries

    def _node(self, node: Node, entries: list[str]) -> list[str]:
        match node:
            case Parallel():
                return [end for arm in node.arms for end in self._body(arm, entries)]
            case Branch():
                fork = self._box("{", node.id, "}", entries)
                return [end for _, arm in node.arms for end in self._body(arm, [fork], "if")]
            case Loop():
                ends = self._body(node.body, entries)
                for end in ends:
                    self.lines.append(f'    {end} -- "{"until" if node.until else "while"}" --> {end}')
                return ends
            case Foreach():
                return self._body(node.body, entries, "for each")
            case Map() | Sleep():
                return [self._box("([", node.id, "])", entries)]
            case Graph():
                return self._graph(node, entries)
            case _:
                return self._body(node, entries)

    def _body(self, body: Body, entries: list[str], label: str = "") -> list[str]:
        if not isinstance(body, Nested) or body.plan.program is not None:
            return [self._box("[", body.id, "]", entries, label)]
        head = self._box("[[", body.id, "]]", entries, label)
        return self.plan(body.plan, [head])

    def _graph(self, graph: Graph, entries: list[str]) -> list[str]:
        drawn: dict[str, list[str]] = {}
        for vertex in graph.vertices:
            before = [end for needed in (*vertex.needs, *vertex.after) for end in drawn.get(needed, ())]
            drawn[vertex.body.id] = self._body(vertex.body, before or entries)
        return [end for id_ in graph.ends or drawn for end in drawn[id_]]

    def _box(self, left: str, text: str, right: str, entries: list[str], label: str = "") -> str:
        self._count += 1
        box = f"n{self._count}"
        self.lines.append(f'    {box}{left}"{_quoted(text)}"{right}')
        arrow = f' -- "{label}" --> ' if label else " --> "
        self.lines += [f"    {entry}{arrow}{box}" for entry in entries]
        return box
