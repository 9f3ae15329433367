"""What the shell offers after Tab: run ids and step names from the store. It never says anything and never fails."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfkernel.errors import StoreError

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["complete_run", "complete_step", "complete_waiting"]


def complete_run(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
    """The newest runs whose id begins so, with workflow and status."""
    with contextlib.suppress(Exception):  # a shell has no place for an error while somebody types
        rows = [row for row in _store(ctx).runs(limit=50) if row["run_id"].startswith(incomplete)]
        latest = [("latest", "the newest run")] if "latest".startswith(incomplete) else []
        return [*latest, *((row["run_id"], f"{row['workflow']}, {row['status']}") for row in rows)]
    return []


def complete_step(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
    """The steps of the run named before."""
    with contextlib.suppress(Exception):
        store = _store(ctx)
        state = store.load(store.find(ctx.params.get("run") or "latest"))
        return [(path, step.status) for path, step in state.steps.items() if path.startswith(incomplete)]
    return []


def complete_waiting(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
    """The suspended steps of the run named before, and the labels they suspended with."""
    with contextlib.suppress(Exception):
        store = _store(ctx)
        waiting = store.load(store.find(ctx.params.get("run") or "latest")).suspended_steps
        asked = [(step, step.suspension) for step in waiting if step.suspension is not None]
        names = [(name, asks.message) for step, asks in asked for name in (step.path, *asks.labels)]
        return [one for one in names if one[0].startswith(incomplete)]
    return []


def _store(ctx: Any) -> Store:
    """The store of the command line; completing makes none."""
    from wfkernel.store.locate import find_store_path
    from wfkernel.store.store import open_store

    path = Path(ctx.params.get("store") or find_store_path())
    if not path.is_file():
        raise StoreError(f"there is no store {path}")
    return open_store(path)
