"""The store: the one object the rest of wfkernel writes events to and reads runs from.

Writing goes to this process's journal and returns when it is safe there; reading goes to DuckDB, which first takes in
everything any process has journaled. A run has one writer at a time: `claim` hands it over, atomically between
processes because DuckDB's file lock is held meanwhile.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import json
import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfkernel.engine.actor import DEEDS, actor, signed
from wfkernel.engine.checkpointing import CheckpointPolicy
from wfkernel.engine.commands import Command, Handler, Reply
from wfkernel.engine.events import Event
from wfkernel.engine.memory import Decide
from wfkernel.engine.state import RunState
from wfkernel.errors import RunNotFound, StoreError
from wfkernel.store.blobs import BlobDir
from wfkernel.store.checkpoints import AutoCheckpoint, Checkpoint, Checkpoints, load_state
from wfkernel.store.claims import Claims
from wfkernel.store.codecs import decode_value, encode_value
from wfkernel.store.database import Database
from wfkernel.store.explain import troubles
from wfkernel.store.folder import check_folder, take_folder
from wfkernel.store.follow import Follower
from wfkernel.store.journal import Journal
from wfkernel.store.locate import find_store_path
from wfkernel.store.owner import Owner, is_alive
from wfkernel.store.queries import asked
from wfkernel.store.read import read_events
from wfkernel.store.references import note_file
from wfkernel.store.sql import execute
from wfkernel.store.views import RUN_COLUMNS
from wfkernel.store.wire import Receiver, send

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from wfkernel.store.context import Context

__all__ = ["Store", "open_store"]

_log = logging.getLogger("wfkernel")


class Store:
    """A store at `path` (a DuckDB file; journals, values and owner locks lie in folders beside it)."""

    def __init__(self, path: Path | str) -> None:
        """Raises `StoreError` where the folder belongs to another store."""
        # The file itself: journals, values and DuckDB's log would lie beside a link to it, where nobody else looks.
        self.path = Path(os.path.realpath(path))
        check_folder(self.path)
        folder = self.path.parent
        self.blobs = BlobDir(folder / "values")
        self.owners = folder / "owners"
        self.journals = folder / "journal"
        self.quarantine = folder / "quarantine"
        """What was damaged and taken out, for people to look at."""
        self.database = Database(self.path, self.journals, self.owners)
        self.claims = Claims(self.owners)
        self.checkpoints = Checkpoints(self.database, self.claims)
        self._lock = threading.Lock()
        self._owner: Owner | None = None
        self._journal: Journal | None = None
        self._receiver: tuple[str, Receiver] | None = None
        # A background thread still inside DuckDB when the interpreter goes away would abort the process.
        atexit.register(_close_if_alive, weakref.ref(self))

    @functools.cached_property
    def context(self) -> Context:
        """The texts that can be searched."""
        from wfkernel.store.context import Context

        return Context(self.database)

    def checkpoint(self, run_id: str, label: str = "") -> Checkpoint:
        """Make a checkpoint of a run where it stands now. See `wfkernel.store.checkpoints`."""
        return self.checkpoints.create(run_id, label)

    def auto_checkpoint(self, run_id: str, policy: CheckpointPolicy) -> AutoCheckpoint:
        """What makes the checkpoints of a run that this process executes, when it is given the run's events."""
        return AutoCheckpoint(self.checkpoints, run_id, policy)

    # -- writing ---------------------------------------------------------------------------------------------------

    @property
    def owner(self) -> str:
        """Identity of this process as a writer of runs."""
        return self._writer()[0].identity

    def _writer(self) -> tuple[Owner, Journal]:
        owner, journal = self._owner, self._journal
        if owner is not None and journal is not None and owner.pid == os.getpid():
            return owner, journal
        with self._lock:
            if self._owner is None or self._journal is None or self._owner.pid != os.getpid():  # first use, or forked
                try:
                    take_folder(self.path)
                    self._owner = Owner(self.owners)
                    self._journal = Journal(self.journals, self._owner.identity)
                except OSError as error:
                    raise self._unwritable(error) from error
            return self._owner, self._journal

    def append(self, events: list[Event], *, durable: bool = True) -> None:
        """Add events of runs this process owns.

        Returns when they are on disk (`durable`) or safe against the death of this process, not of the machine.
        """
        try:
            size = self._writer()[1].append(
                [signed(event) if event.type in DEEDS else event for event in events], durable=durable
            )
        except OSError as error:
            raise self._unwritable(error) from error
        self.claims.wrote(events)
        self.database.notify(size)

    def keep_values(self) -> Callable[[], None]:
        """`wf prune` leaves value files that are written from now on, until what is returned is called."""
        return self._writer()[0].keep_values()

    def sync(self) -> None:
        """Everything this process appended so far is on disk when this returns."""
        try:
            self._writer()[1].sync()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"cannot write to the store {self.path}: {error.strerror or error}")

    def encode(self, value: Any, *, durable: bool) -> dict[str, Any]:
        """A value as a JSON-safe record; what is large lies in a file beside the database."""
        return dict(encode_value(value, self.blobs, durable=durable))

    def referred_from(self, file: Path) -> None:
        """A file elsewhere, as that of a session, names values of this store from now on: `wf prune` leaves them."""
        try:
            note_file(self.blobs, file)
        except OSError as error:
            raise self._unwritable(error) from error

    def decode(self, record: dict[str, Any]) -> Any:
        """The value behind a record. Raises `ValueUnreadable` or `ValueNotTrusted`."""
        return decode_value(record, self.blobs)

    def is_alive(self, owner: str) -> bool:
        """Whether the process that writes a run is still there."""
        if self._owner is not None and owner == self._owner.identity:
            return True
        return is_alive(self.owners, owner)

    def claim(self, run_id: str, decide: Decide, *, new: bool = False, known: RunState | None = None) -> RunState:
        """Take a run over, or change it, as one atomic act between all processes.

        `decide` gets the run's present state and returns the (type, path, payload) of the events to add, or raises to
        leave everything as it is; with `new` there need not be such a run yet. `known` is the caller's fold of the run,
        which saves reading it if it is current. Returns the state after the events.
        """
        owner = self.owner
        with self.claims.exclusive():
            if known is not None and self.is_current(known):
                state = known
            elif new:
                state = self._stored(run_id, whole=True) or RunState(run_id)
            else:
                state = self.load(run_id, whole=True)
            added = _decided(state, decide, owner)
            self.claims.note(owner, run_id)  # first: should this process die here, others only ask once more
            if added:
                self.append(added)
            for event in added:
                state.apply(event)
            self.claims.has(run_id, state.seq)
        return state

    def is_current(self, state: RunState) -> bool:
        """Whether `state`, folded by this process as it wrote the run, is still the run's: nobody changed it since."""
        return self.claims.is_current(state.run_id, state.seq)

    # -- runs that other processes execute --------------------------------------------------------------------------

    def listen(self, run_id: str, handle: Handler) -> Callable[[], None]:
        """This process executes the run from now on: `handle` gets the commands for it. Returns what ends that."""
        owner, _ = self._writer()
        with self._lock:
            if self._receiver is None or self._receiver[0] != owner.identity:  # first use, or forked
                self._receiver = owner.identity, Receiver(self.owners, owner.identity)
            return self._receiver[1].listen(run_id, handle)

    def send(self, run_id: str, command: Command, *, timeout: float = 10.0) -> Reply:
        """Have the process that executes a run (engine, script or notebook's kernel) act on a command.

        ``store.send(run_id, {"op": "suspend", "by": "wf suspend"})``: see `wfkernel.engine.commands` for what there is.
        `run_id` is the full id (`find`). Takes about a millisecond and reads neither database nor journal. The reply
        comes when the command was accepted: a step that is executing may still have to end.

        Returns the reply: ``{"ok": True, ...}``, or ``{"ok": False, "problems": [[field, text], ...]}`` where it was
        refused. Raises `RunNotActive` when no process executes the run, and `StoreError` when the one that does is stuck.
        """
        return send(self.owners, run_id, {**actor(), **command}, timeout)

    def follow(
        self, run_id: str, after: int, take: Callable[[list[Event]], None], idle: Callable[[], None] = lambda: None
    ) -> Callable[[], None]:
        """Call `take` with the run's events above `after`, as any process writes them. Returns what ends that.

        What is there already comes first; `idle` is called now and then while there is nothing. Both are called in a
        thread of their own; events are as they are stored (`wfkernel.store.follow`).
        """
        return Follower(self, run_id, after, take, idle).stop

    # -- reading ---------------------------------------------------------------------------------------------------

    def find(self, run: str) -> str:
        """The full id of a run given by its id, an unambiguous beginning of it, or ``latest``."""
        with self.database.open() as connection:
            if run == "latest":
                rows = connection.execute("SELECT run_id FROM wf.runs ORDER BY started DESC LIMIT 1").fetchall()
            else:
                rows = execute(
                    connection,
                    "SELECT run_id FROM wf.runs WHERE starts_with(run_id, $1) ORDER BY run_id = $1 DESC, run_id",
                    [run],
                ).fetchall()
        if not rows:
            raise RunNotFound(f"there is no run '{run}' in {self.path}. `wf ls` lists the runs.")
        if len(rows) > 1 and rows[0][0] != run:
            raise RunNotFound(f"'{run}' is the beginning of {len(rows)} runs: {', '.join(r[0] for r in rows[:5])}")
        return str(rows[0][0])

    def events(self, run_id: str, after: int = 0) -> list[Event]:
        """The run's events with a sequence number above `after`, in order."""
        with self.database.open() as connection:
            return read_events(connection, run_id, after)

    def load(self, run_id: str, *, whole: bool = False) -> RunState:
        """The state of a run. Raises `RunNotFound`, and if it has to be `whole` `StoreCorrupt` where events are missing."""
        state = self._stored(run_id, whole=whole)
        if state is None:
            raise RunNotFound(f"there is no run '{run_id}' in {self.path}. `wf ls` lists the runs.")
        return state

    def _stored(self, run_id: str, *, whole: bool = False) -> RunState | None:
        state: RunState | None = None
        journaled = self.database.all_journaled(run_id)
        if journaled is None:
            with self.database.open(fold=False) as connection:
                journaled = self.database.journaled(connection, run_id)  # first: it may move them to the tables
                state = load_state(connection, run_id, whole=whole)
        for event in journaled:
            if state is None:
                state = RunState(run_id)
            state.apply(event)
        return state

    def exists(self, run_id: str) -> bool:
        """Whether there is a run of exactly this id."""
        with self.database.open() as connection:
            return execute(connection, "SELECT 1 FROM wf.runs WHERE run_id = ?", [run_id]).fetchone() is not None

    def latest_run(self, notebook: str, mode: str) -> str | None:
        """Id of the newest run of a notebook in a mode, if there is one."""
        with self.database.open() as connection:
            row = execute(
                connection,
                "SELECT run_id FROM wf.runs WHERE notebook = ? AND mode = ? ORDER BY started DESC LIMIT 1",
                [notebook, mode],
            ).fetchone()
        return row[0] if row else None

    def runs_into(self, outputs: list[str]) -> dict[str, str]:
        """output notebook -> id of the newest run that writes it."""
        with self.database.open() as connection:
            rows = execute(
                connection,
                "SELECT output, arg_max(run_id, started) FROM wf.runs WHERE list_contains($1, output) GROUP BY output",
                [outputs],
            ).fetchall()
        return dict(rows)

    def runs(self, *, limit: int = 50, status: str | None = None) -> list[dict[str, Any]]:
        """The newest runs as rows of the view `runs`; a run whose process died while running is `interrupted`."""
        wanted = "" if status is None else "WHERE status = $2"
        sql = f"SELECT {RUN_COLUMNS}, owner FROM wf.runs {wanted} ORDER BY started DESC LIMIT $1"
        with self.database.open() as connection:
            cursor = execute(connection, sql, [limit, status])
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        alive = functools.cache(self.is_alive)
        for row in rows:
            owner = row.pop("owner") or ""
            row["interrupted"] = row["status"] == "running" and not alive(owner)
        return rows

    def query(self, sql: str, names: Mapping[str, Any] | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a SQL query over the views (`wfkernel.store.views`). Raises `StoreError`, also where it writes.

        `names` holds the values of ``$NAME`` in the query, and frames it may read as tables.
        """
        with self._queried(sql, names) as cursor:
            return [column[0] for column in cursor.description or ()], cursor.fetchall()

    def records(self, sql: str, names: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of `query` as dictionaries, with what stands in a column of JSON as what it says."""
        with self._queried(sql, names) as cursor:
            columns = [(column[0], str(column[1]) == "JSON") for column in cursor.description or ()]
            return [
                {
                    name: json.loads(value) if is_json and value is not None else value
                    for (name, is_json), value in pairs
                }
                for pairs in (zip(columns, row, strict=True) for row in cursor.fetchall())
            ]

    def frame(self, sql: str, names: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The result of a SQL query over the views as a pandas frame; for `names` see `query`."""
        if importlib.util.find_spec("pandas") is None:
            raise StoreError("a frame needs pandas: pip install pandas")
        with self._queried(sql, names) as cursor:
            return cursor.df()

    @contextlib.contextmanager
    def _queried(self, sql: str, names: Mapping[str, Any] | None) -> Iterator[duckdb.DuckDBPyConnection]:
        if re.search(r"\bcontext\b", sql, re.I):  # its texts are made when they are asked for
            self.context.gather()
        with self.database.open() as connection, asked(connection, sql, names) as cursor:
            yield cursor

    def close(self) -> None:
        """Move what is journaled to DuckDB and let go of everything."""
        with self._lock:
            if self._receiver is not None and self._owner is not None and self._receiver[0] == self._owner.identity:
                self._receiver[1].close()
            self._receiver = None
            if self._journal is not None:
                self._journal.close()
            if self._owner is not None:
                self._owner.release()  # before the journal is folded for good: the file of an owner that left is removed
            self._owner = self._journal = None
        self.database.close()


def _decided(state: RunState, decide: Decide, owner: str) -> list[Event]:
    now = time.time()
    return [
        signed(
            Event(
                state.run_id, state.seq + n, now, type_, path, 0, {**payload, "owner": owner} if not path else payload
            )
        )
        for n, (type_, path, payload) in enumerate(decide(state), 1)
    ]


def _close_if_alive(store: weakref.ref[Store]) -> None:
    opened = store()
    if opened is not None:
        told = str(opened.database.trouble)
        try:
            opened.close()
        except troubles() as error:
            if str(error) != told:
                _log.warning("what was written stays in the journal: %s", error)


_stores: dict[Path, Store] = {}


def open_store(path: Path | str | None = None, *, near: Path | str | None = None) -> Store:
    """The process-wide `Store` for `path`, or the one `find_store_path(near)` finds."""
    named = Path(path).absolute() if path is not None else find_store_path(near)
    store = _stores.get(named)
    if store is None:
        real = Path(os.path.realpath(named))
        store = _stores[named] = _stores.get(real) or Store(real)
        _stores[real] = store
    return store
