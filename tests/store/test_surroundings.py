"""The store where something around it is not as it should be: links, a folder that goes away, a full disk, a stopped process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.test_durability import python
from tests.store.test_store import begin, execute
from wfkernel.cli.shared import opened
from wfkernel.errors import StoreError, StoreLocked
from wfkernel.store import journal
from wfkernel.store.holder import Holder, holder_of
from wfkernel.store.store import Store, open_store


def test_a_link_to_the_file_is_the_store_it_leads_to(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "s.duckdb", tmp_path / "elsewhere" / "s.duckdb"
    real.parent.mkdir()
    link.parent.mkdir()
    link.symlink_to(real)
    store = open_store(link)
    large = store.encode("x" * 100_000, durable=True)
    assert store is open_store(real)
    assert store.runs() == []
    store.close()
    assert Store(real).decode(large) == "x" * 100_000
    assert [file.name for file in link.parent.iterdir()] == ["s.duckdb"]


def test_what_is_written_to_a_store_that_was_removed_is_refused_until_it_is_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOOK_SECONDS", 0.0)
    run = begin(store)
    execute(run, "a")
    aside = shutil.move(store.path.parent, tmp_path / "aside")
    with pytest.raises(StoreError, match=r"\.wfkernel was removed or moved while this process used it"):
        execute(run, "b")
    with pytest.raises(StoreError, match="was removed or moved"):
        store.runs()
    store.database.close()
    assert not store.path.parent.exists()  # nothing is in the way
    shutil.move(aside, store.path.parent)
    execute(run, "b")
    assert list(store.load("r1").steps) == ["a", "b"]


def test_a_second_store_file_in_the_folder_of_one_is_refused_and_takes_nothing(tmp_path: Path) -> None:
    run = "from wfkernel.store.store import Store; from wfkernel.engine.events import Event; import os, sys;"
    run += "Store(sys.argv[1]).append([Event('r', 1, 1.0, 'run.start', '', 0, {'status': 'running'})]); os._exit(1)"
    first = tmp_path / "a.duckdb"
    python(run, str(first))  # which is killed: all there is is in its journal
    for _ in range(2):  # before and after the first has a file
        with pytest.raises(StoreError, match=r"b\.duckdb lies in the folder of the store a\.duckdb, whose journals"):
            Store(tmp_path / "b.duckdb")
        listed = python("from wfkernel.cli import main; main()", "ls", "--json", "--store", str(first))
        assert [row["run_id"] for row in json.loads(listed.stdout)] == ["r"], listed.stderr
    shutil.copy(first, tmp_path / "a.v1.duckdb")
    (tmp_path / "owners" / "store").unlink()  # as an earlier wfkernel left it
    with pytest.raises(StoreError, match=r"a\.v1\.duckdb lies in the folder of the store a\.duckdb"):
        Store(tmp_path / "a.v1.duckdb")
    with closing(Store(first)) as store:
        assert store.exists("r")


def test_a_file_that_is_no_database_does_not_take_the_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a store")
    with pytest.raises(StoreError, match="cannot be read"), closing(Store(tmp_path / "notes.txt")) as store:
        store.runs()
    with closing(Store(tmp_path / "a.duckdb")) as store:
        assert store.runs() == []


def test_a_link_that_leads_nowhere_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.duckdb").symlink_to(tmp_path / "a.duckdb")
    with pytest.raises(StoreError, match="symbolic links"), closing(open_store(tmp_path / "a.duckdb")) as store:
        store.runs()


@pytest.mark.parametrize("aside", [-3600.0, 3600.0], ids=["before", "before the clock was set back"])
def test_who_was_killed_while_it_waited_is_not_waited_for(store: Store, aside: float) -> None:
    mark = store.path.parent / "waiting" / "1-1"
    mark.parent.mkdir(parents=True)
    mark.touch()
    os.utime(mark, (time.time() + aside,) * 2)
    assert store.runs() == []
    assert not mark.exists()


def test_a_store_file_that_was_renamed_is_the_folders_store(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a.duckdb")) as store:
        begin(store)
    (tmp_path / "a.duckdb").rename(tmp_path / "b.duckdb")
    with closing(Store(tmp_path / "b.duckdb")) as store:
        assert store.exists("r1")


def test_a_store_that_was_named_and_has_no_file_yet_is_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        opened(tmp_path / "s.duckdb")
    store = Store(tmp_path / "s.duckdb")
    begin(store)
    assert [row["run_id"] for row in opened(tmp_path / "s.duckdb").runs()] == ["r1"]
    store.close()


FULL = """
    import resource, sys
    from pathlib import Path
    from wfkernel.store.store import Store
    path = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, -1))
    try:
        Store(path).runs()
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_disk_too_full_to_move_the_journal_is_told_in_one_line_and_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    store = Store(path)
    assert store.runs() == []
    store.database.close()
    for number in range(40):
        execute(begin(store, f"r{number}"), "a", [{"name": "x", "codec": "json", "data": os.urandom(20_000).hex()}])
    store._journal.close()  # and nothing moves it: the process is as good as killed
    store._owner.release()
    done = python(FULL, str(path))
    assert done.stdout.startswith(f"StoreError the disk of the store {path} is full"), done
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    assert len(Store(path).runs()) == 40


def holding(path: Path) -> subprocess.Popen[str]:
    """A process that keeps the file open until it is sent a line, and is stopped."""
    code = f"""
from wfkernel.store.store import Store
with Store({str(path)!r}).database.open():
    print("open", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.send_signal(signal.SIGSTOP)
    return process


def test_a_stopped_process_that_keeps_the_file_is_named_soon_and_goes_on_later(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    holder, store = holding(path), Store(path)
    try:
        with pytest.raises(StoreLocked, match=f"process {holder.pid} .*which is stopped: .*kill -CONT {holder.pid}"):
            store.runs()
    finally:
        holder.send_signal(signal.SIGCONT)
        holder.communicate("\n")
    assert (holder.returncode, store.runs()) == (0, [])
    store.close()


def test_a_process_that_is_stopped_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.duckdb"
    holder, store = holding(path), Store(path)
    seen: list[Holder | None] = []

    def look(file: Path) -> Holder | None:
        seen.append(holder_of(file))
        if len(seen) == 1:
            holder.send_signal(signal.SIGCONT)
            holder.communicate("\n")
        return seen[-1]

    monkeypatch.setattr("wfkernel.store.holder.holder_of", look)
    assert store.runs() == []
    assert seen[0] is not None
    assert (seen[0].pid, seen[0].stopped) == (holder.pid, True)
    store.close()
