"""What is on the other side of this kernel: which notebook, and is somebody looking at it live?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NOTEBOOK_VARIABLE: Final = "WFKERNEL_NOTEBOOK"
"""Environment variable by which a headless run tells its kernel which notebook it runs."""

__all__ = ["NOTEBOOK_VARIABLE", "deleted_cells", "is_live", "notebook_path", "parent_header", "publish"]


def notebook_path(shell: InteractiveShell) -> Path | None:
    """The notebook this kernel belongs to, where it can be known.

    A headless run tells it in WFKERNEL_NOTEBOOK, Jupyter Server in JPY_SESSION_NAME, VS Code in a variable.
    """
    name = (
        os.environ.get(NOTEBOOK_VARIABLE)
        or os.environ.get("JPY_SESSION_NAME")
        or shell.user_ns.get("__vsc_ipynb_file__")
    )
    if not name:
        return None
    path = Path(str(name)).absolute()
    return path if path.suffix == ".ipynb" else None


def parent_header(shell: InteractiveShell) -> dict[str, Any]:
    """The request that is being executed (empty outside a Jupyter kernel)."""
    kernel = getattr(shell, "kernel", None)
    return dict(kernel.get_parent("shell") or {}) if kernel is not None else {}


def is_live(shell: InteractiveShell) -> bool:
    """Whether a front end shows outputs as they come. Notebook clients that run headless send no cell metadata."""
    metadata = parent_header(shell).get("metadata") or {}
    return isinstance(metadata, dict) and "cellId" in metadata


def deleted_cells(shell: InteractiveShell) -> list[str]:
    """Ids of cells the user deleted, as far as the front end tells."""
    metadata = parent_header(shell).get("metadata") or {}
    return list(metadata.get("deletedCells") or []) if isinstance(metadata, dict) else []


def publish(shell: InteractiveShell, parent: dict[str, Any], message: str, content: dict[str, Any]) -> None:
    """Send an output message to the cell that sent the request `parent`, from any thread.

    The display functions of IPython address whichever cell runs now; a step's line belongs to its own cell.
    """
    from ipykernel.jsonutil import json_clean

    publisher: Any = shell.display_pub
    publisher.session.send(
        publisher.pub_socket, message, json_clean(content), parent=parent, ident=getattr(publisher, "topic", None)
    )
