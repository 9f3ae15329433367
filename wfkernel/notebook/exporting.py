"""Writing a notebook file as a plain Python module: ``%workflow export`` and ``wf export``."""

from __future__ import annotations

from pathlib import Path

from wfkernel.errors import DefinitionError
from wfkernel.notebook import places
from wfkernel.plan.export import SourceCell, export_module

__all__ = ["export_notebook", "write_module"]

MARK = '"""Exported from '


def export_notebook(notebook: str) -> str:
    """The module a notebook file makes. Raises `DefinitionError` naming what has no counterpart in plain Python."""
    cells = [
        SourceCell(number, cell.source, "parameters" in cell.metadata.get("tags", ()))
        for number, cell in enumerate(places.read_notebook(notebook).cells, 1)
        if cell.cell_type == "code"
    ]
    return export_module(cells, places.stem(notebook), Path(notebook).name)


def write_module(notebook: str, file: Path) -> None:
    """Write the module to `file`. Raises `DefinitionError` rather than replace a file that was not made by this."""
    module = export_notebook(notebook)
    if file.suffix != ".py":
        raise DefinitionError(f"{file}: the notebook becomes a Python module, give a name that ends in .py")
    if file.exists() and not file.read_text("utf-8").startswith(MARK):
        raise DefinitionError(
            f"{file} is there already and was not exported from a notebook: move it, or choose another name"
        )
    file.write_text(module, "utf-8")
