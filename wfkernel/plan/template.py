"""A *template* in words: what can be run again with other values. Notebooks that declare inputs are, and workflow files.

The text says what it is called and for, what it takes and which steps it has. It is there to be found (`wf search --kind
template`), so it holds names, types and descriptions, and no default: a default may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from wfkernel.plan.inputs import inputs_in
from wfkernel.plan.outline import outline_of

if TYPE_CHECKING:
    from wfkernel.plan.document import Document

__all__ = ["file_template", "notebook_template"]

_ABOUT: Final = 600
"""Characters kept of what a notebook says about itself."""


def notebook_template(name: str, cells: Sequence[Mapping[str, Any]]) -> str:
    """What the notebook `name` is a template for; empty where it declares no input.

    What it is for the first markdown cell says.
    """
    inputs = inputs_in(cells)
    if not inputs:
        return ""
    about = next((cell["source"] for cell in cells if cell["cell_type"] == "markdown"), "")
    lines = (line.lstrip("# ").strip() for line in about.splitlines())
    takes = [(one.name, one.type, one.comment) for one in inputs]
    return _text(name, " ".join(filter(None, lines))[:_ABOUT], takes, (step.name for step in outline_of(cells).steps))


def file_template(name: str, document: Document) -> str:
    """What a workflow file is a template for; `name` stands where it says none."""
    named = (document.name if document.name != document.id else "", document.description, ", ".join(document.tags))
    takes = [
        (key, one, "") if isinstance(one, str) else (key, one.type, one.description)
        for key, one in (document.inputs or {}).items()
    ]
    ids = (getattr(step, "id", None) for step in document.steps)
    return _text(document.id or name, ". ".join(filter(None, named)), takes, filter(None, ids))


def _text(name: str, about: str, inputs: Iterable[tuple[str, str, str]], steps: Iterable[str]) -> str:
    """One text of a template; `inputs` are (name, type, description)."""
    takes = ", ".join(f"{key}: {kind or 'any'}" + (f" ({what})" if what else "") for key, kind, what in inputs)
    does = ", ".join(steps)
    lines = [f"{name}: {about}" if about else name]
    lines += [f"inputs: {takes}"] if takes else []
    lines += [f"steps: {does}"] if does else []
    return "\n".join(lines)
