"""What each durability promises, with processes that are really killed and disks that are really full."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tests.store.test_store import execute
from wfkernel import Workflow, step
from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState
from wfkernel.errors import DefinitionError, RunSuspended
from wfkernel.store import journal
from wfkernel.store.journal import Journal, frame_bytes, read_frames
from wfkernel.store.store import Store


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


KILLED = """
    import os, signal, sys
    from wfkernel.engine.script import ScriptRun
    from wfkernel.engine.state import RunState
    from wfkernel.store.store import Store
    store = Store(sys.argv[1])
    run = ScriptRun(store, RunState("r"), durability=sys.argv[2])
    run.emit("run.start", {"status": "running", "owner": store.owner}, durable=True)
    for n in range(10):
        step = run.begin(f"s{n}", "c", {}, [], [])
        step.start()
        step.succeed([], 0.0)
        if n == 4 and sys.argv[3] == "suspends":
            run.emit("run.suspended", {"status": "suspended", "paths": []}, durable=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("durability", "suspends", "events"),
    [("fsync", "", 21), ("write", "", 21), ("exit", "", 0), ("exit", "suspends", 12)],
)
def test_what_survives_kill_9(store, durability, suspends, events):
    assert python(KILLED, str(store.path), durability, suspends).returncode == -signal.SIGKILL
    assert len(store.events("r")) == events


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every fdatasync of a journal."""
    done: list[int] = []
    real = journal._sync

    def counted(fd: int) -> None:
        done.append(fd)
        real(fd)

    monkeypatch.setattr(journal, "_sync", counted)
    return done


@pytest.mark.parametrize(("durability", "expected"), [("fsync", 4), ("write", 0), ("exit", 1)])
def test_how_often_a_run_of_three_steps_waits_for_the_disk(store, syncs, durability, expected):
    run = ScriptRun(store, RunState("r"), durability=durability)
    run.emit(ev.RUN_START, {"status": "running", "owner": store.owner})
    for path in "abc":
        execute(run, path)
    run.finish("success")
    assert len(syncs) == expected
    assert store.load("r") == run.state


def test_with_exit_a_suspended_run_is_in_the_store_in_one_piece(store):
    run = ScriptRun(store, RunState("r"), durability="exit")
    run.emit(ev.RUN_START, {"status": "running", "owner": store.owner})
    step = run.begin("ask", "c", {}, [], [])
    step.start()
    assert not store.exists("r")
    with pytest.raises(RunSuspended):
        step.answer(None, "Go on?", None)
    assert store.load("r") == run.state


def test_with_exit_what_a_canceled_task_held_is_not_written_by_the_next_life(store):
    begun = []

    @step
    async def wait(x: int) -> int:
        begun.append(x)
        await asyncio.sleep(60 if len(begun) == 1 else 0)
        return x

    async def live() -> str:
        run = Workflow("w", input=int, store=store, durability="exit").then(wait).commit().create_run("r")
        first = asyncio.ensure_future(run.start(1))
        while not begun:
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        return (await run.restart()).status

    assert asyncio.run(live()) == "success"
    assert [event.seq for event in store.events("r")] == list(range(1, 7))
    assert store.load("r").status == "success"


def test_an_unknown_durability_is_refused(store):
    with pytest.raises(DefinitionError, match="durability is 'fsync', 'write' or 'exit', not 'sometimes'"):
        ScriptRun(store, RunState("r"), durability="sometimes")


class TestThreadsThatWaitTogether:
    def test_share_one_fdatasync(self, tmp_path, monkeypatch):
        entered, go_on = threading.Event(), threading.Event()
        done: list[int] = []

        def slow(fd: int) -> None:
            done.append(fd)
            entered.set()
            assert go_on.wait(20)
            os.fdatasync(fd)

        monkeypatch.setattr(journal, "_sync", slow)
        log = Journal(tmp_path, "me")

        def append(n: int) -> None:
            log.append([Event(f"r{n}", 1, 0.0, "step.output")], durable=True)

        threads = [threading.Thread(target=append, args=(n,)) for n in range(20)]
        threads[0].start()
        assert entered.wait(20)
        for thread in threads[1:]:
            thread.start()
        while len(_read(log.file)[0]) < 20:  # all are written while the first fdatasync is under way
            pass
        assert all(thread.is_alive() for thread in threads)  # and nobody is told that it is durable
        go_on.set()
        for thread in threads:
            thread.join()
        assert len(done) == 2  # the first one's, and one for the nineteen that came meanwhile
        log.close()

    def test_lose_nothing_when_files_change_meanwhile(self, store, monkeypatch):
        monkeypatch.setattr(journal, "ROTATE_BYTES", 3_000)

        def write(name: str) -> None:
            run = ScriptRun(store, RunState(name))
            run.emit(ev.RUN_START, {"status": "running", "owner": store.owner}, durable=True)
            for n in range(30):
                execute(run, f"s{n}")

        threads = [threading.Thread(target=write, args=(f"r{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(store.events(f"r{n}")) for n in range(8)] == [61] * 8


def test_a_full_disk_is_an_error_and_what_is_written_before_and_after_stays(tmp_path):
    code = """
        import resource, signal, sys
        from wfkernel.engine.script import ScriptRun
        from wfkernel.engine.state import RunState
        from wfkernel.errors import StoreError
        from wfkernel.store.store import Store
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = Store(sys.argv[1])
        store.database.notify = lambda size: None
        run = ScriptRun(store, RunState("r"))
        run.emit("run.start", {"status": "running", "owner": store.owner}, durable=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
        try:
            run.emit("step.output", {"text": "x" * 5_000}, "a", durable=True)
        except StoreError as error:
            print(error)
        run.emit("step.output", {"text": "small"}, "a", durable=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        run.emit("step.output", {"text": "x" * 5_000}, "a", durable=True)
        store.close()
    """
    path = tmp_path / "s.duckdb"
    done = python(code, str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write to the store {path}: File too large")
    store = Store(path)
    assert [len(event.payload.get("text", "")) for event in store.events("r")] == [0, 5, 5_000]
    store.close()


def test_after_a_failed_fdatasync_nothing_more_is_promised(store, monkeypatch):
    from wfkernel.errors import StoreError

    run = ScriptRun(store, RunState("r"))
    run.emit(ev.RUN_START, {"status": "running", "owner": store.owner}, durable=True)

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(journal, "_sync", fails)
        with pytest.raises(StoreError, match="Input/output error"):
            run.emit(ev.STEP_OUTPUT, {"text": "x"}, "a", durable=True)
    with pytest.raises(StoreError, match="Input/output error"):
        run.emit(ev.STEP_OUTPUT, {"text": "y"}, "a")


@pytest.mark.parametrize("behind", [b"", bytes(3), bytes(5_000)], ids=["closed", "full", "killed"])
def test_a_journal_cut_or_changed_at_any_byte_yields_whole_frames_only(tmp_path, behind):
    log = Journal(tmp_path, "me")
    ends = [0]
    for n in range(3):
        log.append([Event("r", n + 1, 0.0, "step.output", "a", 0, {"text": "x" * n})], durable=False)
        ends.append(frame_bytes(log.file))
    log.close()
    data = log.file.read_bytes()
    assert len(data) == ends[-1]
    bodies = [body for _, body in read_frames(log.file, 0)]
    assert len(bodies) == 3
    for offset in range(len(data)):
        whole = sum(end <= offset for end in ends[1:])
        log.file.write_bytes(data[:offset] + behind)
        found, damaged = _read(log.file)
        assert found == bodies[:whole]
        assert not damaged, "a write that was cut short is no damage"
        log.file.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :] + behind)
        found, damaged = _read(log.file)
        assert found == bodies[:whole]
        assert damaged, f"the byte at {offset} was changed"


def _read(file: Path) -> tuple[list[bytes], bool]:
    """The bodies before the end of what is whole, and whether what follows is damaged."""
    found = []
    try:
        for _, body in read_frames(file, 0):
            found.append(body)
    except journal.TornTail as torn:
        return found, torn.complete
    return found, False
