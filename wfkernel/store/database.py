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
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfkernel.errors import StoreError, StoreLocked
from wfkernel.store import schema
from wfkernel.store.disk import sync_folder
from wfkernel.store.explain import explain, locked, tells_of_damage, tells_of_full_disk, troubles
from wfkernel.store.folder import take_folder
from wfkernel.store.folding import FOLD_BYTES, Journals
from wfkernel.store.journal import removed
from wfkernel.store.locks import Held, ProcessLock
from wfkernel.store.migrations import Migrated
from wfkernel.store.read_copy import ReadCopy, may_only_be_read
from wfkernel.store.undo import Undo

if TYPE_CHECKING:
    import duckdb

    from wfkernel.engine.events import Event
    from wfkernel.store.holder import Watch

__all__ = ["Database"]

LOCK_WAIT: Final = 30.0
"""Seconds to wait for another process to close the file before saying who holds it."""
IDLE_SECONDS: Final = 0.5
YIELD_SECONDS: Final = 0.05
"""How soon an open file that nobody uses here is closed when another process waits for it."""
STALE_MARK_SECONDS: Final = 2.0
QUIET_SECONDS: Final = 0.25
"""The background folds when nothing was journaled for so long: it takes the processor about as long as the steps did,
and readers fold what they need."""
BUSY_SECONDS: Final = 5.0
"""Or after so long, though steps go on ending, or when `FOLD_BYTES` were journaled."""
LOG_BYTES: Final = 16 << 20
"""How long DuckDB's write-ahead log may grow while the file is open; it is moved into the file when that is closed."""
BLOCK_BYTES: Final = 64 << 10
"""What a new file is divided into, a quarter of DuckDB's own: 70 bytes a step instead of 84 (`store_steps.py`)."""
SMALL_BYTES: Final = 64 << 20
"""In a file shorter than this DuckDB works with one thread: to share the work out takes longer than to do it."""

_log = logging.getLogger("wfkernel")
_turns: dict[tuple[int, Path], ProcessLock] = {}
_undos: dict[tuple[int, Path], Undo] = {}
_locks: dict[Path, threading.RLock] = {}
_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The DuckDB file at `path` with the journals beside it. Safe to use from several threads."""

    def __init__(self, path: Path, journals: Path, owners: Path) -> None:
        self.path = path
        self._copy = ReadCopy(path, journals) if may_only_be_read(path) else None
        self._file = path if self._copy is None else self._copy.file
        """Where the work is done."""
        if self._copy is not None:
            journals, owners = self._copy.journals, self._copy.folder / owners.name
        self._journals = Journals(journals, owners)
        self._waiting = self._file.parent / "waiting"
        self._lock = _locks.setdefault(
            path, threading.RLock()
        )  # stores of one process with one path share the open file
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._known = False
        """Whether the store was used through this object."""
        self._used = 0.0
        self._wake = threading.Event()
        self._journaled = 0
        """Bytes that this process has journaled and not yet moved, as far as its background thread has to know."""
        self._last_journaled = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble: StoreError | None = None
        """The last of a full disk or a damaged file that somebody was told."""
        self.migrated: Migrated | None = None
        """What was done to the tables' version since this object has the file."""
        _databases.add(self)

    @contextlib.contextmanager
    def open(
        self, *, wait: float = LOCK_WAIT, fold: bool = True, change: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection, with everything journaled so far in its tables (unless `fold` is false, see `journaled`).

        With `change` something is written that is meant to last, which a store that may only be read refuses.
        Raises `StoreLocked`, `StoreCorrupt` or `StoreTooNew`, each naming the file and what to do.
        """
        if change:
            self._check_writable()
        with self._lock:
            try:
                with self._explained():
                    yield self._opened(wait, fold)
            finally:
                self._used = time.monotonic()
                if self._is_wanted():
                    self._close_connection()
                else:
                    self._start_thread()  # which closes the file once it is idle

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What DuckDB says of a full disk or a damaged file as a `StoreError`."""
        from wfkernel.store.duck import duckdb

        try:
            yield
        except duckdb.Error as error:
            if not tells_of_full_disk(error):
                if not tells_of_damage(error):
                    raise
                self._close_connection()  # DuckDB may have given it up
            self.trouble = explain(error, self.path)
            raise self.trouble from None

    def _check_writable(self) -> None:
        if self._copy is not None:
            raise StoreError(
                f"the store {self.path} can only be read: it or its folder is write-protected. `wf db backup FOLDER` makes a "
                "copy that can be changed."
            )

    def notify(self, size: int) -> None:
        """So many bytes were journaled: move them to the tables soon, in the background."""
        self._last_journaled = time.monotonic()
        self._journaled += size
        if self._journaled == size:
            self._start_thread()

    def close(self, *, wait: float = LOCK_WAIT) -> None:
        """Move what is journaled to the tables and close the file. If another process holds it, the journal stays."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None
        with self._lock:
            anything = self._connection is not None or self._journals.files()
            if anything and self._copy is None:  # a copy has nothing to move to where it would stay
                # Nothing is lost if it is locked: whoever opens the store next reads this journal.
                with contextlib.suppress(StoreLocked), self._explained():
                    self._opened(wait)
            self._close_connection()

    def journaled(self, connection: duckdb.DuckDBPyConnection, run_id: str) -> list[Event]:
        """The events of a run that are not in the tables yet, in order; for who has opened the file without folding.

        Moving a few events takes as long as moving a thousand, about 50 ms, and nobody has to wait for that who only
        wants to know one run. Where there is much in the journals, it is moved after all.
        """
        events = self._journals.not_folded(connection, run_id)
        if events is None:
            self._fold(connection)
        return events or []

    def all_journaled(self, run_id: str) -> list[Event] | None:
        """All events of a run, in order, in a store that has no DuckDB file yet; None where there is one, or much to read.

        So the first runs of a store begin without waiting for DuckDB to be loaded and to make its file.
        """
        if not self._was_opened():
            with contextlib.suppress(FileNotFoundError):  # moved to the tables just now
                events = self._journals.all(run_id)
                if not self._was_opened():  # else what was not read any more may be in the tables
                    return events
        return None

    def _was_opened(self) -> bool:
        """Whether anybody ever opened the DuckDB file: the file of the turn is made before it, and stays."""
        return self.path.exists() or self.path.with_name(f"{self.path.name}.lock").exists()

    def replace(self, kept_in: Path, by: Path | None) -> None:
        """Move the file to `kept_in` and put a copy of `by`, or none, in its place. Raises `StoreLocked`.

        May be killed anywhere and done again: the file is in `kept_in` once all is that belongs to it, and only then goes.
        """
        import filecmp
        import shutil

        self._check_writable()
        with self._lock:
            self._close_connection()
            new = self.path.with_name(f"{self.path.name}.new")
            if by is not None:
                shutil.copyfile(by, new)
            kept_in.parent.mkdir(parents=True, exist_ok=True)
            turn = self._turn()
            try:
                turn.acquire(wait=LOCK_WAIT)
            except Held as error:
                raise explain(error, self.path) from None
            try:
                if kept_in.exists() and not (self.path.exists() and filecmp.cmp(self.path, kept_in, shallow=False)):
                    return
                beside = [(self.path.with_name(self.path.name + end), end) for end in (".wal", ".undo")]
                for file, end in (*beside, (self.path, "")):
                    kept = kept_in.with_name(kept_in.name + end)
                    if file.exists() and not kept.exists():
                        try:
                            os.link(file, kept)
                        except OSError:  # not on every file system
                            shutil.copyfile(file, unfinished := kept.with_name(f"{kept.name}.tmp"))
                            unfinished.replace(kept)
                sync_folder(kept_in.parent)
                for file, _ in beside:
                    file.unlink(missing_ok=True)
                if by is not None:
                    new.replace(self.path)
                else:
                    self.path.unlink()
            finally:
                turn.release()

    def _opened(self, wait: float, fold: bool = True) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = self._connect(wait)
        if fold:
            self._fold(self._connection)
        return self._connection

    def _fold(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._journals.fold(connection, lambda: self.log_bytes)

    def checkpoint(self) -> None:
        """Have DuckDB move its log into the file, which `open` has open."""
        assert self._connection is not None
        self._undo.checkpoint(self._connection)
        self._journals.remove_moved()

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
                self._connection = None
                self._journals.forget()
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
        watch: Watch | None = None
        mark: Path | None = None
        try:
            while True:
                try:
                    connection = self._connected()
                    break
                except (duckdb.Error, Held, UnicodeDecodeError, OSError) as error:
                    problem = explain(error, self.path)
                    if not isinstance(problem, StoreLocked) or not wait:
                        raise problem from None
                    from wfkernel.store.holder import Watch, holder_of

                    if time.monotonic() >= deadline:
                        holder = holder_of(self._file)
                        raise (locked(self.path, holder) if holder is not None else problem) from None
                    watch = watch or Watch(self._file)
                    if (stopped := watch.stopped()) is not None:  # it would not hear of anybody who waits
                        raise locked(self.path, stopped) from None
                if mark is None:
                    self._waiting.mkdir(parents=True, exist_ok=True)
                    mark = self._waiting / f"{os.getpid()}-{threading.get_ident()}"
                mark.touch()
                time.sleep(random.uniform(0.002, 0.02))
        finally:
            if mark is not None:
                mark.unlink(missing_ok=True)
        try:
            self.migrated = schema.prepare(connection, self.path, self._file) or self.migrated
        except BaseException as error:
            connection.close()
            self._undo.release()
            self._turn().release()
            raise explain(error, self.path) if isinstance(error, duckdb.Error) else error from None
        return connection

    def _turn(self) -> ProcessLock:
        """Held as long as the file is open. All stores of this process that have the same path share it."""
        key = os.getpid(), self._file  # a process that was forked has to wait for its parent
        if key not in _turns:
            _turns[key] = ProcessLock(self._file.with_name(f"{self._file.name}.lock"))
        return _turns[key]

    @property
    def _undo(self) -> Undo:
        """Shared like the turn."""
        key = os.getpid(), self._file
        if key not in _undos:
            _undos[key] = Undo(self._file)
        return _undos[key]

    def _connected(self) -> duckdb.DuckDBPyConnection:
        """The file, opened if it is nobody else's turn; raises at once what speaks against it."""
        from wfkernel.store.duck import duckdb

        if self._copy is not None:
            self._copy.refresh()
        elif self._known and not self.path.parent.exists():  # a new one would be in the way of who puts it back
            raise removed(self.path.parent)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        turn = self._turn()
        turn.acquire()
        try:
            if self._undo.mend():
                _log.info("%s: an interrupted checkpoint of DuckDB was undone", self.path)
            if not self._file.exists():
                # By itself: who opens the file meanwhile in this process, with settings of their own, would be refused.
                duckdb.connect(str(self._file), config={"default_block_size": str(BLOCK_BYTES)}).close()
            connection = duckdb.connect(str(self._file))
            try:
                if self._copy is None:
                    with contextlib.suppress(OSError):  # a full disk: next time
                        take_folder(self.path)
                self._undo.hold(connection)
            except BaseException:
                connection.close()
                raise
            if self._file.stat().st_size < SMALL_BYTES:
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
        now = time.time()
        wanted = False
        for mark in marks:
            with contextlib.suppress(FileNotFoundError):  # it got its turn meanwhile
                if abs(now - mark.stat().st_mtime) <= STALE_MARK_SECONDS:  # the clock may have been set back
                    wanted = True
                else:  # left by a process that was killed while it waited
                    os.unlink(mark.path)
        return wanted

    def _start_thread(self) -> None:
        self._known = True
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(target=self._keep_up, name="wfkernel-store", daemon=True)
            self._thread.start()
        self._wake.set()

    def _let_write(self, pause: float) -> None:
        """Return once nothing was journaled for `pause` seconds; after `BUSY_SECONDS` or `FOLD_BYTES` in any case."""
        end = time.monotonic() + max(BUSY_SECONDS, pause)
        while (now := time.monotonic()) < end and now - self._last_journaled < pause and self._journaled < FOLD_BYTES:
            if self._stop.wait(pause if self._connection is None else YIELD_SECONDS):
                return
            self._let_go()

    def _let_go(self) -> None:
        """Close the file if nothing happened for a while, or somebody waits for it."""
        if self._connection is not None and (time.monotonic() - self._used >= IDLE_SECONDS or self._is_wanted()):
            self._close_connection()

    def _keep_up(self) -> None:
        """Fold what was journaled, in batches; close the file when nothing happened for a while."""
        pause = QUIET_SECONDS
        while not self._stop.is_set():
            self._wake.wait(timeout=None if self._connection is None else YIELD_SECONDS)
            self._wake.clear()
            if self._stop.is_set():
                return
            if self._journaled:
                self._let_write(pause)
                self._journaled = 0
                try:
                    with self.open(wait=0.0):
                        pause = QUIET_SECONDS
                except StoreLocked:
                    # Somebody else's turn; the journal keeps everything meanwhile.
                    self._journaled = 1
                    self._wake.set()
                    pause = min(pause * 2, 1.0)
                except troubles() as error:
                    # Whoever reads next is told too; steps go on, in the journal.
                    _log.warning("what is written stays in the journal: %s", error)
                    self._journaled = 1
                    return
            else:
                self._let_go()
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
            database._journaled = 0  # what the parent has journaled the parent moves
        self.after()


if hasattr(os, "register_at_fork"):
    _fork = _Fork()
    os.register_at_fork(before=_fork.before, after_in_parent=_fork.after, after_in_child=_fork.after_in_child)
