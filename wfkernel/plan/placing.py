"""Where the boxes of a chart go: layers from left to right, few crossings.

The placing is Sugiyama's layered drawing as `grandalf` does it (ranks, crossing reduction, coordinates after Brandes and
Köpf, "Fast and Simple Horizontal Coordinate Assignment", 2001). grandalf draws downwards, so width and height change
places. What hangs together is placed together; the pieces are put on shelves, as wide as the widest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wfkernel.plan.chart import Level

__all__ = ["HEIGHT", "WIDTHS", "place"]

HEIGHT: Final = 46
WIDTHS: Final = {"step": 172, "nested": 172, "loop": 172, "foreach": 172, "map": 116, "sleep": 116, "branch": 116}
"""Pixels."""
GAP, LAYER_GAP = 14, 44
LINE: Final = 4
"""Room an arrow takes in a layer it passes through."""
SHELF: Final = 900


def place(level: Level) -> dict[str, Any]:
    """The level with ``at`` (x, y of each box's left upper corner), ``size`` (width, height) and ``via``.

    ``via`` holds, by position in `arrows`, the points an arrow passes through that spans several layers.
    """
    boxes = level["boxes"]
    places: list[tuple[float, float]] = [(0.0, 0.0)] * len(boxes)
    via: dict[str, list[list[float]]] = {}
    pieces = _pieces(level)
    shelf = max([SHELF, *(piece.width for piece in pieces)])
    x = y = tallest = widest = 0.0
    for piece in pieces:
        if x and x + piece.width > shelf:
            x, y, tallest = 0.0, y + tallest + GAP, 0.0
        for number, (left, top) in piece.corners.items():
            places[number] = (round(x + left), round(y + top))
        for number, points in piece.routes.items():
            via[str(number)] = [[round(x + left), round(y + top)] for left, top in points]
        x, tallest = x + piece.width + LAYER_GAP, max(tallest, piece.height)
        widest = max(widest, x - LAYER_GAP)
    size = [round(widest), round(y + tallest)]
    return {**level, "at": [list(at) for at in places], "size": size, "via": via}


@dataclass(frozen=True, slots=True)
class _Piece:
    """What hangs together, placed from (0, 0): corners by box, routes by arrow."""

    corners: dict[int, tuple[float, float]]
    routes: dict[int, list[tuple[float, float]]]
    width: float
    height: float


def _pieces(level: Level) -> list[_Piece]:
    """The connected pieces, in the order of their first boxes."""
    from grandalf.graphs import Edge, Graph, Vertex
    from grandalf.layouts import SugiyamaLayout

    vertices = [Vertex(number) for number in range(len(level["boxes"]))]
    for vertex in vertices:
        vertex.view = _Extent(HEIGHT, _width(level, vertex.data))
    edges = [Edge(vertices[a], vertices[b], data=n) for n, (a, b, *_) in enumerate(level["arrows"]) if a != b]
    for edge in edges:
        edge.view = _Route()
    graph = Graph(vertices, edges)
    found = []
    for piece in graph.C:
        layout = SugiyamaLayout(piece)
        layout.xspace, layout.yspace = GAP, LAYER_GAP
        layout.dw = LINE
        layout.init_all()
        layout.draw()
        corners = {v.data: (v.view.xy[1] - v.view.h / 2, v.view.xy[0] - v.view.w / 2) for v in piece.sV}
        routes = {e.data: [(y, x) for x, y in e.view.points[1:-1]] for e in piece.sE if len(e.view.points) > 2}
        tops = [y for _, y in corners.values()] + [y - HEIGHT / 2 for points in routes.values() for _, y in points]
        left, top = min(x for x, _ in corners.values()), min(tops)
        corners = {number: (x - left, y - top) for number, (x, y) in corners.items()}
        routes = {number: [(x - left, y - top) for x, y in points] for number, points in routes.items()}
        width = max(x + _width(level, number) for number, (x, _) in corners.items())
        found.append(_Piece(corners, routes, width, max(tops) - top + HEIGHT))
    return sorted(found, key=lambda piece: min(piece.corners))


def _width(level: Level, number: int) -> int:
    return WIDTHS[level["boxes"][number]["kind"]]


class _Extent:
    """What grandalf wants to know of a box: its extent, turned by a quarter."""

    def __init__(self, w: float, h: float) -> None:
        self.w, self.h = w, h
        self.xy = (0.0, 0.0)


class _Route:
    """Where grandalf leaves the points of an arrow."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []

    def setpath(self, points: list[tuple[float, float]]) -> None:
        self.points = points
