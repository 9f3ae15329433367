"""The store: what is appended is there, for this process and every other one, whatever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pytest

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState, fold
from wfkernel.errors import RunNotFound, StoreCorrupt, StoreError, StoreLocked, StoreTooNew
from wfkernel.store import database
from wfkernel.store.journal import frame_bytes
from wfkernel.store.locate import find_store_path
from wfkernel.store.store import Store


def begin(store: Store, run_id: str = "r1", mode: str = "interactive") -> ScriptRun:
    run = ScriptRun(store, RunState(run_id))
    start = {"status": "running", "workflow": "w", "notebook": "/n.ipynb", "mode": mode, "owner": store.owner}
    run.emit(ev.RUN_START, start, durable=True)
    return run


def execute(run: ScriptRun, path: str, outputs: list[dict] | None = None) -> None:
    step = run.begin(path, f"code of {path}", {}, [], ["x"])
    step.start()
    step.succeed(outputs or [{"name": "x", "codec": "json", "type": "int", "digest": "d", "size": 1, "data": 1}], 0.5)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_loaded_run_is_the_run_that_was_written(store):
    run = begin(store)
    execute(run, "a")
    execute(run, "b")
    assert store.load("r1") == run.state
    assert fold(store.events("r1")) == run.state
    assert [e.seq for e in store.events("r1")] == list(range(1, run.state.seq + 1))


def test_events_after_a_sequence_number(store):
    run = begin(store)
    execute(run, "a")
    assert [e.type for e in store.events("r1", after=1)] == [ev.STEP_START, ev.STEP_RESULT]


@pytest.mark.parametrize("moved_between", [True, False])
def test_a_run_that_begins_anew_has_none_of_the_steps_it_had(store, moved_between):
    run = begin(store)
    execute(run, "a")
    if moved_between:
        assert store.query("SELECT step FROM steps")[1] == [("a",)]
    run.emit(ev.RUN_START, {"status": "running", "owner": store.owner}, durable=True)
    execute(run, "b")
    assert store.query("SELECT step FROM steps")[1] == [("b",)]
    assert list(store.load("r1").steps) == ["b"]


def test_a_step_that_only_speaks_of_the_beginning_of_a_run_stays(store):
    run = begin(store)
    execute(run, "a")
    run.emit(ev.STEP_CUSTOM, {"data": ["r1", 7, 1.0, ev.RUN_START]}, "a", durable=True)
    assert store.query("SELECT step, status FROM steps")[1] == [("a", "success")]


def test_the_views_say_what_happened_in_words_people_know(store):
    run = begin(store)
    execute(run, "a")
    step = run.begin("b", "c", {}, [], [])
    step.start()
    step.fail(ValueError("no good"))
    assert store.query("SELECT step, status, executions, error FROM steps") == (
        ["step", "status", "executions", "error"],
        [("a", "success", 1, None), ("b", "failed", 1, "no good")],
    )
    assert store.query("SELECT status, error FROM runs")[1] == [("failed", "no good")]
    assert store.query("SELECT step, outcome, error FROM attempts")[1] == [
        ("a", "success", None),
        ("b", "failed", "no good"),
    ]
    assert store.query("SELECT step, name, codec, bytes FROM step_values")[1] == [("a", "x", "json", 1)]
    assert store.query("SELECT count(*) FROM events WHERE run_id = 'r1'")[1] == [(run.state.seq,)]


def test_a_rerun_step_replaces_its_row_and_its_values(store):
    run = begin(store)
    execute(run, "a", [{"name": n, "codec": "json", "type": "int", "digest": "d", "size": 1, "data": 1} for n in "xy"])
    store.runs()
    execute(run, "a")
    assert store.query("SELECT executions, status FROM steps")[1] == [(2, "success")]
    assert store.query("SELECT name FROM step_values")[1] == [("x",)]


def test_planned_steps_are_listed_before_they_run_and_in_plan_order(store):
    run = begin(store)
    run.plan([{"path": p, "reads": [], "binds": []} for p in ("first", "second")])
    execute(run, "second")
    assert store.query("SELECT step, status FROM steps")[1] == [("first", "pending"), ("second", "success")]


def test_text_of_any_kind_survives(store):
    run = begin(store)
    text = "nul \x00, quote ' \" \\, emoji 🦆, newline \n, lone surrogate \ud800"
    step = run.begin("a", "c", {}, [], [])
    step.start()
    step.write(text)
    assert store.load("r1").step("a").log[0] == text.replace("\ud800", "?")


def test_a_process_killed_right_after_append_loses_nothing(store, tmp_path):
    code = """
        import os, signal, sys
        from wfkernel.store.store import Store
        from wfkernel.engine.state import RunState
        from wfkernel.engine.script import ScriptRun
        store = Store(sys.argv[1])
        run = ScriptRun(store, RunState('killed'))
        run.emit('run.start', {'status': 'running', 'owner': store.owner}, durable=True)
        for n in range(300):
            run.emit('step.output', {'text': str(n)}, 'a')
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = python(code, str(store.path))
    assert done.returncode == -signal.SIGKILL
    assert len(store.events("killed")) == 301
    row = store.runs()[0]
    assert row["status"] == "running"
    assert row["interrupted"] is True
    store.database.close()
    assert not list((store.path.parent / "journal").glob("*.wfj"))  # folded and gone
    assert len(store.events("killed")) == 301  # and not folded twice


def test_a_torn_frame_at_the_end_of_a_journal_is_cut(tmp_path):
    store = Store(tmp_path / "s.duckdb")
    run = begin(store)
    run.emit(ev.STEP_OUTPUT, {"text": "whole"}, "a")
    journal = store._writer()[1].file
    store.database._stop.set()  # keep the background thread from folding while the file is torn
    with journal.open("ab") as handle:
        handle.write(b"\x40\x00\x00\x00\x01\x02")
    store.close()
    again = Store(tmp_path / "s.duckdb")
    assert [e.type for e in again.events("r1")] == [ev.RUN_START, ev.STEP_OUTPUT]
    assert not journal.exists()
    again.close()


def test_a_damaged_frame_is_kept_for_people_and_said_aloud(tmp_path):
    code = """
        import os, sys
        from wfkernel.store.journal import Journal
        from wfkernel.engine.events import Event
        journal = Journal(__import__('pathlib').Path(sys.argv[1]) / 'journal', 'dead-owner')
        for n in (1, 2, 3):
            journal.append([Event('r', n, 0.0, 'step.output', 'a', 0, {'text': 'x' * 50})], durable=True)
        print(journal.file)
    """
    file = Path(python(code, str(tmp_path)).stdout.strip())
    data = bytearray(file.read_bytes())
    data[frame_bytes(file) // 2] ^= 0xFF
    file.write_bytes(data)
    store = Store(tmp_path / "s.duckdb")
    with pytest.warns(UserWarning, match="damaged"):
        assert len(store.events("r")) == 1
    assert (tmp_path / "quarantine" / file.name).read_bytes() == bytes(data)
    store.close()


def test_a_full_journal_is_followed_by_the_next(store, monkeypatch):
    from wfkernel.store import journal

    monkeypatch.setattr(journal, "ROTATE_BYTES", 2000)
    run = begin(store)
    for n in range(100):
        run.emit(ev.STEP_OUTPUT, {"text": str(n)}, "a")
    assert [e.payload["text"] for e in store.events("r1", after=1)] == [str(n) for n in range(100)]
    store.database.close()
    assert len(list((store.path.parent / "journal").glob("*.wfj"))) == 1


def _write_run(path: str, name: str) -> None:
    store = Store(path)
    run = begin(store, name)
    for n in range(20):
        execute(run, f"s{n}")
        if n % 5 == 0:
            store.runs()
    store.close()


def test_several_processes_write_and_read_at_once(tmp_path):
    path = str(tmp_path / "s.duckdb")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_run, args=(path, f"run{n}")) for n in range(4)]
    for process in processes:
        process.start()
    store = Store(path)
    for process in processes:
        while process.is_alive():
            store.runs()
        assert process.exitcode == 0
    for n in range(4):
        assert len([s for s in store.load(f"run{n}").steps.values() if s.status == "success"]) == 20
    store.close()


def test_find_takes_an_id_a_beginning_or_latest(store):
    begin(store, "20260101-aa")
    begin(store, "20260101-ab")
    assert store.find("20260101-aa") == "20260101-aa"
    assert store.find("20260101-ab") == store.find("latest")
    with pytest.raises(RunNotFound, match="beginning of 2 runs"):
        store.find("2026")
    with pytest.raises(RunNotFound, match="no run 'x'"):
        store.find("x")


def test_claim_is_all_or_nothing(store):
    begin(store)

    def refuse(state):
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        store.claim("r1", refuse)
    assert len(store.events("r1")) == 1
    state = store.claim("r1", lambda state: [(ev.RUN_FINISH, "", {"status": "canceled"})])
    assert state == store.load("r1")
    assert state.status == "canceled"


class TestTroubleWithTheFile:
    def test_locked_by_another_process_names_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr(database, "LOCK_WAIT", 0.2)
        path = tmp_path / "s.duckdb"
        holder = subprocess.Popen(
            [sys.executable, "-c", f"import duckdb; c = duckdb.connect({str(path)!r}); print('open', flush=True); input()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holder.stdout.readline() == "open\n"
        store = Store(path)
        try:
            run = begin(store)  # writing goes on: the journal needs no database
            execute(run, "a")
            with (
                pytest.raises(StoreLocked, match=f"kept open by process {holder.pid}") as caught,
                store.database.open(wait=0.2),
            ):
                pass
            assert "\n" not in str(caught.value)
        finally:
            holder.communicate("\n")
        assert store.load("r1").step("a").status == "success"
        store.close()

    def test_corrupt(self, tmp_path):
        path = tmp_path / "s.duckdb"
        path.write_bytes(b"not a database" * 1000)
        with pytest.raises(StoreCorrupt, match=r"s\.duckdb cannot be read") as caught:
            Store(path).runs()
        assert "\n" not in str(caught.value)

    def test_damaged_blocks(self, tmp_path):
        path = tmp_path / "s.duckdb"
        store = Store(path)
        execute(begin(store), "a")
        store.close()
        data = bytearray(path.read_bytes())
        data[4096:8192] = os.urandom(4096)
        path.write_bytes(data)
        with pytest.raises(StoreCorrupt):
            Store(path).runs()

    def test_from_a_newer_version_names_both(self, tmp_path):
        path = tmp_path / "s.duckdb"
        store = Store(path)
        store.runs()
        store.close()
        with duckdb.connect(str(path)) as connection:
            connection.execute("INSERT INTO wf.schema_version (version, written_by) VALUES (99, '9.9.9')")
        with pytest.raises(
            StoreTooNew, match=r"schema version 99, written by wfkernel 9\.9\.9; this wfkernel reads up to version 2"
        ):
            Store(path).runs()

    def test_a_new_file_can_be_opened_by_others_of_this_process_and_has_small_blocks(self, store):
        with store.database.open(), duckdb.connect(str(store.path)) as connection:
            assert connection.execute("SELECT block_size FROM pragma_database_size()").fetchall() == [(65_536,)]

    def test_a_bad_query_is_one_line(self, store):
        with pytest.raises(StoreError, match="the query failed") as caught:
            store.query("SELEC 1")
        assert "\n" not in str(caught.value)
        with pytest.raises(StoreError, match="there is no query"):
            store.query(" ")

    @pytest.mark.parametrize(
        "condition",
        ["payload->'$.error' IS NOT NULL", "type = 'run.start' AND payload->'$.n' > 3"],
    )
    def test_an_arrow_that_takes_in_too_much_is_told_with_what_to_do(self, store, condition):
        store.append([Event("r", 1, 0.0, "run.start", "", 0, {"status": "running"})])
        with pytest.raises(StoreError, match=r"in parentheses\.$"):
            store.query(f"SELECT * FROM events WHERE {condition}")
        with pytest.raises(StoreError) as other:
            store.query("SELECT nosuch FROM events WHERE (payload->>'$.status') = 'running'")
        assert "parentheses" not in str(other.value)

    @pytest.mark.parametrize(
        "sql", ["DELETE FROM wf.events", "DROP VIEW runs", "CREATE TABLE t (x INTEGER)", "COMMIT; DROP VIEW runs"]
    )
    def test_a_query_changes_nothing(self, store, sql):
        begin(store)
        with pytest.raises(StoreError, match=r"cannot change it|leave BEGIN, COMMIT"):
            store.query(sql)
        assert store.query("SELECT count(*) FROM runs")[1] == [(1,)]
        assert store.query("SELECT 1; DESCRIBE runs")[1][0][0] == "run_id"


class TestWhereItLies:
    def test_in_the_project(self, tmp_path, monkeypatch):
        monkeypatch.delenv("WFKERNEL_STORE")
        (tmp_path / "project" / "deep" / "er").mkdir(parents=True)
        (tmp_path / "project" / "pyproject.toml").touch()
        assert (
            find_store_path(tmp_path / "project" / "deep" / "er") == tmp_path / "project" / ".wfkernel" / "store.duckdb"
        )

    def test_beside_the_notebook_outside_projects(self, tmp_path, monkeypatch):
        monkeypatch.delenv("WFKERNEL_STORE")
        assert find_store_path(tmp_path) == tmp_path / ".wfkernel" / "store.duckdb"

    def test_the_environment_wins(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WFKERNEL_STORE", str(tmp_path / "mine.duckdb"))
        assert find_store_path("/") == tmp_path / "mine.duckdb"


def test_a_store_where_no_file_can_be_is_refused_in_one_line(tmp_path):
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot open the store .*notes/store\.duckdb: "):
        Store(tmp_path / "notes" / "store.duckdb").runs()
