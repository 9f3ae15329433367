"""The views are what the README promises: their columns in order, with their types."""

from __future__ import annotations

import re
from pathlib import Path

from wfkernel.store.store import Store

README = Path(__file__).parents[2] / "README.md"


def promised() -> dict[str, list[tuple[str, str]]]:
    """view -> (column, type), as the table in the README has it."""
    table = README.read_text(encoding="utf-8").split("<!-- views -->")[1]
    views = {}
    for line in table.splitlines():
        if found := re.match(r"\| `(\w+)` \|.*\| (.+) \|$", line):
            columns = found[2].split(", ")
            views[found[1]] = [(name, type_) for name, type_ in (c.strip("`").split(" ") for c in columns)]
    return views


def test_the_views_have_the_columns_that_the_readme_promises(tmp_path):
    store = Store(tmp_path / "store.duckdb")
    _, rows = store.query(
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'main' ORDER BY table_name, ordinal_position"
    )
    store.close()
    views: dict[str, list[tuple[str, str]]] = {}
    for view, column, type_ in rows:
        views.setdefault(view, []).append((column, type_))
    assert promised() == views
