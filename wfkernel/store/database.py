"""The DuckDB file, opened in bursts.

DuckDB lets one process at a time open a file that is written. Two notebooks, a batch and ``wf ls`` at once are the
normal case, so nobody keeps the file open: a process opens it when it has something to do (about 20 ms), first moves
over whatever any process's journal holds that is not in the tables yet, does its work, and closes it again when idle.
Steps never wait for any of this, for they end in the journal (`wfkernel.store.journal`). A background thread moves this
process's own journal along, so that the tables are at most a moment behind. A process that waits for the file leaves a
mark, and who has it open closes it as soon as the operation at hand is done, so a busy process starves nobody.

Between processes of ours a lock of our own decides whose turn it is, DuckDB's lock only where another program has the
file: DuckDB 2.0 reads the head of a file before it takes its lock, and what the process before it committed in between
would be lost. When DuckDB's write-ahead log goes into the file is decided here too (`wfkernel.store.undo` says why).
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from wfkernel.errors import StoreCorrupt, StoreError, StoreLocked, StoreTooNew
from wfkernel.store import schema
from wfkernel.store.journal import (
    SUFFIX,
    TornTail,
    events_of,
    frame_bytes,
    goes_on,
    join_frames,
    owner_of,
    read_frames,
)
from wfkernel.store.owner import is_alive
from wfkernel.store.projection import insert_rows
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute
from wfkernel.store.undo import Undo

if TYPE_CHECKING:
    import duckdb

    from wfkernel.engine.events import Event

__all__ = ["Database", "troubles"]

LOCK_WAIT: Final = 30.0
"""Seconds to wait for another process to close the file before saying who holds it."""
IDLE_SECONDS: Final = 0.5
YIELD_SECONDS: Final = 0.05
"""How soon an open file that nobody uses here is closed when another process waits for it."""
STALE_MARK_SECONDS: Final = 2.0
BATCH_SECONDS: Final = 0.05
BUSY_SECONDS: Final = 1.0
"""While steps end in quick succession the background folds no more often than this: readers fold what they need."""
FOLD_BYTES: Final = 4 << 20
"""How much of the journals is moved in one transaction."""
LOG_BYTES: Final = 16 << 20
"""How long DuckDB's write-ahead log may grow while the file is open; it is moved into the file when that is closed."""
READ_BYTES: Final = 1 << 19
"""How much of the journals is read for the sake of one run rather than moved."""
SMALL_BYTES: Final = 64 << 20
"""In a file shorter than this DuckDB works with one thread: to share the work out takes longer than to do it."""

_log = logging.getLogger("wfkernel")
_turns: dict[tuple[int, Path], FileLock] = {}
_undos: dict[tuple[int, Path], Undo] = {}
_locks: dict[Path, threading.RLock] = {}
_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The DuckDB file at `path` with the journals beside it. Safe to use from several threads."""

    def __init__(self, path: Path, journals: Path, owners: Path) -> None:
        self.path = path
        self._journals, self._owners = journals, owners
        self._waiting = path.parent / "waiting"
        self._lock = _locks.setdefault(
            path, threading.RLock()
        )  # stores of one process with one path share the open file
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._folded: dict[str, int] | None = None
        """The offsets in ``wf.journals`` as far as known since the file was opened: what is not longer than that is folded."""
        self._used = 0.0
        self._wake = threading.Event()
        self._journaled = False
        self._last_journaled = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        _databases.add(self)

    @contextlib.contextmanager
    def open(self, *, wait: float = LOCK_WAIT, fold: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection, with everything journaled so far in its tables (unless `fold` is false, see `journaled`).

        Raises `StoreLocked`, `StoreCorrupt` or `StoreTooNew`, each naming the file and what to do.
        """
        from wfkernel.store.duck import duckdb

        with self._lock:
            try:
                yield self._opened(wait, fold)
            except duckdb.Error as error:
                if not _tells_of_damage(error):
                    raise
                self._close_connection()  # DuckDB may have given it up
                raise _explain(error, self.path) from None
            finally:
                self._used = time.monotonic()
                if self._is_wanted():
                    self._close_connection()
                else:
                    self._start_thread()  # which closes the file once it is idle

    def notify(self) -> None:
        """Something was journaled: move it to the tables soon, in the background."""
        self._last_journaled = time.monotonic()
        if not self._journaled:
            self._journaled = True
            self._start_thread()

    def close(self, *, wait: float = LOCK_WAIT) -> None:
        """Move what is journaled to the tables and close the file. If another process holds it, the journal stays."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None
        with self._lock:
            if self._connection is not None or self._files():  # else there is nothing to move
                with contextlib.suppress(
                    StoreLocked
                ):  # nothing is lost: whoever opens the store next reads this journal
                    self._opened(wait)
            self._close_connection()

    def journaled(self, connection: duckdb.DuckDBPyConnection, run_id: str) -> list[Event]:
        """The events of a run that are not in the tables yet, in order; for who has opened the file without folding.

        Moving a few events takes as long as moving a thousand, about 50 ms, and nobody has to wait for that who only
        wants to know one run. Where there is much in the journals, it is moved after all.
        """
        events: list[Event] = []
        files = self._files()
        folded = self._offsets(connection) if files else {}
        behind = [file for file in files if goes_on(file, folded.get(file.name, 0))]
        if sum(frame_bytes(file) - folded.get(file.name, 0) for file in behind) > READ_BYTES:
            self._fold(connection)
            return []
        for file in behind:
            with contextlib.suppress(TornTail):
                for _, frame in read_frames(file, self._reached(connection, file)):
                    events += events_of(run_id, frame)
        return sorted(events, key=lambda event: event.seq)

    def replace(self, kept_in: Path, by: Path | None) -> None:
        """Move the file to `kept_in` and put a copy of `by`, or none, in its place. Raises `StoreLocked`."""
        with self._lock:
            self._close_connection()
            new = self.path.with_name(f"{self.path.name}.new")
            if by is not None:
                shutil.copyfile(by, new)
            kept_in.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._turn().acquire(timeout=LOCK_WAIT):
                    for end in ("", ".wal", ".undo"):
                        if (file := self.path.with_name(self.path.name + end)).exists():
                            file.replace(kept_in.with_name(kept_in.name + end))
                    if by is not None:
                        new.replace(self.path)
            except Timeout as error:
                raise _explain(error, self.path) from None

    def _opened(self, wait: float, fold: bool = True) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = self._connect(wait)
        if fold:
            self._fold(self._connection)
        return self._connection

    def checkpoint(self) -> None:
        """Have DuckDB move its log into the file, which `open` has open."""
        assert self._connection is not None
        self._undo.checkpoint(self._connection)

    @property
    def log_bytes(self) -> int:
        """How much waits in DuckDB's write-ahead log."""
        return self._undo.log_bytes

    def copy_to(self, target: Path) -> None:
        """Copy the file, which `open` has open, to `target`."""
        self.checkpoint()
        self._undo.copy_to(target)

    def _close_connection(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._empty_log(0)
                self._connection.close()
                self._undo.release()
                self._connection = self._folded = None
                self._turn().release()

    def _empty_log(self, limit: int) -> None:
        """Have DuckDB move its log into the file if it is longer than `limit`. If it cannot, nothing is lost."""
        from wfkernel.store.duck import duckdb

        with self._lock:
            if self._connection is None or self.log_bytes <= limit:
                return
            try:
                self.checkpoint()
            except (duckdb.Error, OSError) as error:
                _log.warning("%s: what was written stays in DuckDB's log: %s", self.path, error)

    def _connect(self, wait: float) -> duckdb.DuckDBPyConnection:
        from wfkernel.store.duck import duckdb

        deadline = time.monotonic() + wait
        mark: Path | None = None
        try:
            while True:
                try:
                    connection = self._connected()
                    break
                except (duckdb.Error, UnicodeDecodeError, OSError) as error:
                    problem = _explain(error, self.path)
                    if not isinstance(problem, StoreLocked) or time.monotonic() >= deadline:
                        raise problem from None
                if mark is None:
                    self._waiting.mkdir(parents=True, exist_ok=True)
                    mark = self._waiting / f"{os.getpid()}-{threading.get_ident()}"
                mark.touch()
                time.sleep(random.uniform(0.002, 0.02))
        finally:
            if mark is not None:
                mark.unlink(missing_ok=True)
        try:
            schema.prepare(connection, self.path)
        except BaseException as error:
            connection.close()
            self._undo.release()
            self._turn().release()
            raise _explain(error, self.path) if isinstance(error, duckdb.Error) else error from None
        return connection

    def _turn(self) -> FileLock:
        """Held as long as the file is open. All stores of this process that have the same path share it."""
        key = os.getpid(), self.path  # a process that was forked has to wait for its parent
        if key not in _turns:
            _turns[key] = FileLock(f"{self.path}.lock", thread_local=False)
        return _turns[key]

    @property
    def _undo(self) -> Undo:
        """Shared like the turn."""
        key = os.getpid(), self.path
        if key not in _undos:
            _undos[key] = Undo(self.path)
        return _undos[key]

    def _connected(self) -> duckdb.DuckDBPyConnection:
        """The file, opened if it is nobody else's turn; raises at once what speaks against it."""
        from wfkernel.store.duck import duckdb

        self.path.parent.mkdir(parents=True, exist_ok=True)
        turn = self._turn()
        turn.acquire(timeout=0)
        try:
            if self._undo.mend():
                _log.info("%s: an interrupted checkpoint of DuckDB was undone", self.path)
            connection = duckdb.connect(str(self.path))
            self._undo.hold(connection)
            if self.path.stat().st_size < SMALL_BYTES:
                connection.execute("SET threads = 1")
        except BaseException:
            turn.release()
            raise
        return connection

    def _is_wanted(self) -> bool:
        """Whether another process waits for the file."""
        try:
            marks = list(os.scandir(self._waiting))
        except (FileNotFoundError, NotADirectoryError):
            return False
        fresh = time.time() - STALE_MARK_SECONDS
        wanted = False
        for mark in marks:
            with contextlib.suppress(FileNotFoundError):  # it got its turn meanwhile
                if mark.stat().st_mtime >= fresh:
                    wanted = True
                else:  # left by a process that was killed while it waited
                    os.unlink(mark.path)
        return wanted

    def _fold(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Move the new frames of all journals into the tables together, with the offsets reached.

        A transaction takes as long for one event as for hundreds, so journals do not get one each.
        """
        files = self._files()
        if not files:
            return
        folded = self._offsets(connection)
        rows: list[bytes] = []
        reached: dict[str, int] = {}
        size = 0
        complete: dict[Path, bool] = {}
        """Journals that nobody will write to any more, and whether they are damaged."""
        for file in files:
            # Asked before reading: what is complete now holds nothing more when it has been read to its end.
            if self._is_complete(file, files):
                complete[file] = False
            if not goes_on(file, folded.get(file.name, 0)):
                continue
            try:
                for offset, frame in read_frames(file, self._reached(connection, file)):
                    rows.append(frame)
                    reached[file.name] = offset
                    size += len(frame)
                    if size >= FOLD_BYTES:
                        self._commit(connection, rows, reached)
                        rows, reached, size = [], {}, 0
            except TornTail as tail:
                if file in complete:
                    complete[file] = tail.complete
        if rows:
            self._commit(connection, rows, reached)
        for file, damaged in complete.items():
            if damaged:
                self._quarantine(file)
            file.unlink()  # its offset goes with the next commit: without it the file would be folded a second time

    def _files(self) -> list[Path]:
        try:
            names = sorted(name for name in os.listdir(self._journals) if name.endswith(SUFFIX))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self._journals / name for name in names]

    def _offsets(self, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
        """How far each journal is in the tables, as far as known."""
        if self._folded is None:
            self._folded = dict(connection.execute("SELECT file, folded FROM wf.journals").fetchall())
        return self._folded

    def _reached(self, connection: duckdb.DuckDBPyConnection, file: Path) -> int:
        """The same of one, asked again: another `Store` of this process, which shares the open file, may have moved it."""
        row = execute(connection, "SELECT folded FROM wf.journals WHERE file = ?", [file.name]).fetchone()
        offset = self._offsets(connection)[file.name] = row[0] if row else 0
        return offset

    def _is_complete(self, file: Path, files: list[Path]) -> bool:
        """Whether nobody will write to `file` any more: only the newest file of a living process is still written."""
        owner = owner_of(file)
        number = int(file.name.removesuffix(SUFFIX).rpartition(".")[2])
        if any(owner_of(f) == owner and int(f.name.removesuffix(SUFFIX).rpartition(".")[2]) > number for f in files):
            return True
        return not is_alive(self._owners, owner)

    def _commit(self, connection: duckdb.DuckDBPyConnection, rows: list[bytes], reached: dict[str, int]) -> None:
        with transaction(connection):
            insert_rows(connection, join_frames(rows))
            gone = [file for file in self._offsets(connection) if not (self._journals / file).exists()]
            if gone:
                execute(connection, "DELETE FROM wf.journals WHERE list_contains($1, file)", [gone])
            values = [value for row in reached.items() for value in row]
            places = ", ".join(["(?, ?)"] * len(reached))
            execute(connection, f"INSERT OR REPLACE INTO wf.journals VALUES {places}", values)
        for file in gone:
            del self._offsets(connection)[file]
        self._offsets(connection).update(reached)

    def _quarantine(self, file: Path) -> None:
        """Keep a damaged journal for people to look at; what came before the damage is in the tables."""
        import shutil
        import warnings

        kept = self._journals.parent / "quarantine"
        kept.mkdir(exist_ok=True)
        shutil.copy2(file, kept / file.name)
        warnings.warn(f"the journal {file.name} is damaged; what follows the damage was kept in {kept}", stacklevel=2)

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(target=self._keep_up, name="wfkernel-store", daemon=True)
            self._thread.start()
        self._wake.set()

    def _let_write(self, pause: float) -> None:
        """Return once nothing was journaled for `pause` seconds, and after `BUSY_SECONDS` in any case."""
        end = time.monotonic() + max(BUSY_SECONDS, pause)
        while not self._stop.is_set() and (now := time.monotonic()) < end and now - self._last_journaled < pause:
            self._stop.wait(pause)

    def _keep_up(self) -> None:
        """Fold what was journaled, in batches; close the file when nothing happened for a while."""
        pause = BATCH_SECONDS
        while not self._stop.is_set():
            self._wake.wait(timeout=None if self._connection is None else YIELD_SECONDS)
            self._wake.clear()
            if self._stop.is_set():
                return
            if self._journaled:
                self._let_write(pause)
                self._journaled = False
                try:
                    with self.open(wait=0.0):
                        pause = BATCH_SECONDS
                except StoreLocked:
                    # Somebody else's turn; the journal keeps everything meanwhile.
                    self._journaled = True
                    self._wake.set()
                    pause = min(pause * 2, 1.0)
                except troubles() as error:
                    # Whoever reads next is told too; steps go on, in the journal.
                    _log.warning("what is written stays in the journal: %s", error)
                    self._journaled = True
                    return
            elif time.monotonic() - self._used >= IDLE_SECONDS or self._is_wanted():
                self._close_connection()
            self._empty_log(LOG_BYTES)


class _Fork:
    """Nothing of DuckDB survives a fork: its threads do not, and its locks would be held twice. So the file is closed before."""

    def __init__(self) -> None:
        self._held: list[threading.RLock] = []

    def before(self) -> None:
        self._held = list(_locks.values())
        for lock in self._held:
            lock.acquire()
        for database in tuple(_databases):
            database._close_connection()

    def after(self) -> None:
        while self._held:
            self._held.pop().release()

    def after_in_child(self) -> None:
        for database in tuple(_databases):
            database._wake, database._stop, database._thread = threading.Event(), threading.Event(), None
            database._journaled = False  # what the parent has journaled the parent moves
        self.after()


if hasattr(os, "register_at_fork"):
    _fork = _Fork()
    os.register_at_fork(before=_fork.before, after_in_parent=_fork.after, after_in_child=_fork.after_in_child)


def troubles() -> tuple[type[Exception], ...]:
    """What moving the journal may raise, for an ``except`` clause: asked only then, so DuckDB is not imported for it before."""
    from wfkernel.store.duck import duckdb

    return StoreError, duckdb.Error, OSError


def _tells_of_damage(error: duckdb.Error) -> bool:
    """Whether a query failed because of what stands in the file: DuckDB checks a block when it first reads it."""
    from wfkernel.store.duck import duckdb

    damage = (duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)
    return isinstance(error, damage) or "Corrupt database file" in str(error)


def _explain(error: Exception, path: Path) -> StoreError:
    """DuckDB's message as one line that says what to do."""
    text = str(error)
    if isinstance(error, Timeout) or "Could not set lock" in text or "being used by another process" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder.group(1)}" if holder else "another process"
        return StoreLocked(
            f"the store {path} is kept open by {who}. Close it there (a DuckDB shell, a script with duckdb.connect?) "
            "or set WFKERNEL_STORE to another file; nothing written so far is lost."
        )
    if isinstance(error, OSError):
        return StoreError(f"cannot open the store {path}: {error.strerror or error}")
    if path.is_dir():
        return StoreError(f"the store is a file, and {path} is a folder: name a file in it")
    for reason in ("Permission denied", "Read-only file system"):
        if reason in text:
            return StoreError(f"cannot open the store {path}: {reason}")
    if "version number" in text:
        numbers = re.findall(r"version (?:number )?(\d+)", text)
        detail = f" (file format {numbers[0]}, readable {numbers[1]})" if len(numbers) > 1 else ""
        return StoreTooNew(f"the store {path} was written by a newer DuckDB{detail}. Upgrade: pip install -U duckdb")
    return StoreCorrupt(
        f"the store {path} cannot be read: {text.splitlines()[0]} `wf recover` brings back what can be "
        "read, from a backup too (--from FILE), and keeps the file; or move the file away to start a new store."
    )
