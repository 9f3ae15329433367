"""The runs of a store that has no DuckDB file yet are read from the journals alone, whoever moves these meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wfkernel.errors import RunNotFound
from wfkernel.store import folding
from wfkernel.store.store import Store

KILLED = """
import os, sys
from wfkernel.engine.script import ScriptRun
from wfkernel.store import database
from wfkernel.store.store import Store
database.QUIET_SECONDS = database.BUSY_SECONDS = 3600
store = Store(sys.argv[1])
run = ScriptRun(store, store.claim("r", lambda state: [("run.start", "", {"status": "running"})], new=True))
for n in range(int(sys.argv[2])):
    run.emit("step.output", {"text": "x" * 100}, "a", durable=False)
print("_duckdb" in sys.modules, flush=True)
os.kill(os.getpid(), 9)
"""
NEXT = """
import sys
from wfkernel.store.store import Store
store = Store(sys.argv[1])
state = store.claim("r", lambda state: [("run.attach", "", {})])
print(state.seq, "_duckdb" in sys.modules)
store.close()
"""
FOLD = "import sys; from wfkernel.store.store import Store; store = Store(sys.argv[1]); store.runs(); store.close()"


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_neither_the_first_process_nor_the_one_that_goes_on_waits_for_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    assert python(KILLED, path, 10) == "False"
    assert python(NEXT, path) == "12 False"
    assert path.exists()  # made when that process ended in order
    store = Store(path)
    assert [event.seq for event in store.events("r")] == list(range(1, 13))
    store.close()


def test_where_there_is_much_to_read_duckdb_reads_it(tmp_path: Path) -> None:
    assert python(KILLED, tmp_path / "s.duckdb", 6_000) == "False"
    assert python(NEXT, tmp_path / "s.duckdb") == "6002 True"


def test_a_run_that_is_in_no_journal_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    with pytest.raises(RunNotFound):
        store.load("r")
    assert not store.path.exists()
    store.close()


def before(function: Callable[..., Any], done: list[str], path: Path) -> Callable[..., Any]:
    """The function; another process moves all journals to the tables before it is first called."""

    def called(*arguments: Any) -> Any:
        if not done:
            done.append(python(FOLD, path))
        return function(*arguments)

    return called


def after(function: Callable[..., Iterator[Any]], done: list[str], path: Path) -> Callable[..., Iterator[Any]]:
    """The same, after it was first called."""

    def called(*arguments: Any) -> Iterator[Any]:
        yield from function(*arguments)
        if not done:
            done.append(python(FOLD, path))

    return called


@pytest.mark.parametrize(
    ("name", "when"),
    [("frame_bytes", before), ("read_frames", before), ("read_frames", after)],
    ids=["before lengths", "before frames", "after frames"],
)
def test_what_another_process_moves_to_the_tables_meanwhile_is_read_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[..., Any]
) -> None:
    path, done = tmp_path / "s.duckdb", []
    python(KILLED, path, 10)
    monkeypatch.setattr(folding, name, when(getattr(folding, name), done, path))
    store = Store(path)
    assert store.load("r").seq == 11
    assert done
    assert path.exists()
    assert not list((tmp_path / "journal").iterdir())
    store.close()
