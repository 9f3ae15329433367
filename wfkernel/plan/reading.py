"""The cells of a notebook file, for who needs each cell's kind, text and tags, which the JSON says as it stands.

nbformat checks every notebook it reads with jsonschema, and where Jupyter's server is installed importing jsonschema
compiles a grammar of IRIs: more than two seconds before the first step of every kernel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_cells", "read_metadata"]


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of the notebook file at `path`, each with ``cell_type``, ``metadata`` and its ``source`` as one text.

    Raises `OSError` for a file that cannot be opened and `ValueError` for one that holds no notebook, or half of one.
    """
    book = _book(path)
    if book["nbformat"] != 4:
        import nbformat  # knows the formats before 4

        return list(nbformat.reads(json.dumps(book), as_version=4).cells)
    try:
        return [
            {"metadata": {}, **cell, "cell_type": cell["cell_type"], "source": "".join(cell["source"])}
            for cell in book["cells"]
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no notebook of format 4") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of the notebook file at `path`. Raises as `read_cells` does."""
    return dict(_book(path).get("metadata") or {})


def _book(path: Path) -> dict[str, Any]:
    book = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(book, dict) or "nbformat" not in book:
        raise ValueError(f"{path} is no notebook")
    return book
