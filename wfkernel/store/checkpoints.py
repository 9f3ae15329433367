"""Checkpoints: named points of a run, with the run's state there.

A checkpoint is a fold of the run's events up to a sequence number, stored with a checksum. Nothing depends on it: events
remain the truth, and a checkpoint that is damaged or of another wfkernel is folded again. It serves two ends. Loading a
long run starts at its newest checkpoint. And people can name a point and go back to it: `restore` makes a *new* run that
holds what the old one had done by then and goes on from there; the old run stays as it was.

When a run's checkpoints are made by themselves is its `wfkernel.engine.checkpointing.CheckpointPolicy`; `AutoCheckpoint`
follows one, beside the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wfkernel.engine import events as ev
from wfkernel.engine.checkpointing import CheckpointPolicy
from wfkernel.engine.events import Event
from wfkernel.engine.snapshot import SnapshotOutdated, restore, snapshot
from wfkernel.engine.state import RunState, fold, name_of
from wfkernel.errors import CheckpointDrift, CheckpointNotFound, RunNotFound, StoreCorrupt, StoreError
from wfkernel.plan.step import code_differs
from wfkernel.store.explain import troubles
from wfkernel.store.projection import insert_events
from wfkernel.store.read import read_events, transaction
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.claims import Claims
    from wfkernel.store.database import Database

__all__ = ["AutoCheckpoint", "Checkpoint", "Checkpoints", "checksum", "load_state"]

_log = logging.getLogger("wfkernel")
_COLUMNS: Final = "checkpoint_id, run_id, seq, label, made_by, created"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point of a run. `created` is in seconds since the epoch; `made_by` is ``manual`` or the policy's words."""

    checkpoint_id: str
    run_id: str
    seq: int
    label: str
    made_by: str
    created: float


class Checkpoints:
    """The checkpoints of a store."""

    def __init__(self, database: Database, claims: Claims) -> None:
        self._database, self._claims = database, claims

    def create(self, run_id: str, label: str = "", *, seq: int | None = None, made_by: str = "manual") -> Checkpoint:
        """Make a checkpoint of a run, running or not: of its last event, or of event `seq`.

        Raises `RunNotFound`, and `StoreError` if the run has no event `seq`.
        """
        with self._database.open(change=True) as connection:
            state = load_state(connection, run_id, seq)
            if state is None:
                raise RunNotFound(f"there is no run '{run_id}' in {self._database.path}. `wf ls` lists the runs.")
            if seq is not None and state.seq != seq:
                raise StoreError(f"run '{run_id}' has no event {seq}; its last one is {state.seq}.")
            made = Checkpoint(secrets.token_hex(4), run_id, state.seq, label, made_by, time.time())
            text = snapshot(state)
            execute(
                connection,
                f"INSERT INTO wf.checkpoints ({_COLUMNS}, state, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [made.checkpoint_id, run_id, state.seq, label, made_by, made.created, text, checksum(text)],
            )
        return made

    def all(self, run_id: str | None = None) -> list[Checkpoint]:
        """The checkpoints of a run, or of all, oldest first."""
        with self._database.open() as connection:
            rows = execute(
                connection,
                f"SELECT {_COLUMNS} FROM wf.checkpoints WHERE $1 IS NULL OR run_id = $1 ORDER BY created, seq",
                [run_id],
            ).fetchall()
        return [Checkpoint(*row) for row in rows]

    def find(self, name: str) -> Checkpoint:
        """The checkpoint of an id (or its unambiguous beginning) or a label; of several with a label the newest.

        Raises `CheckpointNotFound`.
        """
        known = self.all()
        found = [c for c in known if c.label == name][-1:] or [c for c in known if c.checkpoint_id.startswith(name)]
        if len(found) != 1:
            problem = f"is the beginning of {len(found)} checkpoints" if found else "is no checkpoint"
            raise CheckpointNotFound(f"'{name}' {problem} in {self._database.path}. `wf checkpoint ls` lists them.")
        return found[0]

    def state(self, checkpoint: Checkpoint) -> RunState:
        """The state of the run at the checkpoint. Raises `StoreError` if it is damaged and cannot be folded again."""
        with self._database.open() as connection:
            state = load_state(connection, checkpoint.run_id, checkpoint.seq)
        if state is None or state.seq != checkpoint.seq:
            raise StoreError(
                f"checkpoint {checkpoint.checkpoint_id} is damaged and the events before it are gone: `wf fsck` says more"
            )
        return state

    def restore(
        self,
        checkpoint: Checkpoint,
        *,
        code: Mapping[str, str] | None = None,
        drift: bool = False,
        run_id: str | None = None,
    ) -> RunState:
        """Make a new run that goes on from the checkpoint, and return its state.

        It begins now: of the runs of a workflow or a notebook it is the newest. A step that was running then is pending again,
        a suspended one waits for its answer. `code` holds the digests of
        the steps as they are defined now (for a workflow: `wfkernel.engine.drift.code_now`): when a finished step has another one there, or is gone, `CheckpointDrift` is
        raised, unless `drift` allows it. `run_id` names the new run.
        """
        state = self.state(checkpoint)
        if code is not None and not drift:
            changed = [
                f"step '{name_of(path).removesuffix('[]')}' {'is gone' if path not in code else 'has other code'}"
                for path, step in state.steps.items()
                if step.done is not None
                and (known := step.code or step.digest)
                and (path not in code or _is_other_code(code[path], known))
            ]
            if changed:
                raise CheckpointDrift(
                    f"checkpoint {checkpoint.checkpoint_id} was made with another definition: {'; '.join(dict.fromkeys(changed))}. "
                    "Restore it all the same with --allow-drift: then a notebook executes changed steps again, and a workflow does "
                    "as its on_drift says."
                )
        new = run_id or f"{checkpoint.run_id}-{secrets.token_hex(2)}"
        with self._claims.exclusive(), self._database.open(change=True) as connection:
            if execute(connection, "SELECT 1 FROM wf.runs WHERE run_id = ?", [new]).fetchone() is not None:
                raise StoreError(f"there is a run '{new}' already: choose another id for the restored one")
            events = [
                event._replace(run_id=new) for event in read_events(connection, checkpoint.run_id, upto=checkpoint.seq)
            ]
            now = time.time()
            origin = {"owner": "", "restored_from": checkpoint.run_id, "checkpoint": checkpoint.checkpoint_id}
            events.append(Event(new, checkpoint.seq + 1, now, ev.RUN_ATTACH, "", 0, origin))
            if state.ended_at is not None:  # it had ended by then, and so has the copy as soon as it is made
                end = next(event for event in reversed(events) if event.type == ev.RUN_FINISH)
                events.append(end._replace(seq=checkpoint.seq + 2, ts=now))
            with transaction(connection):
                insert_events(connection, events)
        return fold(events)

    def remove(self, checkpoint: Checkpoint) -> None:
        """Delete a checkpoint. The run and its events stay."""
        with self._database.open(change=True) as connection:
            execute(connection, "DELETE FROM wf.checkpoints WHERE checkpoint_id = ?", [checkpoint.checkpoint_id])

    def prune(self, *, keep: int, run_id: str | None = None, manual: bool = True) -> list[Checkpoint]:
        """Delete all but the newest `keep` unlabelled checkpoints of each run; labelled ones stay. Returns the deleted.

        Without `manual` only those that policies made are counted, and deleted.
        """
        with self._database.open(change=True) as connection:
            rows = execute(
                connection,
                f"""DELETE FROM wf.checkpoints WHERE checkpoint_id IN (
                    SELECT checkpoint_id FROM wf.checkpoints WHERE label = '' AND ($1 IS NULL OR run_id = $1)
                    AND ($3 OR made_by <> 'manual')
                    QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY created DESC, seq DESC) > $2)
                RETURNING {_COLUMNS}""",
                [run_id, keep, manual],
            ).fetchall()
        return [Checkpoint(*row) for row in rows]


class AutoCheckpoint:
    """Makes the checkpoints of one run as a policy wants them. It is given every event of the run.

    They are made by a thread of their own: a fold up to a given event is the same whenever it is made, so no step waits.
    One that cannot be made (another program holds the file) is logged; the run does not need it.
    """

    def __init__(self, checkpoints: Checkpoints, run_id: str, policy: CheckpointPolicy) -> None:
        self._checkpoints, self._run_id, self._policy = checkpoints, run_id, policy
        self._finished = 0
        self._last = time.monotonic()
        self._due: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wfkernel-checkpoints", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        if event.type != ev.STEP_RESULT or event.payload.get("status") != "success":
            return
        self._finished += 1
        policy, now = self._policy, time.monotonic()
        if (policy.steps and self._finished % policy.steps == 0) or (
            policy.seconds and now - self._last >= policy.seconds
        ):
            self._last = now
            self._due.put(event.seq)

    def close(self) -> None:
        """Return when all checkpoints that are due are made."""
        self._due.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (seq := self._due.get()) is not None:
            try:
                self._checkpoints.create(self._run_id, seq=seq, made_by=str(self._policy))
                if self._policy.keep is not None:
                    self._checkpoints.prune(keep=self._policy.keep, run_id=self._run_id, manual=False)
            except troubles() as error:  # also: the run was deleted meanwhile
                _log.warning("no checkpoint of run %s at event %d: %s", self._run_id, seq, error)


def checksum(text: str) -> str:
    """What tells that a stored state is as it was written."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _is_other_code(now: str, known: str) -> bool:
    """Whether two digests tell different code. Those of functions begin with the Python that compiled them."""
    return code_differs(now, known) if ":" in now and ":" in known else now != known


def load_state(
    connection: duckdb.DuckDBPyConnection, run_id: str, upto: int | None = None, *, whole: bool = False
) -> RunState | None:
    """The state of a run after its last event, or after event `upto`, from the newest checkpoint that helps.

    `whole`: for somebody who goes on with it. Raises `StoreCorrupt` where an event is missing, since what it told would be
    done again.
    """
    state: RunState | None = None
    found = execute(  # its text is asked for by its key: to sort rows would copy the texts of all of them
        connection,
        "SELECT arg_max(checkpoint_id, seq) FROM wf.checkpoints WHERE run_id = $1"
        f"{' AND seq <= $2' if upto is not None else ''}",
        [run_id, upto],
    ).fetchall()[0][0]
    if found is not None:
        ((text, expected),) = execute(
            connection, "SELECT state, checksum FROM wf.checkpoints WHERE checkpoint_id = $1", [found]
        ).fetchall()
        if checksum(text) == expected:
            with contextlib.suppress(SnapshotOutdated):
                state = restore(text)
    after = state.seq if state is not None else 0
    events = read_events(connection, run_id, after, upto)
    if whole:
        reached = events[-1].seq if events else after
        last = execute(connection, "SELECT last_seq FROM wf.runs WHERE run_id = $1", [run_id]).fetchone()
        if reached - after != len(events) or (last is not None and reached < last[0]):
            raise StoreCorrupt(
                f"events of run '{run_id}' are missing in the store: nobody goes on with it as it is. `wf fsck` says which, "
                f"`wf recover {run_id}` takes it back to the last good one."
            )
    for event in events:
        if state is None:
            state = RunState(run_id)
        state.apply(event)
    return state
