"""What can be set from outside, and where each setting comes from.

Every setting is a field of `Settings`. Its value is the first of

1. what is said in code or with a flag (``Workflow(durability=...)``, ``wf --store``): the caller's business;
2. the environment: ``WFKERNEL_`` and the name of the field in capitals;
3. the file ``wfkernel.toml`` of the project, or, where there is none, ``[tool.wfkernel]`` in its ``pyproject.toml``;
4. the default.

The project is the nearest folder upwards that holds ``wfkernel.toml``, ``pyproject.toml`` or ``.git``. Relative paths in
a file count from the file. A key or variable that is no setting, or a value that does not fit, is refused with its place.

Both are looked at whenever a setting is asked for, so a cell can set a variable and an edited file counts at once. This
module lies below all rooms. pydantic checks what is set, and is imported only then: that takes longer than the rest of
``import wfkernel``, and most processes are told the place of their store at most. (pydantic-settings would double it and
knows neither where a value came from nor which variables are misspelt.)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, field, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_type_hints

from wfkernel.errors import DefinitionError, SettingsInvalid
from wfkernel.plan.duration import seconds

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["FILE", "PREFIX", "Loaded", "Settings", "load", "model", "project_folder", "settings"]

PREFIX: Final = "WFKERNEL_"
FILE: Final = "wfkernel.toml"
_PYPROJECT: Final = "pyproject.toml"
_GIT: Final = ".git"
_PROJECT_MARKS: Final = (FILE, _PYPROJECT, _GIT)
_PREFIX_BYTES: Final = PREFIX.encode()
_HANDED_ON: Final = {"WFKERNEL_RUN", "WFKERNEL_PARENT", "WFKERNEL_NOTEBOOK", "WFKERNEL_CRASH_AT"}
"""Variables by which one process of wfkernel tells another what to do: no settings."""


def _about(description: str, **bounds: Any) -> dict[str, Any]:
    """What `wf config` says about a field of `Settings`, and what pydantic holds it to."""
    return {"description": description, **bounds}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, checked. `wf config` prints them."""

    store: Path | None = field(
        default=None, metadata=_about("The store file; default: .wfkernel/store.duckdb in the project.")
    )
    key_file: Path | None = field(
        default=None, metadata=_about("The key values are signed with; default: in the user's data folder.")
    )
    durability: Literal["fsync", "write", "exit"] = field(
        default="fsync",
        metadata=_about("What a finished step survives: fsync a power cut, write kill -9, exit nothing."),
    )
    checkpoints: str | None = field(
        default=None,
        metadata=_about(
            "When checkpoints are made by themselves: every step, 10 steps, 30s, 10 steps, keep 3; default: never."
        ),
    )
    context: bool = field(default=True, metadata=_about("Whether runs leave texts behind that can be searched."))
    embedder: str | None = field(
        default=None,
        metadata=_about(
            "What texts are embedded with (minilm, onnx:FOLDER, openai:MODEL, python:FILE.py:NAME); default: what the store holds."
        ),
    )
    worker: str = field(
        default="threads", metadata=_about("Where steps that are plain functions and name no worker execute.")
    )
    concurrency: int | None = field(
        default=None, metadata=_about("How many steps of a run may execute at the same time.", ge=1)
    )
    retention: str | None = field(
        default=None, metadata=_about("wf prune deletes ended runs older than this: 30d, 12h.")
    )
    keep_last: int | None = field(
        default=None, metadata=_about("wf prune keeps this many of each workflow's newest runs.", ge=0)
    )
    answers: dict[str, Any] = field(
        default_factory=dict,
        metadata=_about("Answers given beforehand: step -> answer, or a list of the answers it gets in turn."),
    )


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def _is_duration(value: str | None) -> str | None:
    try:
        if value is not None:
            seconds(value)
    except DefinitionError as error:
        raise ValueError(str(error)) from None
    return value


def _is_policy(value: str | None) -> str | None:
    from wfkernel.engine.checkpointing import checkpoint_policy

    try:
        checkpoint_policy(value)
    except DefinitionError as error:
        raise ValueError(str(error)) from None
    return value


@cache
def model() -> type[BaseModel]:
    """`Settings` as a pydantic model: what checks them, and describes them as a JSON schema."""
    from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, create_model

    checks: dict[str, Any] = {
        "answers": BeforeValidator(_from_json),
        "retention": AfterValidator(_is_duration),
        "checkpoints": AfterValidator(_is_policy),
    }
    kinds = get_type_hints(Settings)
    described: dict[str, Any] = {}
    for one in fields(Settings):
        default = one.default_factory() if callable(one.default_factory) else one.default
        kind = Annotated[kinds[one.name], checks[one.name]] if one.name in checks else kinds[one.name]
        described[one.name] = (kind, Field(default, **one.metadata))
    return create_model("Settings", __doc__=Settings.__doc__, __config__=ConfigDict(extra="forbid"), **described)


def _checked(given: dict[str, Any], places: dict[str, str]) -> Settings:
    """Settings of these values. Raises `SettingsInvalid`, a line for each that does not fit."""
    if all(isinstance(value, Path) for value in given.values()):  # nothing to check: a path is right as it is
        return Settings(**given)
    from pydantic import ValidationError

    try:
        checked = model()(**given)
    except ValidationError as error:
        found = [(str(one["loc"][0]), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        raise SettingsInvalid([f"{places[name]}: {name} = {given[name]!r}: {what}" for name, what in found]) from None
    return Settings(**{name: getattr(checked, name) for name in given})


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings and where each is from: ``default``, the variable, or ``FILE:LINE``."""

    values: Settings
    origins: dict[str, str]
    file: Path | None
    """The file that was read."""


def settings(near: Path | str | None = None) -> Settings:
    """The settings for work in folder `near` (default: the current one). Raises `SettingsInvalid`."""
    return load(near).values


def load(near: Path | str | None = None) -> Loaded:
    """The settings and their origins. Raises `SettingsInvalid`, which names every mistake and its place."""
    variables = tuple([(name, os.environ[name]) for name in _variables()])
    return _load(*_file_for(near), variables, os.getcwd())


def project_folder(near: Path | str | None = None) -> Path | None:
    """The project that folder `near` (default: the current one) belongs to."""
    found = _project(near)
    return Path(found[0]) if found is not None else None


def _variables() -> list[str]:
    """The variables of ours that are set. Every run asks, so names are compared before they are decoded, where they can be."""
    if os.supports_bytes_environ:
        return sorted([os.fsdecode(name) for name in os.environb if name.startswith(_PREFIX_BYTES)])
    return sorted([name for name in os.environ if name.startswith(PREFIX)])


def _project(near: Path | str | None) -> tuple[str, str, int] | None:
    """The project's folder, the first file of it that makes it one and may hold settings, and when that was changed.

    Every run asks, so it is done with strings: paths take ten times as long.
    """
    folder = os.path.join(os.getcwd(), near) if near else os.getcwd()
    while True:
        for mark in _PROJECT_MARKS:
            file = f"{folder}{os.sep}{mark}"
            with contextlib.suppress(OSError):
                changed = os.stat(file).st_mtime_ns
                return (folder, file, changed) if mark != _GIT else (folder, "", 0)
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None


def _file_for(near: Path | str | None) -> tuple[str, int]:
    """The file with the settings, "" if there is none, and when it was changed."""
    found = _project(near)
    return found[1:] if found is not None else ("", 0)


@lru_cache(maxsize=16)
def _load(path: str, changed: int, variables: tuple[tuple[str, str], ...], cwd: str) -> Loaded:
    file = Path(path) if path else None
    problems: list[str] = []
    given: dict[str, Any] = {}
    places: dict[str, str] = {}
    names = [one.name for one in fields(Settings)]
    origins = dict.fromkeys(names, "default")
    if file is not None:
        text, table = _read(file)
        for name, value in table.items():
            places[name] = _place(file, text, name)
            if name not in origins:
                problems.append(f"{places[name]}: there is no setting '{name}'{_meant(name, names)}")
                continue
            given[name] = _from_folder(name, value, file.parent)
            origins[name] = places[name]
    known = {f"{PREFIX}{name.upper()}": name for name in names}
    for variable, text in variables:
        name = known.get(variable, "")
        if not name and variable not in _HANDED_ON:
            problems.append(f"{variable}: there is no setting of this name{_meant(variable, known)}")
        elif name and text:
            given[name] = _from_folder(name, text, Path(cwd))
            places[name] = origins[name] = variable
    try:
        values = _checked(given, places)
    except SettingsInvalid as invalid:
        problems += invalid.problems
    if problems:
        raise SettingsInvalid(problems)
    return Loaded(values, origins, file if any(o != "default" and o not in known for o in origins.values()) else None)


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """The text of a file and the settings in it."""
    import tomllib

    try:
        text = file.read_text("utf-8")
        document = tomllib.loads(text) if file.name == FILE or "wfkernel" in text else {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid([f"{file}: cannot be read: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        place, what = (f"{file}:{at[1]}:{at[2]}", str(error)[: at.start()]) if at else (f"{file}", str(error))
        raise SettingsInvalid([f"{place}: {what}"]) from None
    if file.name == _PYPROJECT:
        tool = document.get("tool")
        document = tool.get("wfkernel", {}) if isinstance(tool, dict) else {}
        if not isinstance(document, dict):
            raise SettingsInvalid([f"{_place(file, text, 'wfkernel')}: [tool.wfkernel] is a table of settings"])
    return text, document


def _place(file: Path, text: str, name: str) -> str:
    """``FILE:LINE`` of a key, or of the table of that name."""
    within = "tool.wfkernel." if file.name == _PYPROJECT else ""
    header = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[\[?([^\]]+)\]", line):
            header = re.sub(r"[\s\"']", "", heading[1]) + "."
            key = header
        elif entry := re.match(r"\s*([\w\-.\"' ]+?)\s*=", line):
            key = header + re.sub(r"[\s\"']", "", entry[1]) + "."
        else:
            continue
        if key.startswith(f"{within}{name}."):
            return f"{file}:{number}"
    return str(file)


def _from_folder(name: str, value: Any, folder: Path) -> Any:
    """A value as it is meant: relative paths count from `folder`."""
    if name in ("store", "key_file") and isinstance(value, str):
        return folder / Path(value).expanduser()
    return value


def _meant(name: str, known: Any) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else f". There are {', '.join(known)}."
