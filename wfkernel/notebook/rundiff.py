"""Two runs side by side, for ``%workflow diff`` and ``wf diff``: a table of what differs, as text and as HTML."""

from __future__ import annotations

from html import escape

from wfkernel.store.compare import Change, RunComparison, StepComparison

__all__ = ["render_comparison_html", "render_comparison_text"]

_HEAD = ("step", "status", "time", "code", "values")


def render_comparison_text(compared: RunComparison) -> str:
    """A comparison as aligned text."""
    table = [_HEAD, *(_cells(step) for step in compared.steps)]
    widths = [max(len(line[i]) for line in table) for i in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*_summary(compared), "", *lines])


def render_comparison_html(compared: RunComparison) -> str:
    """A comparison as an HTML table."""
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    rows = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{_shown(cell, step)}</td>" for cell in _cells(step)) + "</tr>"
        for step in compared.steps
    )
    summary = "<br>".join(escape(line) for line in _summary(compared))
    return f"<p>{summary}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _shown(cell: str, step: StepComparison) -> str:
    return f"<strong>{escape(cell)}</strong>" if cell == step.step and step.differs else escape(cell)


def _summary(compared: RunComparison) -> list[str]:
    lines = [f"{compared.runs[0]} {compared.status[0]} → {compared.runs[1]} {compared.status[1]}"]
    if compared.parameters:
        lines.append("parameters: " + "; ".join(_change(change) for change in compared.parameters))
    if not compared.differs:
        lines.append("nothing differs but times")
    return lines


def _cells(step: StepComparison) -> tuple[str, ...]:
    before, after = step.status
    if before is None or after is None:
        status = f"only in the {'second' if before is None else 'first'} run"
    else:
        status = after if before == after else f"{before} → {after}"
    return (
        step.step,
        status,
        " → ".join("-" if seconds is None else f"{seconds:.2f} s" for seconds in step.seconds),
        "changed" if step.code_changed else "",
        "; ".join(_change(change) for change in step.values),
    )


def _change(change: Change) -> str:
    before, after = (
        " ".join((text or "").split()) if text is not None else "-" for text in (change.before, change.after)
    )
    if before == after:
        return f"{change.name}: {after} (another content)"
    return f"{change.name}: {before} → {after}"
