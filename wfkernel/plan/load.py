"""Reading workflow files: text, then the format (`document`), then everything else (`check`); all problems at once.

loaded = read_workflow("nightly.wf.yaml")     # raises WorkflowFileInvalid, with file:line:col for each problem
loaded.document.steps
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from wfkernel.errors import DefinitionError
from wfkernel.plan.check import BODIES, Checker
from wfkernel.plan.document import KINDS, Document, InputField, Restarts, kind_of
from wfkernel.plan.graph import Circular
from wfkernel.plan.reference import did_you_mean
from wfkernel.plan.text import Place, Problem, Refused, SourceText, parse_text

__all__ = ["SUFFIXES", "Loaded", "WorkflowFileInvalid", "check_text", "read_workflow", "text_of"]


SUFFIXES: Final = (".wf.yaml", ".wf.yml", ".wf.json")
"""What the names of workflow files end in, where files are looked for."""


class WorkflowFileInvalid(DefinitionError):
    """A workflow file cannot be used. `problems` says everything that is wrong with it, in its order."""

    def __init__(self, problems: Sequence[Problem], circular: Circular | None = None) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)), circular)


@dataclass(slots=True)
class Loaded:
    """A workflow file that was read, and what is wrong with it."""

    file: str
    folder: Path
    source: SourceText | None = None
    document: Document | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    """What keeps the workflow from running here, though its file is right: agents that are not registered."""
    nested: dict[str, Loaded] = field(default_factory=dict)
    """The files it uses, by the path written in it."""
    circular: list[Circular] = field(default_factory=list)
    """The graphs in it, and in what it uses, whose steps need each other."""


def read_workflow(path: str | Path, *, agents: Iterable[str] = ()) -> Loaded:
    """Read and check a file. Raises `WorkflowFileInvalid`; what it warns of is left to the caller."""
    file = Path(path)
    loaded = check_text(text_of(file), str(file), file.parent, agents=agents)
    if loaded.problems:
        raise WorkflowFileInvalid(loaded.problems, next(iter(loaded.circular), None))
    return loaded


def text_of(file: Path) -> str:
    """The text of a file. Raises `WorkflowFileInvalid` for one that cannot be read."""
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise WorkflowFileInvalid([Problem(f"cannot be read: {error.strerror}", file=str(file))]) from None
    except UnicodeDecodeError as error:
        raise WorkflowFileInvalid(
            [Problem(f"is not UTF-8: byte {error.start} is {error.object[error.start]:#x}", file=str(file))]
        ) from None


def check_text(
    text: str, file: str = "", folder: Path | None = None, *, agents: Iterable[str] = (), within: tuple[Path, ...] = ()
) -> Loaded:
    """Check the text of a file and tell everything that is wrong with it; raises nothing."""
    with _no_collecting():
        return _check_text(text, file, folder, agents, within)


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Without Python's collector of cycles, which goes through all the thousands of nodes made again and again and finds
    nothing: without it a large file takes 0.6 of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _check_text(text: str, file: str, folder: Path | None, agents: Iterable[str], within: tuple[Path, ...]) -> Loaded:
    loaded = Loaded(file, folder or Path())
    try:
        source = loaded.source = parse_text(text, file)
    except Refused as refused:
        loaded.problems = refused.problems
        return loaded
    if not isinstance(source.data, dict):
        loaded.problems = [Problem("a workflow is a mapping with `id:` and `steps:`", Place(1, 1), (), file)]
        return loaded
    here = (*within, (loaded.folder / Path(file).name).resolve())

    def note(message: str, path: tuple[str | int, ...], *, key: bool = False, placeholder: int | None = None,
             warning: bool = False) -> None:  # fmt: skip
        problem = Problem(message, source.place(path, key=key, placeholder=placeholder), path, file)
        (loaded.warnings if warning else loaded.problems).append(problem)

    def nested(name: str, path: tuple[str | int, ...]) -> None:
        other = loaded.folder / name
        if other.resolve() in here:
            note(f"{name} is the workflow this one is part of: it would never end", path)
        elif not other.is_file():
            note(f"there is no workflow file {name} in {loaded.folder}", path)
        elif name not in loaded.nested:
            inner = check_text(other.read_text("utf-8"), str(other), other.parent, agents=checker.agents, within=here)
            loaded.nested[name] = inner
            loaded.problems += inner.problems
            loaded.warnings += inner.warnings
            loaded.circular += inner.circular

    try:
        loaded.document = Document.model_validate(source.data)
    except ValidationError as error:
        _note_misfits(error, source, note)
    checker = Checker(note, loaded.folder, agents, nested)
    checker.document(source.data)
    loaded.circular = checker.circular + loaded.circular
    loaded.problems = _in_order(loaded.problems)
    return loaded


def _in_order(problems: list[Problem]) -> list[Problem]:
    """In the order of the file, each once."""
    return sorted(dict.fromkeys(problems), key=lambda p: (p.file, p.place))


# -- what pydantic says, for people ---------------------------------------------------------------------------------------


def _note_misfits(error: ValidationError, source: SourceText, note: Any) -> None:
    told: set[tuple[str | int, ...]] = set()
    for one in error.errors(include_url=False):
        path, model = _walk(one["loc"], source.data, missing=one["type"] == "missing")
        if path in told:  # the other branch of a union
            continue
        told.add(path)
        name = str(path[-1]) if path else ""
        match one["type"]:
            case "extra_forbidden":
                note(f"unknown key '{name}'{did_you_mean(name, _keys(model))}", path, key=True)
            case "missing":
                note(f"'{name}' is missing{_for(model)}", path[:-1])
            case "union_tag_not_found" | "union_tag_invalid":
                note(_no_kind(one["input"]), path)
            case "string_pattern_mismatch" if name in ("id", "needs", "dependencies") or isinstance(path[-1], int):
                note(
                    f"the id '{one['input']}' cannot be used: no '.', '[', ']', '#' and no space at its ends, please",
                    path,
                )
            case "string_type" if path == ("input",) and isinstance(one["input"], dict):
                note(
                    "the inputs by name stand under `inputs:`; `input:` is the address of a type for all of them", path
                )
            case "too_short":
                note(f"{_dotted(path)} is empty", path)
            case "too_long" | "string_too_long":
                note(f"{_dotted(path)} is longer than {one['ctx']['max_length']} characters", path)
            case _ if name == "foreach":
                note("'foreach' is a list or one ${{ expression }} that gives a list", path)
            case _:
                given = one["input"]
                shown = f", not {_shown(given)}" if isinstance(given, str | int | float | bool) or given is None else ""
                note(f"{_dotted(path)}: {one['msg'][0].lower()}{one['msg'][1:]}{shown}", path)


def _shown(given: Any) -> str:
    """A value as the file may have it, not too long."""
    text = json.dumps(given, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _walk(loc: tuple[str | int, ...], data: Any, *, missing: bool) -> tuple[tuple[str | int, ...], type[BaseModel]]:
    """The path in the file that pydantic means, without the tags it puts between, and the model it was validating.

    Of a key that is `missing` the last part is not in the file.
    """
    path: list[str | int] = []
    model: type[BaseModel] = Document
    tagged: Any = data  # the file itself is no entry, though it has `steps`
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        kind = kind_of(data) if isinstance(data, dict) else None
        if kind is not None and part == kind and tagged is not data and model is not InputField:
            tagged = data
            model = KINDS[kind]
        elif part == "Document" and isinstance(data, dict):
            model, tagged = Document, data
        elif isinstance(data, dict) and (part in data or (last and missing)):
            path.append(part)
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path.append(part)
            data = data[part]
        elif part == "InputField":
            model = InputField
        elif part == "Restarts":
            model = Restarts
    return tuple(path), model


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _for(model: type[BaseModel]) -> str:
    if model is Document:
        return ": a workflow has at least `id:` and `steps:`"
    kind = next((name for name, known in KINDS.items() if known is model), None)
    return f" in this '{kind}' entry" if kind else ""


def _no_kind(given: Any) -> str:
    kinds = ", ".join(KINDS)
    if not isinstance(given, dict):
        return f"an entry is a mapping with one of {kinds}, not {_shown(given)}"
    for key, what in (("parallel", "a list of steps"), ("foreach", "a step")):
        if key in given:
            return f"'{key}' is {what} here; for a step say also what it does: {', '.join(BODIES)}"
    close = next((hint for key in given if (hint := did_you_mean(str(key), KINDS)).startswith(" (did you")), "")
    return f"it is not clear what this entry does: it has none of {kinds}{close}"


def _dotted(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "workflow"
