"""Which store file a notebook or command uses.

The setting `store` wins (`WFKERNEL_STORE`, ``wfkernel.toml``). Otherwise the store is ``.wfkernel/store.duckdb`` in the
project (`wfkernel.settings.project_folder`). Outside any project it lies beside the notebook.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["STORE_FILE", "find_store_path"]

STORE_FILE: Final = Path(".wfkernel") / "store.duckdb"


def find_store_path(start: Path | str | None = None) -> Path:
    """The absolute path of the store for work in folder `start` (default: the current folder)."""
    from wfkernel.settings import project_folder, settings

    configured = settings(start).store
    return configured or (project_folder(start) or Path(start or ".").absolute()) / STORE_FILE
