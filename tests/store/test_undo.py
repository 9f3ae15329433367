"""DuckDB rewrites live blocks in place during its checkpoints; a kill at that moment must not cost the store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.soak.faults import ROOT
from tests.soak.torn import BLOCK, torn
from wfkernel.store.store import Store
from wfkernel.store.undo import Undo


class Killed(BaseException):
    pass


def die() -> None:
    raise Killed


class UntilCheckpoint:
    """A connection whose process is killed, by `end`, as it comes to the checkpoint."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, end: Callable[[], None] = die) -> None:
        self._connection, self._end = connection, end

    def execute(self, sql: str) -> Any:
        if sql == "CHECKPOINT":
            self._end()
        return self._connection.execute(sql)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A file with row 1, with row 2 in its log alone, and with the copy that a killed checkpoint left."""
    path = tmp_path / "a.duckdb"
    undo = Undo(path)
    with duckdb.connect(str(path)) as connection:
        undo.hold(connection)
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES (1)")
        undo.checkpoint(connection)
        assert not undo.copy.exists()
        connection.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(Killed):
            undo.checkpoint(UntilCheckpoint(connection))  # type: ignore[arg-type]
    undo.release()
    return path


def rows(path: Path) -> list[int]:
    with duckdb.connect(str(path)) as connection:
        return [a for (a,) in connection.execute("SELECT a FROM t ORDER BY a").fetchall()]


def tear(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(BLOCK)
        file.write(bytes(40_000))


def test_a_block_written_by_half_is_put_back_and_the_log_is_read_again(killed: Path) -> None:
    tear(killed)
    with pytest.raises(duckdb.Error, match="Corrupt"):
        duckdb.connect(str(killed))
    undo = Undo(killed)
    assert undo.mend() is True
    assert rows(killed) == [1, 2]
    assert undo.mend() is False


def test_a_checkpoint_that_got_to_its_end_is_not_undone(killed: Path) -> None:
    with duckdb.connect(str(killed)) as connection:
        connection.execute("INSERT INTO t VALUES (3)")
        connection.execute("CHECKPOINT")
    undo = Undo(killed)
    assert undo.mend() is False
    assert not undo.copy.exists()
    assert rows(killed) == [1, 2, 3]


def test_a_copy_that_is_not_whole_is_not_used(killed: Path) -> None:
    undo = Undo(killed)
    undo.copy.write_bytes(undo.copy.read_bytes()[:-1])
    before = killed.read_bytes()
    assert undo.mend() is False
    assert killed.read_bytes() == before
    assert rows(killed) == [1, 2]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.store.test_undo import UntilCheckpoint
from wfkernel.store.store import Store

database = Store(Path(sys.argv[1])).database
with database.open() as connection:
    connection.execute("CREATE TABLE t AS SELECT 7 AS a")
    database._undo.checkpoint(UntilCheckpoint(connection, lambda: os.kill(os.getpid(), signal.SIGKILL)))
"""


def test_a_store_opens_after_it(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    Store(path).query("SELECT 1")
    Store(path).close()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    tear(path)
    with pytest.raises(duckdb.Error, match="Corrupt"):
        duckdb.connect(str(path))
    assert Store(path).query("SELECT a FROM t")[1] == [(7,)]


def test_while_a_store_is_open_duckdb_makes_no_checkpoint_and_nobody_else_opens_it(tmp_path: Path) -> None:
    path, copy = tmp_path / "store.duckdb", tmp_path / "copy"
    store = Store(path)
    other = [sys.executable, "-c", f"import duckdb; duckdb.connect({str(path)!r})"]
    with store.database.open() as connection:
        store.database.copy_to(copy)
        heads = copy.read_bytes()[4096:BLOCK]
        connection.execute("CREATE TABLE t (text VARCHAR)")
        for _ in range(20):  # DuckDB alone would make one at 16 MB
            connection.execute("INSERT INTO t SELECT repeat('x', 1000) || i FROM range(1000) s(i)")
        store.database._undo.copy_to(copy)
        assert store.database.log_bytes > 20_000_000
        assert copy.read_bytes()[4096:BLOCK] == heads
        refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert "Could not set lock" in refused.stderr
    store.close()
    assert not path.with_name("store.duckdb.wal").exists()
    assert subprocess.run(other, capture_output=True, text=True, check=False).returncode == 0


def test_processes_killed_in_the_middle_of_a_block_leave_files_that_open(tmp_path: Path) -> None:
    report = torn(tmp_path, seconds=5, least=1)
    assert report.kills
    assert report.mended
    assert not report.unreadable
