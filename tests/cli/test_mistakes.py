"""No mistake ends in a traceback: every command, with every kind of mistake that it can be given.

The lines are made from the commands themselves, so a new command is tried without being named here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer

from tests.cli.conftest import REPOSITORY, Done, Wf
from wfkernel.cli import app

ABSENT = "nothing-here"
NO_NEED = {("schema",), ("config",), ("db", "path"), ("db", "migrate"), ("search",), ("db", "backup")}
"""Commands that nothing they name has to be there for."""
OF_THEIR_OWN = {("search",), ("db", "backup")}
"""Commands that refuse for another reason first: no words, a folder that is there already."""
MAKES = {("db", "migrate")}
"""Commands that make the store that is named, which have tests of their own."""
MENDS = {("recover",)}
"""Commands that make a damaged store whole again, which have tests of their own."""
MAKES_A_STORE = {("run",), ("start",), ("batch",)}
"""Commands that take the path of a store which is not there yet; what they are to run is missing here."""


@dataclass(frozen=True)
class Command:
    path: tuple[str, ...]
    parameters: tuple[Any, ...]

    def has(self, option: str) -> bool:
        return any(option in parameter.opts for parameter in self.parameters)

    def line(self, *more: str, run: bool = False) -> list[str]:
        """The command with something absent for all it requires and, with `run`, for its run where it may be left out."""
        line = list(self.path)
        for parameter in self.parameters:
            if parameter.required or (run and parameter.name == "run"):
                line += [parameter.opts[0], ABSENT] if parameter.param_type_name == "option" else [ABSENT]
        return [*line, *more]


def commands() -> Iterator[Command]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[Command]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield Command(path, tuple(command.params))
        else:
            for name in inner:
                yield from walk(inner[name], (*path, name))

    return walk(typer.main.get_command(app), ())


COMMANDS = list(commands())


@pytest.fixture(scope="module")
def ended(world: Wf) -> Any:
    """All lines of this module tried in one process: ``ended(line)`` tells how it ended."""
    store = (world.folder / "store.duckdb").read_bytes()
    for name, content in {"absent": None, "text": b"junk junk\n", "torn": store[: len(store) // 2]}.items():
        (world.folder / name).mkdir()
        if content is not None:
            (world.folder / name / "store.duckdb").write_bytes(content)
    lines = [command.line("--nonsense") for command in COMMANDS]
    lines += [command.line(run=True) for command in COMMANDS if command.path not in NO_NEED]
    (world.folder / "folder" / "store.duckdb").mkdir(parents=True)
    newer_store(world.folder / "newer", store)
    for name in ("absent", "text", "torn", "folder", "newer"):
        lines += [command.line(*where(command, name)) for command in COMMANDS if where(command, name)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.in_turn"], input=json.dumps(lines), capture_output=True, text=True, check=True,
        cwd=world.folder, timeout=120, env={**os.environ, "PYTHONPATH": str(REPOSITORY), **world.variables},
    )  # fmt: skip
    results = dict(zip(map(tuple, lines), json.loads(done.stdout), strict=True))
    return lambda line: Done(**results[tuple(line)])


def newer_store(folder: Path, content: bytes) -> None:
    """A copy of a store that says that a later wfkernel wrote it."""
    folder.mkdir()
    (folder / "store.duckdb").write_bytes(content)
    with duckdb.connect(str(folder / "store.duckdb")) as connection:
        connection.execute("INSERT INTO wf.schema_version (version, written_by) VALUES (999, '99.0')")


def where(command: Command, store: str) -> list[str]:
    """What names the store in folder `store` to a command that takes one."""
    if (command.path in MENDS and store in ("text", "torn")) or (command.path in MAKES and store == "absent"):
        return []
    return ["--store", f"{store}/store.duckdb"] if command.has("--store") else []


def refused(line: list[str], done: Done) -> None:
    assert "Traceback" not in done.err, (line, done.err)
    assert done.status in (1, 2), (line, done)
    assert (done.err + done.out).strip(), line


def test_an_option_that_is_none(ended):
    for command in COMMANDS:
        done = ended(command.line("--nonsense"))
        assert done.status == 2, (command, done)
        assert "No such option" in done.err, (command, done)
        assert len(done.err.splitlines()) == 1, (command, done)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["ls", "-n", "0"], ["'-n' / '--limit'", "`wf ls -h`"]),
        (["ls", "-n", "many"], ["'-n' / '--limit'", "`wf ls -h`"]),
        (["checkpoint", "prune", "--keep", "-1"], ["'--keep'", "`wf checkpoint prune -h`"]),
        (["nosuch"], ["'nosuch'", "`wf -h`"]),
        (["db", "sql"], ["Missing argument", "`wf db sql -h`"]),
        (["show", "a", "b"], ["unexpected extra argument", "`wf show -h`"]),
    ],
)  # fmt: skip
def test_a_line_that_makes_no_sense_is_told_in_one_line(world, line, told):
    done = world(*line)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert done.err.startswith("wf: ")
    assert all(words in done.err for words in told), done.err


def test_a_group_without_a_command_shows_what_it_has(world):
    done = world("db")
    assert done.status == 2
    assert "migrate" in done.err + done.out


def test_a_run_or_file_that_is_not_there(ended):
    for command in COMMANDS:
        if command.path in NO_NEED:
            continue
        done = ended(line := command.line(run=True))
        if ABSENT in line:
            refused(line, done)
        assert "Traceback" not in done.err, (line, done.err)


def test_a_store_that_is_not_there_is_not_made(ended, world):
    for command in COMMANDS:
        if line := where(command, "absent"):
            done = ended(command.line(*line))
            refused(command.line(*line), done)
            if command.path not in MAKES_A_STORE:
                assert "absent/store.duckdb" in done.err + done.out, (command, done)
    assert not (world.folder / "absent" / "store.duckdb").exists()


@pytest.mark.parametrize("broken", ["text", "torn"])
def test_a_store_file_that_is_damaged_is_told_and_left_as_it_is(ended, world, broken):
    for command in COMMANDS:
        if line := where(command, broken):
            refused(command.line(*line), ended(command.line(*line)))
    file: Path = world.folder / broken / "store.duckdb"
    whole = (world.folder / "store.duckdb").stat().st_size
    assert file.read_bytes() == b"junk junk\n" if broken == "text" else file.stat().st_size <= whole // 2


def test_a_store_of_a_newer_version_is_refused_with_both_versions(ended):
    for command in COMMANDS:
        if line := where(command, "newer"):
            done = ended(command.line(*line))
            refused(command.line(*line), done)
            if command.path not in MAKES_A_STORE | OF_THEIR_OWN:
                assert "schema version 999, written by wfkernel 99.0" in done.err + done.out, (command, done)


def test_a_folder_in_the_place_of_a_store_is_refused(ended):
    for command in COMMANDS:
        if line := where(command, "folder"):
            refused(command.line(*line), ended(command.line(*line)))
