"""A database file that cannot be read costs what stood in it alone, and that is said."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.test_checkpoints import run_of
from tests.store.test_fsck import wf
from tests.store.test_store import execute
from wfkernel.errors import StoreCorrupt, StoreError
from wfkernel.store.backup import backup
from wfkernel.store.database import BLOCK_BYTES
from wfkernel.store.fsck import check
from wfkernel.store.history import history
from wfkernel.store.salvage import salvage
from wfkernel.store.store import Store


@pytest.fixture
def filled(store: Store) -> Iterator[Store]:
    """A store with the finished steps of run ``old``, whose process is gone."""
    run_of(store, "a", "b", run_id="old")
    store.checkpoint("old", "then")
    store.context.remember("the sensor was replaced in May", {})
    store.close()
    opened = Store(store.path)
    yield opened
    opened.close()


def flip(file: Path, *places: int) -> None:
    content = bytearray(file.read_bytes())
    for place in places:
        content[place] ^= 0xFF
    file.write_bytes(content)


HEADS = (4096 + 8, 8192 + 8)
"""A byte in each of the two heads, of which DuckDB uses the newer."""


def test_a_store_that_can_be_read_is_left_alone(filled):
    with pytest.raises(StoreError, match="can be read"):
        salvage(filled)
    assert wf("recover", store=filled).returncode == 2


def test_with_a_backup_only_what_came_after_it_and_was_folded_is_lost(filled, tmp_path):
    copy = backup(filled, tmp_path / "copy").path
    late = run_of(filled, "a", run_id="late")  # this process lives: its journal is still there
    filled.database.close()
    flip(filled.path, *HEADS)
    with pytest.raises(StoreCorrupt, match="`wf recover` brings back"):
        filled.runs()
    done = salvage(filled, copy)
    assert history(filled)[-1].what == "recovered"
    assert done.backup == copy
    assert done.kept_in.is_file()
    assert {r["run_id"] for r in filled.runs()} == {"old", "late"}
    assert (done.from_backup, done.problems) == (5, [])
    assert [c.label for c in filled.checkpoints.all("old")] == ["then"]
    assert [p.kind for p in check(filled)] == ["quarantine"]
    execute(late, "b")
    assert filled.load("late").step("b").status == "success"


def test_without_one_the_journals_are_all_there_is(filled):
    flip(filled.path, 8, *HEADS)
    run_of(filled, "a", run_id="new")  # steps go on while the file is damaged
    done = wf("recover", "--json", store=filled)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["backup"], told["unread"], told["runs"], told["complete"]) == (None, None, 1, False)
    assert told["from_journals"] == len(filled.events("new"))
    assert Path(told["kept_in"]).parent == filled.quarantine
    assert {r["run_id"] for r in filled.runs()} == {"new"}


def test_what_is_readable_in_the_file_comes_back(tmp_path):
    """Bytes flipped anywhere behind the heads: each run is back whole, or named."""
    path = tmp_path / "store.duckdb"
    code = (
        "import sys; from pathlib import Path; from tests.store.test_checkpoints import run_of;"
        "from wfkernel.store.store import Store; store = Store(Path(sys.argv[1]));"
        "[run_of(store, *'abcdefgh', run_id=f'r{n}') for n in range(3)]; store.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    whole = path.read_bytes()
    expected = {f"r{n}": Store(path).events(f"r{n}") for n in range(3)}
    chance = random.Random(7)
    salvaged = 0
    for n in range(12):
        store = Store(tmp_path / str(n) / "store.duckdb")
        store.path.parent.mkdir()
        store.path.write_bytes(whole)
        flip(store.path, chance.randrange(12_288, len(whole)))
        if any(problem.kind == "database" for problem in check(store)):
            done = salvage(store)
            salvaged += 1
            named = (
                {p.run_id for p in done.problems}
                | set(done.unread or ())
                | (set(expected) if done.unread is None else set())
            )
            for run_id, events in expected.items():
                assert run_id in named or store.events(run_id) == events
        store.close()
    assert salvaged > 0


def test_a_file_that_was_cut_is_named_wherever_it_was_cut_and_comes_back(tmp_path):
    store = Store(tmp_path / "s.duckdb")
    run_of(store, "a", "b", run_id="old")
    assert store.context.search("old", mode="words") == []
    views = ("runs", "steps", "attempts", "events", "step_values", "context", "checkpoints")
    whole = [store.query(f"SELECT * FROM {view}") for view in views]
    store.close()
    content = store.path.read_bytes()
    block = 1 << 18
    for number, end in enumerate(range(len(content) - block, 3 * 4096, -2 * block)):
        cut = Store(tmp_path / str(number) / "s.duckdb")
        cut.path.parent.mkdir()
        cut.path.write_bytes(content[:end])
        if any(problem.kind == "database" for problem in check(cut)):
            done = salvage(cut)
            assert done.unread is None or done.from_file == 5
        else:  # what was cut off held nothing
            assert [cut.query(f"SELECT * FROM {view}") for view in views] == whole
        cut.close()


STOPPED = """
import os, sys
from wfkernel.store import salvage
from wfkernel.store.store import Store
left = iter(range(int(sys.argv[2])))

def killed_before(act):
    def acting(*arguments, **options):
        if next(left, None) is None:
            os.kill(os.getpid(), 9)
        return act(*arguments, **options)
    return acting

store = Store(sys.argv[1])
os.link, os.unlink, os.replace = map(killed_before, (os.link, os.unlink, os.replace))
salvage._add_what_is_readable = killed_before(salvage._add_what_is_readable)
salvage.note_deed = killed_before(salvage.note_deed)
salvage.salvage(store)
print("through", flush=True)
"""


def test_a_recovery_that_is_killed_is_named_and_gone_on_with(tmp_path):
    store = Store(tmp_path / "s.duckdb")
    run_of(store, "a", "b", run_id="old")
    store.context.search("old", mode="words")
    events = store.events("old")
    store.close()
    cut = store.path.read_bytes()[:-BLOCK_BYTES]
    for moment in range(100):
        path = tmp_path / str(moment) / "s.duckdb"
        path.parent.mkdir()
        path.write_bytes(cut)
        command = [sys.executable, "-c", STOPPED, str(path), str(moment)]
        killed = "through" not in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
        again = Store(path)
        if killed:
            assert [problem.kind for problem in check(again)][:1] == ["database"]
            salvage(again)
        assert again.events("old") == events
        assert [problem.kind for problem in check(again)] == ["quarantine"]
        again.close()
        if not killed:
            break
    assert moment > 5


KILLED = """
import os, sys
from tests.store.test_checkpoints import run_of
from wfkernel.store.store import Store
store = Store(sys.argv[1])
run_of(store, "a", "b", run_id="early")
store.close()
store = Store(sys.argv[1])
for run_id in ("first", "second", "third"):
    run_of(store, "a", "b", run_id=run_id)
    store.runs()
store._journal.close()
store._owner.release()
with store.database.open():  # what the journal held is in the log now
    os.kill(os.getpid(), 9)
"""


def with_a_log(path: Path) -> Path:
    """A store at `path` of which a process was killed: run early is in the file, three runs are in DuckDB's log. Returns that."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -9
    return path.with_name(f"{path.name}.wal")


@pytest.mark.parametrize("damage", ["gone", "cut", "head", "flip"])
def test_a_log_that_is_lost_or_damaged_costs_nothing_while_the_journals_are_there(tmp_path, damage):
    log = with_a_log(tmp_path / "s.duckdb")
    size = log.stat().st_size
    if damage == "gone":
        log.unlink()
    elif damage == "cut":
        log.write_bytes(log.read_bytes()[: size // 2])
    else:
        flip(log, 4 if damage == "head" else size // 2)
    store = Store(tmp_path / "s.duckdb")
    if damage == "flip":
        assert salvage(store).complete is False
    assert {row["run_id"] for row in store.runs()} == {"early", "first", "second", "third"}
    assert [problem for problem in check(store) if problem.kind != "quarantine"] == []
    store.close()
    assert list(store.journals.iterdir()) == []


def test_a_damaged_log_costs_what_stands_in_it_from_there_on(tmp_path):
    path = tmp_path / "s.duckdb"
    log = with_a_log(path)
    flip(log, log.stat().st_size - 100)
    store = Store(path)
    for journal in store.journals.iterdir():
        journal.unlink()
    with pytest.raises(StoreCorrupt):
        store.runs()
    done = wf("recover", store=store)
    assert done.returncode == 1
    assert "bytes at the end of DuckDB's log, which is damaged there" in done.stdout
    assert {"early", "first", "second"} <= {row["run_id"] for row in store.runs()}
    store.close()


def test_a_backup_that_is_none_changes_nothing(filled, tmp_path):
    flip(filled.path, 8, *HEADS)
    (tmp_path / "junk").write_bytes(b"junk")
    before = filled.path.read_bytes()
    with pytest.raises(StoreError, match="is no backup of a store"):
        salvage(filled, tmp_path / "junk")
    assert filled.path.read_bytes() == before
