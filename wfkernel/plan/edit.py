"""Changing workflow files from a program: comments, order and layout of what is not touched stay.

    with edit_workflow("nightly.wf.yaml") as file:
        file.step("fetch")["retries"] = 5
        file.add({"id": "tell", "run": "mail me", "needs": ["report"]}, after="report")

The file is read with ruamel.yaml, which remembers what it looked like, and indented as it was. At the end of the block it
is checked as it would be loaded, and written in one piece if nothing is wrong with it; if something is, or the block
raises, it stays as it was.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from wfkernel.errors import DefinitionError
from wfkernel.plan.load import WorkflowFileInvalid, check_text, text_of
from wfkernel.plan.reference import did_you_mean
from wfkernel.plan.text import Problem, Refused, parse_text
from wfkernel.plan.writing import round_trip

__all__ = ["WorkflowFile", "edit_workflow"]


def edit_workflow(path: str | Path) -> WorkflowFile:
    """A workflow file (YAML or JSON) to be changed, see `WorkflowFile`.

    Raises `WorkflowFileInvalid` for a file that cannot be read. One that breaks other rules can be edited, to mend it.
    """
    return WorkflowFile(Path(path))


class WorkflowFile:
    """A workflow file as data that can be changed. As a context manager it saves itself at the end of the block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = text_of(path)
        try:
            plain = parse_text(self._before, str(path)).data
        except Refused as refused:
            raise WorkflowFileInvalid(refused.problems) from None
        if not isinstance(plain, dict):
            raise WorkflowFileInvalid([Problem("a workflow is a mapping with `id:` and `steps:`", file=str(path))])
        self._is_json = path.suffix == ".json"
        self.data: dict[str, Any] = plain if self._is_json else self._yaml().load(self._before)
        """The document: dicts and lists, to be changed in place."""
        _keep_anchors(self.data)
        self._unchanged = self._dumped()

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self.data

    # -- steps --------------------------------------------------------------------------------------------------------

    def step(self, id: str) -> dict[str, Any]:
        """The entry of that id, wherever it stands. Raises `DefinitionError` if there is none."""
        container, key = self._find(id)
        found: dict[str, Any] = container[key]
        return found

    def add(self, entry: Mapping[str, Any], *, after: str | None = None, before: str | None = None) -> None:
        """Add an entry beside the one named, in the same list; without a name at the end of `steps`.

        Raises `DefinitionError` for an unknown id.
        """
        if after is not None and before is not None:
            raise DefinitionError("add() takes `after` or `before`, not both")
        if (beside := after or before) is None:
            self.data.setdefault("steps", []).append(dict(entry))
            return
        entries, position = self._in_list(beside)
        entries.insert(position + (after is not None), dict(entry))

    def remove(self, id: str) -> dict[str, Any]:
        """Take an entry out, and with it the comments that stand before the next one. Returns it.

        What others say of it (`needs`, expressions) is for the caller to change: saving refuses what leads nowhere.
        """
        entries, position = self._in_list(id)
        found: dict[str, Any] = entries.pop(position)
        return found

    def _in_list(self, id: str) -> tuple[list[Any], int]:
        container, key = self._find(id)
        if not isinstance(container, list):
            raise DefinitionError(
                f"'{id}' is the one step under '{key}:', nothing can stand beside it: change that block"
            )
        return container, key

    def _find(self, id: str) -> tuple[Any, Any]:
        """The list or mapping the entry is in, and its position or key there."""
        known: dict[str, tuple[Any, Any]] = {}
        for container, key in _entries(self.data.get("steps")):
            known.setdefault(str(container[key]["id"]), (container, key))
        if id not in known:
            raise DefinitionError(f"{self.path} has no step '{id}'{did_you_mean(id, known)}")
        return known[id]

    # -- saving ---------------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The file as it would be written now."""
        dumped = self._dumped()
        return self._before if dumped == self._unchanged else dumped

    def problems(self) -> list[Problem]:
        """What is wrong with it now; the places are those in `text`."""
        return check_text(self.text, str(self.path), self.path.parent).problems

    def save(self) -> None:
        """Write the file, in one piece, if it is valid.

        Raises `WorkflowFileInvalid`, with places in what would have been written, and `DefinitionError` if the file was
        changed by somebody else meanwhile; it stays as it is then.
        """
        text = self.text
        if problems := self.problems():
            raise WorkflowFileInvalid(problems)
        if text_of(self.path) != self._before:
            raise DefinitionError(f"{self.path} was changed meanwhile: edit it anew")
        if text != self._before:
            _write(self.path.resolve(), text)
            self._before, self._unchanged = text, self._dumped()

    def __enter__(self) -> WorkflowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.save()

    def _dumped(self) -> str:
        if self._is_json:
            return json.dumps(self.data, indent=2, ensure_ascii=False) + "\n"
        out = io.StringIO()
        self._yaml().dump(self.data, out)
        return out.getvalue()

    def _yaml(self) -> Any:
        from ruamel.yaml.util import load_yaml_guess_indent

        _, sequence, offset = load_yaml_guess_indent(self._before)
        nested = _NESTED.search(self._before)
        mapping = len(nested[2]) - len(nested[1]) if nested is not None else 2
        return round_trip(
            mapping=mapping, sequence=sequence or 2, offset=offset or 0, width=1 << 20
        )  # no line is broken


_NESTED: Final = re.compile(r"^( *)[\w-]+:[ ]*(?:#.*)?\n(\1 +)\w", re.M)
"""A key, and the first key of the mapping that is its value."""


def _keep_anchors(data: Any) -> None:
    """Have anchors written that no alias refers to: ruamel.yaml leaves them out."""
    if (named := getattr(data, "yaml_anchor", None)) is not None and (anchor := named()) is not None:
        anchor.always_dump = True
    if isinstance(data, dict | list):
        for child in data.values() if isinstance(data, dict) else data:
            _keep_anchors(child)


def _entries(data: Any) -> Iterator[tuple[Any, Any]]:
    """Everything with an id in lists, and in the blocks that hold one step: outer ones first."""
    children: list[Any] = []
    if isinstance(data, dict | list):
        children = list(data.items() if isinstance(data, dict) else enumerate(data))
    for name, child in children:
        if isinstance(child, dict) and "id" in child and (isinstance(data, list) or name in _ALONE):
            yield data, name
    for name, child in children:
        if name not in _NO_STEPS:
            yield from _entries(child)


_ALONE: Final = ("loop", "foreach", "then")
_NO_STEPS: Final = ("with", "metadata", "outputs", "inputs", "map", "sources", "vars", "context", "workflow")


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".", delete=False) as file:
        file.write(text)
    try:
        os.chmod(file.name, path.stat().st_mode & 0o7777)
        os.replace(file.name, path)
    except OSError:
        os.unlink(file.name)
        raise
