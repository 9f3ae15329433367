"""Writing a notebook file as a plain Python module or as a workflow file: ``%workflow export`` and ``wf export``."""

from __future__ import annotations

import os
from pathlib import Path

from wfkernel.errors import DefinitionError
from wfkernel.notebook import places
from wfkernel.plan.export import SourceCell, export_document, export_module

__all__ = ["export_notebook", "export_workflow_file", "write_export"]

MARK = ('"""Exported from ', "# Exported from ")


def export_notebook(notebook: str) -> str:
    """The module a notebook file makes. Raises `DefinitionError` naming what has no counterpart in plain Python."""
    return export_module(_cells(notebook), places.stem(notebook), Path(notebook).name)


def export_workflow_file(notebook: str, folder: Path) -> str:
    """The workflow file, to lie in `folder`, a notebook makes: its steps by reference. Raises `DefinitionError`."""
    import yaml

    reference = Path(os.path.relpath(Path(notebook).absolute(), folder.absolute())).as_posix()
    document = export_document(_cells(notebook), places.stem(notebook), reference)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return f"# Exported from {Path(notebook).name} by wfkernel.\n{text}"


def write_export(notebook: str, file: Path) -> str:
    """Write the module (.py) or workflow file (.wf.yaml) and return its text. Raises `DefinitionError` rather than replace another file."""
    if file.suffix not in (".py", ".yaml", ".yml"):
        raise DefinitionError(
            f"{file}: the notebook becomes a Python module or a workflow file, give a name that ends in .py or .wf.yaml"
        )
    text = export_notebook(notebook) if file.suffix == ".py" else export_workflow_file(notebook, file.parent)
    if file.exists() and not file.read_text("utf-8").startswith(MARK):
        raise DefinitionError(
            f"{file} is there already and was not exported from a notebook: move it, or choose another name"
        )
    file.write_text(text, "utf-8")
    return text


def _cells(notebook: str) -> list[SourceCell]:
    return [
        SourceCell(number, cell["source"], "parameters" in cell["metadata"].get("tags", ()))
        for number, cell in enumerate(places.read_cells(notebook), 1)
        if cell["cell_type"] == "code"
    ]
