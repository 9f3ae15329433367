"""Processes killed while DuckDB writes a block of metadata again where it stands, which nothing but luck hits otherwise.

    python -m tests.soak.torn [--seconds 60] [--plain]

Each process does nothing but commit and move DuckDB's log into its file. The parent watches the first bytes of the first
block, its checksum, and kills as soon as they change. With ``--plain`` DuckDB's own checkpoint is used instead of ours.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from wfkernel.store.undo import Undo

TABLES = 60
LONGEST = 120
BLOCK = 12288
"""Where the first block of a DuckDB file stands."""


@dataclass
class Torn:
    kills: int = 0
    mended: int = 0
    """How often an interrupted checkpoint was undone."""
    unreadable: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} processes killed while they wrote a block of metadata: {self.mended} checkpoints undone, "
            f"{len(self.unreadable)} files unreadable afterwards"
        )


def torn(folder: Path, seconds: float, *, least: int = 0, plain: bool = False, seed: int = 1) -> Torn:
    """Kill for `seconds`, and on until `least` checkpoints had to be undone, but no longer than `LONGEST` seconds.

    Every file that cannot be opened is counted and replaced by a fresh one.
    """
    rng = random.Random(seed)
    store, fresh = folder / "torn.duckdb", folder / "fresh.duckdb"
    with duckdb.connect(str(fresh)) as connection:
        for number in range(TABLES):
            connection.execute(f"CREATE TABLE t{number} (a INTEGER PRIMARY KEY, b VARCHAR)")
    report = Torn()
    begin = time.monotonic()
    while (gone := time.monotonic() - begin) < seconds or (report.mended < least and gone < LONGEST):
        if not store.exists() or store.stat().st_size > 40_000_000:
            store.unlink(missing_ok=True)
            store.with_name("torn.duckdb.wal").unlink(missing_ok=True)
            shutil.copy(fresh, store)
        undo = Undo(store)
        if not plain:
            report.mended += undo.mend()
        try:
            duckdb.connect(str(store)).close() if plain else _open(store, undo)
        except duckdb.Error as error:
            report.unreadable.append(str(error))
            store.unlink()
            continue
        child = os.fork()
        if not child:
            _work(store, plain, rng.randrange(10**9))
        time.sleep(rng.uniform(0.06, 0.1))
        _kill_at_a_change(store, child)
        report.kills += 1
    return report


def _open(store: Path, undo: Undo) -> None:
    with duckdb.connect(str(store)) as connection:
        undo.hold(connection)
        assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(TABLES,)]
    undo.release()


def _work(store: Path, plain: bool, seed: int) -> None:
    rng = random.Random(seed)
    try:
        undo = Undo(store)
        connection = duckdb.connect(str(store))
        if not plain:
            undo.hold(connection)
        while True:
            for _ in range(5):
                values = rng.randrange(2**31), "x"
                connection.execute(f"INSERT OR IGNORE INTO t{rng.randrange(TABLES)} VALUES (?, ?)", values)
            if plain:
                connection.execute("CHECKPOINT")
            else:
                undo.checkpoint(connection)
    finally:
        os._exit(1)  # only an error comes here


def _kill_at_a_change(store: Path, child: int) -> None:
    descriptor = os.open(store, os.O_RDONLY)
    try:
        before, deadline = os.pread(descriptor, 8, BLOCK), time.monotonic() + 2
        while os.pread(descriptor, 8, BLOCK) == before and time.monotonic() < deadline:
            pass
        os.kill(child, signal.SIGKILL)
    finally:
        os.close(descriptor)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process ended by itself"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.torn")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--plain", action="store_true", help="DuckDB's own checkpoints, unprotected")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = torn(Path(folder), options.seconds, plain=options.plain)
    print(report)
    return 1 if report.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
