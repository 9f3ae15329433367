"""What is damaged is found and named; what is recovered is right; nothing is lost silently."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.store.test_checkpoints import run_of, sql
from wfkernel.engine import events as ev
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import fold
from wfkernel.errors import RunNotFound, StoreCorrupt, StoreError
from wfkernel.store.codecs import encode_names
from wfkernel.store.fsck import Problem, check
from wfkernel.store.journal import frame_bytes
from wfkernel.store.recover import recover
from wfkernel.store.store import Store


def wf(*arguments: str, store: Store) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wfkernel", *arguments, "--store", str(store.path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with two runs of two steps (events 1 to 5 each) whose process is gone."""
    for run_id in ("good", "bad"):
        run_of(store, "a", "b", run_id=run_id)
    store.close()
    return Store(store.path)


def test_nothing_is_wrong_with_what_nobody_touched(filled):
    run_of(filled, "a", run_id="r3")
    filled.claim("r3", lambda state: [(ev.RUN_FINISH, "", {"status": "canceled"})])
    assert check(filled) == []
    done = wf("fsck", store=filled)
    assert (done.returncode, done.stdout) == (0, f"{filled.path}: all is well\n")


@pytest.mark.parametrize(
    ("damage", "bad", "what"),
    [
        ("UPDATE wf.events SET payload = replace(payload, '0.5', '0.6') WHERE run_id = 'bad' AND seq = 3", 3, "changed"),
        ("UPDATE wf.events SET ts = ts + 1 WHERE run_id = 'bad' AND seq = 4", 4, "changed"),
        ("UPDATE wf.events SET path = 'c' WHERE run_id = 'bad' AND seq = 2", 2, "changed"),
        ("DELETE FROM wf.events WHERE run_id = 'bad' AND seq = 2", 2, "event 2 is missing"),
        ("DELETE FROM wf.events WHERE run_id = 'bad' AND seq IN (2, 3)", 2, "events 2 to 3 are missing"),
        ("DELETE FROM wf.events WHERE run_id = 'bad' AND seq = 5", 5, "the last 1 events are missing"),
        ("INSERT INTO wf.events FROM wf.events WHERE run_id = 'bad' AND seq = 4", 4, "there twice"),
        ("DELETE FROM wf.events WHERE run_id = 'bad' AND seq = 3; "
         "UPDATE wf.events SET seq = seq - 1 WHERE run_id = 'bad' AND seq > 3", 3, "changed"),
    ],
)  # fmt: skip
def test_the_first_bad_event_is_named_with_what_to_do(filled, damage, bad, what):
    sql(filled, damage)
    (problem,) = check(filled)
    assert (problem.run_id, problem.seq) == ("bad", bad)
    assert what in problem.what
    assert f"wf recover bad --to {bad - 1}" in problem.advice
    done = wf("fsck", store=filled)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [str(problem)]
    assert json.loads(wf("fsck", "--json", store=filled).stdout) == [problem.to_json()]


def test_a_problem_is_said_in_one_line():
    problem = Problem("event", "the event was changed", "Do this", "r", 3, "clean", 0.0)
    assert (
        str(problem) == "event: the event was changed (run r, event 3, step 'clean', 1970-01-01 00:00:00 UTC). Do this"
    )


@pytest.mark.parametrize("lost", ["seq = 1", "seq = 3", "seq IN (2, 3)", "seq = 5"])
def test_nobody_goes_on_with_a_run_of_which_events_are_missing(filled, lost):
    sql(filled, f"DELETE FROM wf.events WHERE run_id = 'bad' AND {lost}")
    with pytest.raises(StoreCorrupt, match=r"events of run 'bad' are missing .* `wf recover bad`"):
        filled.claim("bad", lambda state: [(ev.RUN_ATTACH, "", {})])
    assert filled.claim("good", lambda state: [(ev.RUN_ATTACH, "", {})]).seq == 6
    recover(filled, "bad")
    if lost != "seq = 1":
        assert filled.claim("bad", lambda state: [(ev.RUN_ATTACH, "", {})]).status == "running"


class TestRecover:
    def test_goes_back_to_the_last_good_event_and_keeps_the_rest(self, filled):
        before = filled.events("bad")
        filled.checkpoint("bad", "late")
        sql(
            filled,
            'UPDATE wf.events SET payload = \'{"status":"success","forged":1}\' WHERE run_id = \'bad\' AND seq = 5',
        )
        done = recover(filled, "bad")
        assert (done.seq, done.removed) == (4, 1)
        assert done.kept_in is not None
        kept = [json.loads(line) for line in done.kept_in.read_text().splitlines()]
        assert [(k["run_id"], k["seq"]) for k in kept] == [("bad", 5), ("bad", 5)]
        assert "forged" in kept[0]["payload"]
        assert kept[1]["label"] == "late"
        assert filled.events("bad") == before[:4]
        assert filled.load("bad") == done.state == fold(before[:4])
        assert filled.query("SELECT step, status, executions FROM steps WHERE run_id = 'bad'")[1] == [
            ("a", "success", 1),
            ("b", "running", 1),
        ]
        assert filled.query("SELECT step, name FROM step_values WHERE run_id = 'bad'")[1] == [("a", "x")]
        assert [p.kind for p in check(filled)] == ["quarantine"]

    def test_a_recovered_run_goes_on(self, filled):
        sql(filled, "DELETE FROM wf.events WHERE run_id = 'bad' AND seq = 4")
        recover(filled, "bad")
        assert next(r for r in filled.runs() if r["run_id"] == "bad")["interrupted"] is True
        state = filled.claim("bad", lambda state: [(ev.RUN_ATTACH, "", {})])
        assert state.seq == 4
        assert [p for p in check(filled) if p.kind != "quarantine"] == []

    def test_of_a_recovered_run_is_found_what_it_does_then_and_not_what_was_taken_out(self, store):
        def tell(run, *said):
            for text in said:
                run.emit(ev.CONTEXT_REMEMBER, {"text": text, "kind": "note", "meta": {}}, "a")

        tell(run_of(store, run_id="told"), "the flight left", "the flight was late")
        store.context.remember("a flight of ours", {}, run_id="told")
        assert len(store.context.search("flight", k=9)) == 3
        store.close()
        again = Store(store.path)
        recover(again, "told", again.load("told").seq - 1)
        tell(ScriptRun(again, again.load("told")), "the flight was early", "the flight has landed")
        found = {one.text for one in again.context.search("flight", k=9)}
        assert found == {"the flight left", "the flight was early", "the flight has landed", "a flight of ours"}
        again.close()

    def test_by_command(self, filled):
        sql(filled, "DELETE FROM wf.events WHERE run_id = 'bad' AND seq = 4")
        done = wf("recover", "bad", "--to", "2", store=filled)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(
            "run bad is as it was at event 2, 2 events were taken out; what was taken out is in "
        )
        assert "wf resume bad" in done.stdout
        assert len(filled.events("bad")) == 2
        assert len(filled.events("good")) == 5
        checked = wf("fsck", store=filled)
        assert (checked.returncode, checked.stderr) == (0, "")
        set_aside, well = checked.stdout.splitlines()
        assert set_aside.startswith("quarantine: bad-")
        assert well == f"{filled.path}: all is well"
        subprocess.run(set_aside.partition("no more use: ")[2], shell=True, check=True)
        assert check(filled) == []

    def test_refuses_what_would_keep_damage_or_disturb_a_writer(self, filled):
        sql(filled, "DELETE FROM wf.events WHERE run_id = 'bad' AND seq = 3")
        with pytest.raises(StoreError, match="good up to event 2"):
            recover(filled, "bad", 4)
        with pytest.raises(RunNotFound):
            recover(filled, "nobody")
        run_of(filled, "a", run_id="mine")
        with pytest.raises(StoreError, match=r"is being written by .*: stop it first"):
            recover(filled, "mine", 1)


class TestTheRest:
    def test_missing_and_damaged_value_files(self, store):
        run = run_of(store)
        for name in "ab":
            step = run.begin(name, "c", {}, [], [name])
            step.start()
            step.succeed(encode_names({name: name * 100_000}, store.blobs), 0.1)
        first, second = (store.load("r1").step(n).done["outputs"][0]["blob"] for n in "ab")
        store.blobs.path_of(first).unlink()
        store.blobs.path_of(second).write_bytes(b"x")
        problems = check(store)
        assert [(p.kind, p.run_id, p.step, p.seq) for p in problems] == [
            ("value", "r1", "a", 3),
            ("value", "r1", "b", 5),
        ]
        assert "cannot be read" in problems[0].what
        assert "is damaged" in problems[1].what

    @pytest.mark.parametrize("size", [1, 100_000], ids=["in an event", "with a file of its own"])
    def test_a_missing_value_file_that_only_a_pickle_names(self, store, size):
        weights = {"weights": np.arange(300_000.0), "bias": np.arange(300_001.0), "kind": (1, "x" * size)}
        step = run_of(store).begin("a", "c", {}, [], ["model"])
        step.start()
        step.succeed(encode_names({"model": weights}, store.blobs), 0.1)
        assert check(store) == []
        for file in store.blobs.path.glob("??/*"):
            if file.stat().st_size > 1_000_000:
                file.unlink()
        assert [(p.kind, p.step, p.seq) for p in check(store)] == [("value", "a", 3)] * 2

    def test_a_damaged_checkpoint(self, filled):
        made = filled.checkpoint("good")
        sql(filled, "UPDATE wf.checkpoints SET state = state || ' '")
        (problem,) = check(filled)
        assert (problem.kind, problem.run_id) == ("checkpoint", "good")
        assert f"wf checkpoint rm {made.checkpoint_id}" in problem.advice

    def test_a_journal_that_was_damaged_is_named_afterwards(self, tmp_path):
        code = """
import os, sys
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState
from wfkernel.store.store import Store
store = Store(sys.argv[1])
store.database.notify = lambda size: None
run = ScriptRun(store, RunState("r"))
for n in range(3):
    run.emit("step.output", {"text": "x" * 50}, "a")
print(store._writer()[1].file, flush=True)
os.kill(os.getpid(), 9)
"""
        path = tmp_path / "s.duckdb"
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        file = Path(done.stdout.strip())
        data = bytearray(file.read_bytes())
        data[frame_bytes(file) - 10] ^= 0xFF
        file.write_bytes(data)
        store = Store(path)
        with pytest.warns(UserWarning, match="damaged"):
            (problem,) = check(store)
        assert (problem.kind, problem.is_damage) == ("journal", True)
        assert file.name in problem.what
        assert len(store.events("r")) == 2
        store.close()

    def test_a_file_that_is_no_database_comes_with_advice(self, filled):
        filled.close()
        data = filled.path.read_bytes()
        filled.path.write_bytes(data[: len(data) // 2])
        done = wf("fsck", store=filled)
        assert done.returncode == 1, done.stderr
        assert done.stdout.startswith("database: ")
        assert "wf recover --from FILE" in done.stdout
        assert len(done.stdout.splitlines()) == 1
        filled.path.write_bytes(data)
        assert check(filled) == []


def test_events_of_many_batches_and_writers_are_linked(filled):
    run = run_of(filled, run_id="long")
    for n in range(50):
        run.emit(
            ev.STEP_OUTPUT, {"text": f"{n} é \x00 ' \"", "at": time.time() * 1e9, "f": 1e-17, "n": [None, True]}, "a"
        )
        if n % 7 == 0:
            filled.runs()
    assert check(filled) == []
