"""Old runs go, what is needed stays, whoever is writing meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from tests.store.test_checkpoints import run_of, sql
from tests.store.test_fsck import wf
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.sessions import Session
from wfkernel.errors import DefinitionError, RunSuspended
from wfkernel.store.codecs import decode_names, encode_names
from wfkernel.store.fsck import check
from wfkernel.store.retention import GRACE_SECONDS, prune
from wfkernel.store.salvage import salvage
from wfkernel.store.store import Store

DAY = 86_400.0


def ended(store: Store, run_id: str, days_ago: float) -> ScriptRun:
    run = run_of(store, "a", run_id=run_id)
    run.finish("success")
    sql(
        store,
        "UPDATE wf.runs SET started = started - $1, updated = updated - $1 WHERE run_id = $2",
        days_ago * DAY,
        run_id,
    )
    return run


def ids(store: Store) -> set[str]:
    return {row["run_id"] for row in store.runs()}


def age(store: Store, *digests: str) -> None:
    for digest in digests:
        path = store.blobs.path_of(digest)
        os.utime(path, (time.time() - GRACE_SECONDS - 60,) * 2)


def save(store: Store, run_id: str, values: dict) -> list[dict]:
    run = run_of(store, run_id=run_id)
    step = run.begin("a", "c", {}, [], list(values))
    step.start()
    records = encode_names(values, store.blobs)
    step.succeed(records, 0.1)
    run.finish("success")
    return records


def test_runs_older_than_an_age_are_deleted_whole(store):
    ended(store, "old", 40)
    ended(store, "new", 1)
    store.checkpoint("old")
    done = prune(store, older_than=30 * DAY)
    assert [run["run_id"] for run in done.runs] == ["old"]
    assert ids(store) == {"new"}
    for table in ("runs", "steps", "events", "checkpoints", '"values"'):
        assert store.query(f"SELECT count(*) FROM wf.{table} WHERE run_id = 'old'")[1] == [(0,)]


def test_of_runs_that_are_deleted_no_text_and_no_index_of_it_stays(store):
    store.context.remember("a flight of the old run", {}, run_id="old")
    store.context.remember("what is kept", {})
    ended(store, "old", 40)
    assert len(store.context.search("flight kept", k=5)) >= 2
    prune(store, older_than=DAY)
    digests = "SELECT count(*) FROM (SELECT digest FROM wf.{} WHERE digest NOT IN (SELECT digest FROM wf.context))"
    with store.database.open() as connection:
        for table in ("context_indexed", "context_terms", "context_vectors"):
            assert connection.execute(digests.format(table)).fetchall() == [(0,)]
    assert [one.text for one in store.context.search("flight kept", k=5)] == ["what is kept"]


def test_the_newest_runs_of_each_workflow_are_kept_however_old(store):
    for n in range(4):
        ended(store, f"r{n}", 100 - n)
    prune(store, older_than=30 * DAY, keep_last=2)
    assert ids(store) == {"r2", "r3"}
    prune(store, keep_last=1)
    assert ids(store) == {"r3"}


def test_what_can_go_on_is_never_deleted(store):
    run_of(store, "a", run_id="executing")
    step = run_of(store, run_id="suspended").begin("ask", "c", {}, [], [])
    step.start()
    with pytest.raises(RunSuspended):
        step.answer(None, "?", None)
    sql(store, "UPDATE wf.runs SET updated = 0")
    assert prune(store, older_than=DAY).runs == []
    assert ids(store) == {"executing", "suspended"}


def test_a_dry_run_deletes_nothing_and_says_what_it_would(store):
    (record,) = save(store, "r", {"x": "x" * 100_000})
    age(store, record["blob"])
    sql(store, "UPDATE wf.runs SET updated = 0")
    would = prune(store, older_than=DAY, dry_run=True)
    assert (len(would.runs), would.values, would.bytes) == (1, 1, record["size"])
    assert ids(store) == {"r"}
    assert store.blobs.path_of(record["blob"]).exists()
    assert prune(store, older_than=DAY) == would
    assert not store.blobs.path_of(record["blob"]).exists()


def test_value_files_that_are_referred_to_stay_also_from_inside_a_pickle(store):
    frames = {"model": {"weights": np.arange(300_000.0), "kind": (1, 2)}, "plain": "y" * 100_000}
    records = save(store, "r", frames)
    names = [file.name for file in store.blobs.path.glob("??/*")]
    assert len(names) == 2  # the array inside the pickle has a file of its own, which only the pickle names
    age(store, *names)
    assert prune(store).values == 0
    restored = decode_names(records, store.blobs)
    assert np.array_equal(restored["model"]["weights"], frames["model"]["weights"])
    sql(store, "UPDATE wf.runs SET updated = 0")
    assert prune(store, older_than=DAY).values == 2


def test_the_values_of_a_session_stay_as_long_as_the_session(store, tmp_path):
    session = Session("sales", tmp_path / "sessions", store)
    session.keep("model", {"weights": np.arange(300_000.0)})
    session.set(table=b"x" * 100_000)
    names = [file.name for file in store.blobs.path.glob("??/*")]
    age(store, *names)
    assert prune(store).values == 0
    again = Session("sales", tmp_path / "sessions", store)
    assert (len(again.artifact("model")["weights"]), len(again.get("table"))) == (300_000, 100_000)
    (tmp_path / "sessions" / "sales.jsonl").unlink()
    assert prune(store).values == len(names)


def test_a_value_written_for_an_event_that_is_still_to_come_stays(store):
    (record,) = encode_names({"x": "x" * 100_000}, store.blobs)
    assert prune(store).values == 0
    age(store, record["blob"])
    encode_names({"x": "x" * 100_000}, store.blobs)  # somebody saves the same value again: the file is in use anew
    assert prune(store).values == 0
    age(store, record["blob"])
    assert prune(store).values == 1


@pytest.mark.parametrize("leaves", ["suspends", "is killed"])
def test_the_values_of_a_run_whose_events_are_held_back_stay(store, leaves):
    code = """
        import os, signal, sys
        from wfkernel import Workflow, step, suspend
        from wfkernel.store.store import Store

        @step
        def make(x: int) -> bytes:
            return bytes(100_000)

        @step
        def wait(x: bytes) -> int:
            print("made", flush=True)
            sys.stdin.readline()
            if sys.argv[2] == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            suspend(message="go on?")

        store = Store(sys.argv[1])
        Workflow("w", input=int, store=store, durability="exit").then(make).then(wait).commit().run(1)
        print("left", flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.path), leaves]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        (file,) = store.blobs.path.glob("??/*")
        (keeps,) = store.owners.glob("*.keeps")
        for path in (file, keeps):  # two hours pass
            os.utime(path, (time.time() - 2 * GRACE_SECONDS,) * 2)
        assert prune(store).values == 0
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == ("left\n" if leaves == "suspends" else "")
        assert not keeps.exists() or leaves == "is killed"
        assert prune(store).values == (0 if leaves == "suspends" else 1)
        process.kill()
    assert check(store) == []


def test_what_a_database_in_quarantine_may_name_stays_until_that_is_cleared(store):
    (record,) = save(store, "r", {"x": "x" * 100_000})
    age(store, record["blob"])
    store.close()
    store.path.write_bytes(b"x" * 20_000)
    kept_in = salvage(store).kept_in
    assert (store.runs(), prune(store).values) == ([], 0)
    kept_in.unlink()
    assert prune(store).values == 1


def test_a_prune_that_was_killed_at_the_wrong_moment_loses_nothing(store):
    (record,) = save(store, "r", {"x": "x" * 100_000})
    file = store.blobs.path_of(record["blob"])
    file.rename(file.with_name(f"{file.name}.gone"))
    assert prune(store).values == 0
    assert file.exists()


def test_values_that_are_saved_again_while_they_are_collected_stay(store):
    code = """
        import os, sys, time
        from wfkernel.store.blobs import BlobDir
        blobs, lost, end = BlobDir(sys.argv[1]), 0, time.monotonic() + 4
        n = 0
        while time.monotonic() < end:
            n += 1
            digest, _ = blobs.put([b"%d" % (n % 3) * 100_000], durable=False)
            try:
                blobs.read(digest)
                os.utime(blobs.path_of(digest), (1, 1))  # for long nobody has asked for it
            except Exception:
                lost += 1
        print(lost)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.blobs.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        deleted = 0
        while process.poll() is None:
            deleted += prune(store).values
        assert process.stdout is not None
        assert process.stdout.read() == "0\n"
    assert deleted > 0


def test_nonsense_is_refused(store):
    with pytest.raises(DefinitionError, match="cannot be below 0"):
        prune(store, keep_last=-1)


def test_by_command(store):
    ended(store, "old", 40)
    store.close()
    dry = wf("prune", "--older-than", "30d", "--keep-last", "0", "--dry-run", store=store)
    assert dry.stdout.splitlines()[-1] == "would delete 1 run and 0 value files (0.0 MB)"
    done: subprocess.CompletedProcess[str] = wf("prune", "--older-than", "30d", "--json", store=store)
    assert [run["run_id"] for run in json.loads(done.stdout)["runs"]] == ["old"]
    wrong = wf("prune", "--older-than", "soon", store=store)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "'soon' is not a duration" in wrong.stderr
