"""Notebooks and workflow files that may never have run, made findable: their prose, and what they are templates for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfkernel.engine.agents import registered_agents
from wfkernel.errors import DefinitionError
from wfkernel.notebook.places import read_notebook
from wfkernel.notebook.prose import ids_of, words_of
from wfkernel.plan.load import SUFFIXES, read_workflow
from wfkernel.plan.template import file_template
from wfkernel.store.context_text import template_row

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["Indexed", "index_files"]

_ELSEWHERE: Final = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist"})
"""Folders whose files nobody here wrote; nor are those in folders that begin with a dot."""


@dataclass(slots=True)
class Indexed:
    """What came of it: absolute paths."""

    notebooks: list[Path] = field(default_factory=list)
    templates: list[Path] = field(default_factory=list)
    """Notebooks that declare inputs, and workflow files."""
    forgotten: list[Path] = field(default_factory=list)
    """What was known before and is gone."""
    problems: list[str] = field(default_factory=list)
    """Of files that cannot be read: what is wrong with them."""


def index_files(store: Store, paths: Iterable[Path]) -> Indexed:
    """Keep the words of the notebooks and workflow files at `paths`, and of those in the folders among them.

    Files of a folder that are gone are forgotten. Raises `DefinitionError` for a path that is no folder, notebook or workflow file.
    """
    found = Indexed()
    for path in paths:
        place = path.absolute()
        if place.is_dir():
            for file in _files(place):
                _keep(store, file, found)
            _forget_gone(store, place, found)
        elif place.name.endswith((*SUFFIXES, ".ipynb")) and place.is_file():
            _keep(store, place, found)
        else:
            what = "is no notebook (.ipynb), workflow file (.wf.yaml) or folder" if place.exists() else "is not there"
            raise DefinitionError(f"{path} {what}: nothing in it can be made findable")
    return found


def _files(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _ELSEWHERE and not name.startswith("."))
        yield from (Path(at, name) for name in sorted(names) if name.endswith((*SUFFIXES, ".ipynb")))


def _keep(store: Store, file: Path, found: Indexed) -> None:
    try:
        if file.suffix == ".ipynb":
            rows = words_of(file, read_notebook(str(file)).cells)
            found.notebooks.append(file)
        else:
            file = file.resolve()  # as a run of it says
            document = read_workflow(file, agents=registered_agents()).document
            assert document is not None
            rows = template_row(str(file), file_template(file.name.partition(".")[0], document), time.time())
    except DefinitionError as error:
        found.problems += str(error).splitlines()
        return
    store.context.add(rows, replacing=ids_of(file))
    found.templates += [file] if any(row.kind == "template" for row in rows) else []


def _forget_gone(store: Store, folder: Path, found: Indexed) -> None:
    _, ids = store.query("SELECT id FROM context WHERE kind IN ('markdown', 'template')")
    known = {Path(id.partition("/")[2].rpartition("/")[0]) for (id,) in ids}
    for file in sorted(file for file in known if folder in file.parents and not file.exists()):
        store.context.add([], replacing=ids_of(file))
        found.forgotten.append(file)
