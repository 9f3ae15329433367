"""When what was journaled moves to the tables by itself, with nobody reading."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import StoreLocked
from wfkernel.plan.step import step
from wfkernel.store import database
from wfkernel.store.store import Store


@step
def _double(x: int) -> int:
    return 2 * x


COUNT = """
import duckdb, sys
try:
    print(duckdb.connect(sys.argv[1], read_only=True).execute("SELECT count(*) FROM events").fetchall()[0][0])
except duckdb.Error as error:
    print(error)
"""


def _wait_for(events: int, path: Path) -> None:
    """Until another program, which opens the file by itself, finds so many events in it."""
    deadline = time.monotonic() + 60
    while True:
        found = subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, text=True, check=True)
        if found.stdout.strip() == str(events):
            return
        assert time.monotonic() < deadline, found.stdout
        time.sleep(0.2)


def test_a_store_that_went_quiet_is_moved_to_the_tables_and_the_file_is_closed(tmp_path):
    store = Store(tmp_path / "s.duckdb")
    run = ScriptRun(store, RunState("r"))
    for n in range(3):
        run.emit("step.output", {"text": str(n)}, "a")
    _wait_for(3, store.path)
    run.emit("step.output", {"text": "one more"}, "a")
    _wait_for(4, store.path)
    store.close()


def test_steps_that_end_in_quick_succession_are_not_interrupted_for_it(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "QUIET_SECONDS", 20.0)
    monkeypatch.setattr(database, "BUSY_SECONDS", 20.0)
    store = Store(tmp_path / "s.duckdb")
    run = ScriptRun(store, RunState("r"))
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        run.emit("step.output", {"text": "busy"}, "a")
        time.sleep(0.01)
    assert not store.path.exists()
    assert len(store.events("r")) == run.state.seq  # a reader moves what it needs
    store.close()


def test_a_new_run_is_executed_without_a_look_at_the_tables(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "QUIET_SECONDS", 20.0)
    monkeypatch.setattr(database, "BUSY_SECONDS", 20.0)
    store = Store(tmp_path / "s.duckdb")
    flow = Workflow("double", input=int, store=store).then(_double).commit()
    assert flow.run(4).result == 8
    assert not store.path.exists()
    store.close()


STEPS_GO_ON = """
import sys, time
from pathlib import Path
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState
from wfkernel.store import database
from wfkernel.store.store import Store

database.BUSY_SECONDS = 3600.0
store, stop = Store(sys.argv[1]), Path(sys.argv[2])
store.runs()
run = ScriptRun(store, RunState("r"))
while not stop.exists():
    run.emit("step.output", {"text": "busy"}, "a")
    if run.state.seq == 5:
        print("the file is open, and steps go on", flush=True)
    time.sleep(0.01)
store.close()
"""


def test_a_process_whose_steps_go_on_lets_others_have_the_file(tmp_path):
    path, stop = tmp_path / "s.duckdb", tmp_path / "stop"
    command = [sys.executable, "-c", STEPS_GO_ON, str(path), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as busy:
        try:
            assert busy.stdout is not None
            assert busy.stdout.readline()
            store = Store(path)
            assert [run["run_id"] for run in store.runs()] == [
                "r"
            ]  # it had the file to itself before for as long as it was busy
            store.close()
            assert busy.poll() is None
        finally:
            stop.touch()


def test_much_that_was_journaled_is_moved_though_the_steps_go_on(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 3600.0)
    monkeypatch.setattr(database, "QUIET_SECONDS", 1.0)
    monkeypatch.setattr(database, "FOLD_BYTES", 2_000)
    store = Store(tmp_path / "s.duckdb")
    run = ScriptRun(store, RunState("r"))
    deadline = time.monotonic() + 30
    while not store.path.exists():
        assert time.monotonic() < deadline, "nothing moved the journal"
        run.emit("step.output", {"text": "x" * 100}, "a")
        time.sleep(0.01)
    store.close()


def test_a_connection_of_this_process_with_other_settings_is_named_and_waited_for(tmp_path):
    store = Store(tmp_path / "s.duckdb")
    run = ScriptRun(store, RunState("r"))
    run.emit("step.output", {"text": "before"}, "a")
    store.close()
    with duckdb.connect(str(store.path), read_only=True):
        run.emit("step.output", {"text": "meanwhile"}, "a")
        with pytest.raises(StoreLocked, match="open in this process"), store.database.open(wait=1.0):
            pass
    _wait_for(2, store.path)
    store.close()
