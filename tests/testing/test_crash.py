"""Crash points: real processes, really killed, at the named moment and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from wfkernel.engine.events import Event
from wfkernel.store.store import Store
from wfkernel.testing import CrashingStore, MemoryLog, crash_at, event_lines, run_until_crash

SCRIPT = """
import sys
from wfkernel.engine.events import Event
from wfkernel.store.store import Store

store = Store(sys.argv[1])
def emit(seq, type_, path="", **payload):
    print(seq, flush=True)
    store.append([Event("r", seq, 0.0, type_, path, payload=payload)], durable=False)

emit(1, "run.start", status="running")
emit(2, "step.output", "a", text="one")
emit(3, "step.output", "b", text="two")
emit(4, "step.output", "b", text="three")
store.claim("r", lambda state: [("run.resume", "", {"status": "running"})])
print("after the claim", flush=True)
store.close()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize(
    ("point", "left"),
    [
        (crash_at("step.output"), 2),
        (crash_at("step.output", "b"), 3),
        (crash_at("step.output", "b", nth=2), 4),
        (crash_at("step.output", "b", nth=2, before=True), 3),
        (crash_at("run.start", before=True), 0),
        (crash_at("run.resume", before=True), 4),
        (crash_at("run.resume"), 5),
    ],
)
def test_the_process_dies_there_and_what_was_written_before_is_kept(script, store, point, left):
    done = run_until_crash(script, point, str(store.path))
    assert "after the claim" not in done.stdout
    kept = store.events("r")
    assert event_lines(kept) == event_lines(ALL)[:left]


ALL = [
    Event("r", seq, 0.0, type_, path)
    for seq, (type_, path) in enumerate(
        [("run.start", ""), ("step.output", "a"), ("step.output", "b"), ("step.output", "b"), ("run.resume", "")], 1
    )
]


def test_a_crash_that_never_comes_is_a_failure_that_shows_the_output(script, store):
    with pytest.raises(
        AssertionError, match=r"did not crash at event 9 'step\.output' of 'b': it ended with 0"
    ) as caught:
        run_until_crash(script, crash_at("step.output", "b", nth=9), str(store.path))
    assert "after the claim" in str(caught.value)


def test_a_script_that_fails_by_itself_is_a_failure_that_shows_why(tmp_path):
    (tmp_path / "broken.py").write_text("import sys\nraise SystemExit(f'{__name__} {sys.argv[1:]} is broken')")
    with pytest.raises(AssertionError, match=r"__main__ \['x'\] is broken"):
        run_until_crash(tmp_path / "broken.py", crash_at("run.start"), "x")


def test_a_store_can_be_wrapped_in_a_process_of_ones_own(tmp_path):
    code = (
        "import sys\n"
        "from wfkernel.engine.events import Event\n"
        "from wfkernel.store.store import Store\n"
        "from wfkernel.testing import CrashingStore, crash_at\n"
        "store = CrashingStore(Store(sys.argv[1]), crash_at('step.output', before=True))\n"
        "store.append([Event('r', 1, 0.0, 'run.start', payload={'status': 'running'})])\n"
        "print(store.load('r').status, flush=True)\n"
        "store.append([Event('r', 2, 0.0, 'step.output', 'a', payload={'text': ''})])\n"
        "print('not reached')\n"
    )
    path = tmp_path / "store.duckdb"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "running\n")
    opened = Store(path)
    assert [event.type for event in opened.events("r")] == ["run.start"]
    opened.close()


@pytest.mark.parametrize(
    ("point", "left"), [(crash_at("step.output", "b"), 3), (crash_at("step.output", "b", before=True), 2)]
)
def test_of_events_that_are_written_together_those_after_the_point_are_not(tmp_path, point, left):
    code = (
        "import json, sys\n"
        "from wfkernel.engine.events import Event\n"
        "from wfkernel.store.store import Store\n"
        "from wfkernel.testing import CrashingStore\n"
        "from wfkernel.testing.crash import CrashPoint\n"
        "store = CrashingStore(Store(sys.argv[1]), CrashPoint(**json.loads(sys.argv[2])))\n"
        "types = [('run.start', ''), ('step.output', 'a'), ('step.output', 'b'), ('step.output', 'c')]\n"
        "store.append([Event('r', n, 0.0, type_, path) for n, (type_, path) in enumerate(types, 1)])\n"
    )
    path = tmp_path / "store.duckdb"
    done = subprocess.run([sys.executable, "-c", code, str(path), json.dumps(asdict(point))], check=False)
    assert done.returncode == -9
    opened = Store(path)
    assert [event.seq for event in opened.events("r")] == list(range(1, left + 1))
    opened.close()


def test_events_that_are_not_meant_pass_through():
    log = MemoryLog()
    store = CrashingStore(log, crash_at("step.result", "b"))
    store.append([Event("r", 1, 0.0, "run.start", payload={"status": "running"})])
    store.claim("r", lambda state: [("step.planned", "", {"steps": []})])
    assert (store.owner, store.exists("r"), len(log.events("r"))) == ("process 1", True, 2)
