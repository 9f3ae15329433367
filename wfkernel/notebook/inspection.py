"""What can be said about a notebook without running it: its inputs, its steps and what is wrong with it."""

from __future__ import annotations

from typing import Any

from wfkernel.notebook.places import read_notebook
from wfkernel.plan.inputs import inputs_in
from wfkernel.plan.outline import outline_of

__all__ = ["inspect_notebook"]


def inspect_notebook(notebook: str) -> dict[str, Any]:
    """A JSON-safe description of the notebook at a path: `inputs`, `steps`, `problems`.

    Raises `DefinitionError` where there is no notebook that can be read.
    """
    nb = read_notebook(notebook)
    found = outline_of(nb.cells)
    needs = found.needs()
    return {
        "notebook": notebook,
        "inputs": [
            {"name": one.name, "type": one.type, "default": one.default, "required": one.default is None,
             "comment": one.comment}
            for one in inputs_in(nb.cells)
        ],
        "steps": [
            {"step": step.name, "cell": step.position + 1, "after": needs[step.name],
             "reads": sorted(step.names.reads), "binds": sorted(step.names.binds)}
            for step in found.steps
        ],
        "problems": found.problems,
    }  # fmt: skip
