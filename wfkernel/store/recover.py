"""``wf recover``: take a damaged run back to its last good event, and lose nothing silently.

Everything behind that event is written to a file in the store's folder ``quarantine`` before it is deleted. What the run
then shows is made anew from the events that are left; a run that was not finished at that point counts as interrupted,
and `wf resume` goes on with it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wfkernel.engine.state import RunState
from wfkernel.errors import RunNotFound, StoreError
from wfkernel.store.checkpoints import load_state
from wfkernel.store.context import gather_anew
from wfkernel.store.disk import sync_folder
from wfkernel.store.fsck import first_bad_events
from wfkernel.store.projection import rebuild
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["Recovered", "recover"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` did. `kept_in` holds the events and checkpoints that were taken out, one JSON document a line."""

    run_id: str
    seq: int
    """The last event the run has now."""
    removed: int
    kept_in: Path | None
    state: RunState | None
    """None when no event is left."""


def recover(store: Store, run_id: str, to: int | None = None) -> Recovered:
    """Take a run back to event `to` (default: the one before the first bad event).

    Raises `RunNotFound`, and `StoreError` while its process lives or when `to` is behind the first bad event.
    """
    with store.claims.exclusive(), store.database.open(change=True) as connection:
        row = execute(connection, "SELECT owner, last_seq FROM wf.runs WHERE run_id = ?", [run_id]).fetchone()
        if row is None:
            raise RunNotFound(f"there is no run '{run_id}' in {store.path}. `wf ls` lists the runs.")
        if row[0] and store.is_alive(row[0]):
            raise StoreError(f"run '{run_id}' is being written by {row[0]}: stop it first")
        bad = first_bad_events(connection, run_id)
        good = bad[0].seq - 1 if bad and bad[0].seq is not None else int(row[1])
        target = good if to is None else to
        if not 0 <= target <= good:
            raise StoreError(f"run '{run_id}' is good up to event {good}: recover to that one or an earlier one")
        cursor = execute(
            connection, "SELECT * FROM wf.events WHERE run_id = ? AND seq > ? ORDER BY seq", [run_id, target]
        )
        names = [column[0] for column in cursor.description or ()]
        taken = [dict(zip(names, event, strict=True)) for event in cursor.fetchall()]
        removed = len(taken)
        cursor = execute(connection, "SELECT * FROM wf.checkpoints WHERE run_id = ? AND seq > ?", [run_id, target])
        names = [column[0] for column in cursor.description or ()]
        taken += [dict(zip(names, checkpoint, strict=True)) for checkpoint in cursor.fetchall()]
        kept_in = _keep(store.quarantine, run_id, taken) if taken else None
        with transaction(connection):
            for table in ("events", "checkpoints"):
                execute(connection, f"DELETE FROM wf.{table} WHERE run_id = ? AND seq > ?", [run_id, target])
            rebuild(connection, [run_id])
            gather_anew(connection, run_id)
        store.claims.note(store.owner, run_id)
        state = load_state(connection, run_id)
    return Recovered(run_id, target, removed, kept_in, state)


def _keep(folder: Path, run_id: str, documents: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{''.join(c if c.isalnum() or c in '-_' else '_' for c in run_id)}-{time.time_ns()}.jsonl"
    with file.open("x", encoding="utf-8") as handle:
        for document in documents:
            handle.write(json.dumps(document, ensure_ascii=False) + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    sync_folder(folder)
    return file
