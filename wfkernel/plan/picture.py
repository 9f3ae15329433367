"""A chart as an SVG document, and its boxes in batches. Where boxes go is `wfkernel.plan.placing`'s business."""

from __future__ import annotations

from html import escape
from typing import Final

from wfkernel.plan.chart import Chart
from wfkernel.plan.graph import batches

__all__ = ["batches_of", "svg"]

MARGIN: Final = 20


def batches_of(chart: Chart) -> list[list[str]]:
    """The paths of the outermost boxes in batches: each comes after boxes of batches before it only."""
    level = chart[""]
    before: dict[str, list[str]] = {box["path"]: [] for box in level["boxes"]}
    for source, target, *_ in level["arrows"]:
        if source != target:
            before[level["boxes"][target]["path"]].append(level["boxes"][source]["path"])
    return batches(before)


def svg(chart: Chart) -> str:
    """The outermost level of a chart, in the colours of the page around it."""
    from wfkernel.plan.placing import HEIGHT, WIDTHS, place

    level = place(chart[""])
    boxes, at = level["boxes"], [(x + MARGIN, y + MARGIN) for x, y in level["at"]]
    width, height = (side + 2 * MARGIN for side in level["size"])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="none" stroke="currentColor">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="currentColor" stroke="none"/></marker></defs>',
    ]
    for number, (source, target, *words) in enumerate(level["arrows"]):
        start = at[source][0] + WIDTHS.get(boxes[source]["kind"], WIDTHS["step"]), at[source][1] + HEIGHT / 2
        end = at[target][0], at[target][1] + HEIGHT / 2
        through = [(x + MARGIN, y + MARGIN) for x, y in level["via"].get(str(number), ())]
        points = " ".join(f"{x},{y}" for x, y in (start, *through, end))
        parts.append(f'<polyline points="{points}" marker-end="url(#arrow)"/>')
        if words and words[0]:
            x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 4
            parts.append(
                f'<text x="{x}" y="{y}" text-anchor="middle" fill="currentColor" stroke="none">{escape(words[0])}</text>'
            )
    for box, (x, y) in zip(boxes, at, strict=True):
        wide = WIDTHS.get(box["kind"], WIDTHS["step"])
        label = box["label"] if len(box["label"]) <= 24 else f"{box['label'][:23]}…"
        parts.append(
            f'<g><title>{escape(box["path"])}</title><rect x="{x}" y="{y}" width="{wide}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x + wide / 2}" y="{y + HEIGHT / 2 + 4}" text-anchor="middle" fill="currentColor" stroke="none">'
            f"{escape(label)}</text></g>"
        )
    return "\n".join([*parts, "</svg>"])
