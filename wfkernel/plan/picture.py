"""A chart as an SVG document, and its boxes in batches. Where boxes go is `wfkernel.plan.placing`'s business."""

from __future__ import annotations

from html import escape
from typing import Final

from wfkernel.plan.chart import Box, Chart
from wfkernel.plan.graph import batches
from wfkernel.plan.placing import HEIGHT, WIDTHS

__all__ = ["batches_of", "svg"]

MARGIN: Final = 20
BELOW: Final = 24
"""Room for arrows that lead back."""
INK, LINE, FILL, WRONG = "#24292f", "#8c959f", "#f6f8fa", "#cf222e"
ROUND: Final = ("branch", "map", "sleep")
REPEATED: Final = ("foreach", "loop")


def batches_of(chart: Chart) -> list[list[str]]:
    """The paths of the outermost boxes in batches: each comes after boxes of batches before it only. None in a circle."""
    level = chart[""]
    if level.get("circle"):
        return []
    before: dict[str, list[str]] = {box["path"]: [] for box in level["boxes"]}
    for source, target, *_ in level["arrows"]:
        if source != target:
            before[level["boxes"][target]["path"]].append(level["boxes"][source]["path"])
    return batches(before)


def svg(chart: Chart) -> str:
    """The outermost level of a chart, in colours of its own: dark on light boxes, legible on any page."""
    from wfkernel.plan.placing import place

    level = place(chart[""])
    boxes, at = level["boxes"], [(x + MARGIN, y + MARGIN) for x, y in level["at"]]
    width, height = (side + 2 * MARGIN for side in level["size"])
    bottom, circle = height, set(level.get("circle", ()))
    if circle:
        height += BELOW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" text-anchor="middle" fill="none" stroke="{LINE}">',
        f"<defs>{_tip('arrow', LINE)}{_tip('wrong', WRONG)}</defs>",
    ]
    for number, (source, target, *words) in enumerate(level["arrows"]):
        start = at[source][0] + WIDTHS[boxes[source]["kind"]], at[source][1] + HEIGHT / 2
        end = at[target][0], at[target][1] + HEIGHT / 2
        through = [(x + MARGIN, y + MARGIN) for x, y in level["via"].get(str(number), ())]
        if source == target:
            line = _loop(*start)
        elif end[0] < start[0]:
            line = _back(boxes[source], at[source], boxes[target], at[target], bottom)
        else:
            line = _curve([start, *through, end])
        if number in circle:
            said = escape(f"{boxes[target]['path']} needs {boxes[source]['path']}, in a circle")
            parts.append(
                f'<path d="{line}" class="circle" stroke="{WRONG}" stroke-width="2.5" marker-end="url(#wrong)">'
                f"<title>{said}</title></path>"
            )
        else:
            parts.append(f'<path d="{line}" marker-end="url(#arrow)"/>')
        if words and words[0]:
            x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 4
            parts.append(f'<text x="{x}" y="{y}" fill="{LINE}" stroke="none">{escape(words[0])}</text>')
    for box, (x, y) in zip(boxes, at, strict=True):
        wide, kind = WIDTHS[box["kind"]], box["kind"]
        frame = f'width="{wide}" height="{HEIGHT}" rx="{HEIGHT / 2 if kind in ROUND else 7}" fill="{FILL}"'
        behind = f'<rect x="{x + 4}" y="{y - 4}" {frame}/>' if kind in REPEATED else ""
        label = box["label"] if len(box["label"]) <= 24 else f"{box['label'][:23]}…"
        said = f"{box['path']} ({kind})" if kind != "step" else box["path"]
        parts.append(
            f'<g><title>{escape(said)}</title>{behind}<rect x="{x}" y="{y}" {frame}/>'
            f'<text x="{x + wide / 2}" y="{y + HEIGHT / 2 + 4}" fill="{INK}" stroke="none">{escape(label)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"])


def _tip(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z" fill="{colour}" stroke="none"/></marker>'
    )


def _loop(x: float, y: float) -> str:
    """A path from the right side of a box over its corner to its top."""
    top = y - HEIGHT / 2
    return f"M{x},{y}C{x + 26},{y} {x + 18},{top - 22} {x - 30},{top}"


def _back(source: Box, start: tuple[float, float], target: Box, end: tuple[float, float], bottom: float) -> str:
    """A path to a box further left, below all boxes: from the middle of one's bottom to the middle of the other's."""
    x, u, low = start[0] + WIDTHS[source["kind"]] / 2, end[0] + WIDTHS[target["kind"]] / 2, bottom + BELOW * 0.8
    return f"M{x},{start[1] + HEIGHT}C{x},{low} {u},{low} {u},{end[1] + HEIGHT}"


def _curve(points: list[tuple[float, float]]) -> str:
    """A path through the points that leaves and enters each of them level."""
    (x, y), *rest = points
    path = f"M{x},{y}"
    for u, v in rest:
        half = (u - x) / 2
        path += f"C{x + half},{y} {u - half},{v} {u},{v}"
        x, y = u, v
    return path
