"""What can be set from outside, and where each setting comes from.

Every setting is a field of `Settings`. Its value is the first of

1. what is said in code or with a flag (``Workflow(durability=...)``, ``wf --store``): the caller's business;
2. the environment: ``WFKERNEL_`` and the name of the field in capitals;
3. the file ``wfkernel.toml`` of the project, or, where there is none, ``[tool.wfkernel]`` in its ``pyproject.toml``;
4. the default.

The project is the nearest folder upwards that holds ``wfkernel.toml``, ``pyproject.toml`` or ``.git``. Relative paths in
a file count from the file. A key or variable that is no setting, or a value that does not fit, is refused with its place.

Both are looked at whenever a setting is asked for, so a cell can set a variable and an edited file counts at once. This
module lies below all rooms and is imported where it is needed: pydantic takes longer to import than the rest of
``import wfkernel``. (pydantic-settings would double that and knows neither where a value came from nor which variables
are misspelt.)
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from wfkernel.errors import SettingsInvalid

__all__ = ["FILE", "PREFIX", "Loaded", "Settings", "load", "project_folder", "settings"]

PREFIX: Final = "WFKERNEL_"
FILE: Final = "wfkernel.toml"
_PYPROJECT: Final = "pyproject.toml"
_PROJECT_MARKS: Final = (FILE, _PYPROJECT, ".git")
_HANDED_ON: Final = {"WFKERNEL_RUN", "WFKERNEL_PARENT", "WFKERNEL_NOTEBOOK", "WFKERNEL_CRASH_AT"}
"""Variables by which one process of wfkernel tells another what to do: no settings."""


class Settings(BaseModel):
    """The settings, checked. `wf config` prints them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path | None = Field(None, description="The store file; default: .wfkernel/store.duckdb in the project.")
    key_file: Path | None = Field(
        None, description="The key values are signed with; default: in the user's data folder."
    )
    durability: Literal["fsync", "write", "exit"] = Field(
        "fsync", description="What a finished step survives: fsync a power cut, write kill -9, exit nothing."
    )
    context: bool = Field(True, description="Whether runs leave texts behind that can be searched.")
    embedder: str | None = Field(
        None, description="What texts are embedded with; default: what the store was filled with."
    )
    worker: str = Field("threads", description="Where steps that are plain functions and name no worker execute.")
    concurrency: int | None = Field(None, ge=1, description="How many steps of a run may execute at the same time.")
    retention: str | None = Field(None, description="wf prune deletes ended runs older than this: 30d, 12h.")
    keep_last: int | None = Field(None, ge=0, description="wf prune keeps this many of each workflow's newest runs.")
    answers: dict[str, Any] = Field(
        {}, description="Answers given beforehand: step -> answer, or a list of the answers it gets in turn."
    )

    @field_validator("answers", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None

    @field_validator("retention")
    @classmethod
    def _is_duration(cls, value: str | None) -> str | None:
        from wfkernel.errors import DefinitionError
        from wfkernel.plan.duration import seconds

        try:
            if value is not None:
                seconds(value)
        except DefinitionError as error:
            raise ValueError(str(error)) from None
        return value


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
    variables = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(PREFIX)))
    return _load(*_file_for(near), variables, os.getcwd())


def project_folder(near: Path | str | None = None) -> Path | None:
    """The project that folder `near` (default: the current one) belongs to."""
    folder = Path(near or ".").absolute()
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _PROJECT_MARKS):
            return candidate
    return None


def _file_for(near: Path | str | None) -> tuple[Path | None, int]:
    """The file with the settings, and when it was changed."""
    folder = project_folder(near)
    for name in (FILE, _PYPROJECT) if folder is not None else ():
        assert folder is not None
        try:
            return folder / name, (folder / name).stat().st_mtime_ns
        except OSError:
            continue
    return None, 0


@lru_cache(maxsize=16)
def _load(file: Path | None, changed: int, variables: tuple[tuple[str, str], ...], cwd: str) -> Loaded:
    problems: list[str] = []
    given: dict[str, Any] = {}
    places: dict[str, str] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    if file is not None:
        text, table = _read(file)
        for name, value in table.items():
            places[name] = _place(file, text, name)
            if name not in Settings.model_fields:
                problems.append(f"{places[name]}: there is no setting '{name}'{_meant(name, Settings.model_fields)}")
                continue
            given[name] = _from_folder(name, value, file.parent)
            origins[name] = places[name]
    known = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    for variable, text in variables:
        name = known.get(variable, "")
        if not name and variable not in _HANDED_ON:
            problems.append(f"{variable}: there is no setting of this name{_meant(variable, known)}")
        elif name and text:
            given[name] = _from_folder(name, text, Path(cwd))
            places[name] = origins[name] = variable
    try:
        values = Settings(**given)
    except ValidationError as error:
        for one in error.errors():
            name = str(one["loc"][0])
            problems.append(f"{places[name]}: {name} = {given[name]!r}: {one['msg'].removeprefix('Value error, ')}")
    if problems:
        raise SettingsInvalid(problems)
    return Loaded(values, origins, file if any(o != "default" and o not in known for o in origins.values()) else None)


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """The text of a file and the settings in it."""
    try:
        text = file.read_text("utf-8")
        document = tomllib.loads(text)
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
    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else f". There are {', '.join(known)}."
