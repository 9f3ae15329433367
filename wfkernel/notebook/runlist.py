"""A list of runs, or of checkpoints, as a small table."""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["render_runs_html", "render_runs_text", "table_html", "table_text"]

Rows = list[dict[str, Any]]

_COLUMNS = ("run_id", "workflow", "status", "started_at", "seconds", "error")


def _run(row: dict[str, Any]) -> dict[str, Any]:
    shown = {**row, "status": "interrupted" if row["interrupted"] else row["status"]}
    shown["started_at"] = f"{row['started_at']:%Y-%m-%d %H:%M:%S}" if row["started_at"] else ""
    return {name: shown[name] for name in _COLUMNS}


def _cells(row: dict[str, Any]) -> list[str]:
    return ["" if value is None else " ".join(str(value).split()) for value in row.values()]


def render_runs_html(rows: Rows) -> str:
    """Rows of `Store.runs` as an HTML table."""
    return table_html([_run(row) for row in rows], "No runs yet.")


def render_runs_text(rows: Rows) -> str:
    """Rows of `Store.runs` as aligned text."""
    return table_text([_run(row) for row in rows], "No runs yet.")


def table_html(rows: Rows, empty: str) -> str:
    """Rows with the same keys as an HTML table."""
    if not rows:
        return f"<p>{empty}</p>"
    left = "style='text-align:left'"
    head = "".join(f"<th {left}>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td {left}>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def table_text(rows: Rows, empty: str) -> str:
    """Rows with the same keys as aligned text."""
    if not rows:
        return empty
    table = [list(rows[0]), *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table)
