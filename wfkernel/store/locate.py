"""Which store file a notebook or command uses.

`WFKERNEL_STORE` wins. Otherwise the store is ``.wfkernel/store.duckdb`` in the project: the nearest folder upwards that
holds ``pyproject.toml`` or ``.git``. Outside any project it lies beside the notebook.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["STORE_FILE", "find_store_path"]

STORE_FILE: Final = Path(".wfkernel") / "store.duckdb"
_PROJECT_MARKS: Final = ("pyproject.toml", ".git")


def find_store_path(start: Path | str | None = None) -> Path:
    """The absolute path of the store for work in folder `start` (default: the current folder)."""
    configured = os.environ.get("WFKERNEL_STORE")
    if configured:
        return Path(configured).expanduser().absolute()
    folder = Path(start or ".").absolute()
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _PROJECT_MARKS):
            return candidate / STORE_FILE
    return folder / STORE_FILE
