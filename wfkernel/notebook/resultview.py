"""The result of a run as a small table, for displaying a `RunResult` in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from wfkernel.engine.failures import error_line
from wfkernel.engine.result import RunResult, StepResult, short_repr
from wfkernel.notebook.view import ICONS, seconds, tidy

__all__ = ["render_result_html"]

MOST: Final = 30
"""Steps a table shows."""


def render_result_html(result: RunResult) -> str:
    """What the run came to and what each step put out."""
    said = [f"{_icon(result.status)} <strong>{escape(result.status)}</strong>", f"run {escape(result.run_id)}"]
    parts = [f"<p>{' · '.join(said)}</p>"]
    if result.error:
        parts.append(f"<p>{_error(result.error)}</p>")
    elif result.tripwire:
        parts.append(f"<p>{_text(result.tripwire['reason'])}</p>")
    elif result.status == "success":
        parts.append(f"<p><code>{_text(short_repr(result.result))}</code></p>")
    if result.steps:
        rows = "".join(_row(path, step) for path, step in list(result.steps.items())[:MOST])
        heads = "".join(_left("th", head) for head in ("step", "status", "time", "output"))
        parts.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
    if len(result.steps) > MOST:
        parts.append(f"<p>and {len(result.steps) - MOST} more steps: <code>.steps</code></p>")
    return "".join(parts)


def _row(path: str, step: StepResult) -> str:
    took = max(0.0, step.ended_at - step.started_at) if step.started_at and step.ended_at else None
    if step.error:
        came_to = _error(step.error)
    else:
        came_to = f"<code>{_text(short_repr(step.output))}</code>" if step.output is not None else ""
    cells = (_text(path), f"{_icon(step.status)} {escape(step.status)}", seconds(took), came_to)
    return f"<tr>{''.join(_left('td', cell) for cell in cells)}</tr>"


def _error(error: dict[str, Any]) -> str:
    return _text(error_line(error))


def _left(tag: str, content: str) -> str:
    return f'<{tag} style="text-align:left">{content}</{tag}>'


def _icon(status: str) -> str:
    return ICONS.get(status, "")


def _text(value: Any) -> str:
    return escape(tidy(str(value)))
