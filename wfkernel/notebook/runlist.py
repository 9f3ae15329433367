"""A list of runs as a small table, for ``%workflow list``."""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["render_runs_html", "render_runs_text"]

_COLUMNS = ("run_id", "workflow", "status", "started_at", "seconds", "error")


def _cells(row: dict[str, Any]) -> list[str]:
    shown = {**row, "status": "interrupted" if row["interrupted"] else row["status"]}
    shown["started_at"] = f"{row['started_at']:%Y-%m-%d %H:%M:%S}" if row["started_at"] else ""
    return ["" if shown[name] is None else " ".join(str(shown[name]).split()) for name in _COLUMNS]


def render_runs_html(rows: list[dict[str, Any]]) -> str:
    """Rows of `Store.runs` as an HTML table."""
    if not rows:
        return "<p>No runs yet.</p>"
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def render_runs_text(rows: list[dict[str, Any]]) -> str:
    """Rows of `Store.runs` as aligned text."""
    if not rows:
        return "No runs yet."
    table = [list(_COLUMNS), *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(_COLUMNS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table)
