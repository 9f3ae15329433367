"""What a notebook says in words: its markdown cells, the comments a step cell begins with, what it is a template for.

All are kept for context search. Markdown belongs to the notebook and not to a run: a cell that changed takes the place of
its former text, and one that was deleted is forgotten.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.remember import is_on
from wfkernel.plan.template import notebook_template
from wfkernel.store.context_text import ContextRow, template_prefix, template_row

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["cell_doc", "ids_of", "keep_prose", "prose_of", "words_of"]

_LENGTH: Final = 4_000
_IMAGE: Final = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_GENERATED: Final = "wfkernel-"
"""Cells with such a tag were written by wfkernel itself."""


def cell_doc(body: str) -> str:
    """The comments or the string a step cell's body begins with, without their markers."""
    lines = []
    for line in body.splitlines():
        text = line.strip()
        if text.startswith("#"):
            lines.append(text.lstrip("#").strip())
        elif text:
            break
    if lines:
        return "\n".join(lines).strip()
    quoted = re.match(r"\s*[rR]?(\"\"\"|''')(.*?)\1", body, re.S)
    return quoted.group(2).strip() if quoted else ""


def prose_of(notebook: Path, cells: Iterable[Mapping[str, Any]], run_id: str | None) -> list[ContextRow]:
    """The notebook's markdown cells as texts to be found."""
    rows = []
    for position, cell in enumerate(cells):
        text = _IMAGE.sub(r"\1", cell["source"]).strip()[:_LENGTH] if cell["cell_type"] == "markdown" else ""
        generated = any(tag.startswith(_GENERATED) for tag in cell["metadata"].get("tags", ()))
        if _WORD.search(text) and not generated:
            id = f"{_prefix(notebook)}{cell.get('id') or position}"
            rows.append(ContextRow(id, "markdown", text, run_id, "", {"cell": position + 1}, time.time()))
    return rows


def words_of(notebook: Path, cells: Sequence[Mapping[str, Any]], run_id: str | None = None) -> list[ContextRow]:
    """The notebook's markdown, and what it is a template for."""
    template = notebook_template(notebook.stem, cells)
    return prose_of(notebook, cells, run_id) + template_row(str(notebook), template, time.time())


def ids_of(file: Path) -> tuple[str, str]:
    """What the ids of all texts of a notebook or workflow file begin with."""
    return _prefix(file), template_prefix(str(file))


def keep_prose(store: Store, notebook: Path, cells: Sequence[Mapping[str, Any]], run_id: str | None) -> None:
    """Keep the words of the notebook in the store; nothing if context search is off."""
    if is_on():
        store.context.add(words_of(notebook, cells, run_id), replacing=ids_of(notebook))


def _prefix(notebook: Path) -> str:
    return f"markdown/{notebook}/"
