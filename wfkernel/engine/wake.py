"""Taking up runs that nobody executes: those that sleep without a process (what `wf wake` and the server's timer call),
and those whose process died."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from wfkernel.engine.failures import RunActive, RunNotActive
from wfkernel.engine.memory import RunStore
from wfkernel.engine.result import RunResult

__all__ = ["restart_interrupted", "wake"]


class _Wakeable(Protocol):
    id: str
    options: Any

    def create_run(self, run_id: str | None = None) -> Any: ...


class _Listing(RunStore, Protocol):
    def runs(self, *, limit: int = 50, status: str | None = None) -> list[dict[str, Any]]: ...


async def restart_interrupted(store: _Listing, workflows: Iterable[_Wakeable]) -> list[RunResult]:
    """Take up every run of `workflows` whose process died while it was running. Returns how each went.

    A run that another process takes up at the same moment is left to it.
    """
    by_id = {workflow.id: workflow for workflow in workflows}
    results = []
    for row in store.runs(limit=1_000_000, status="running"):
        workflow = by_id.get(row["workflow"])
        if workflow is None or not row["interrupted"]:
            continue
        try:
            results.append(await workflow.create_run(row["run_id"]).restart())
        except (RunActive, RunNotActive):
            continue
    return results


async def wake(store: _Listing, workflows: Iterable[_Wakeable], *, now: float | None = None) -> list[RunResult]:
    """Take up every waiting run of `workflows` whose time has come and whose process is gone.

    Returns how each went. A run that another process takes up at the same moment is left to it.
    """
    by_id = {workflow.id: workflow for workflow in workflows}
    results = []
    for row in store.runs(limit=1_000_000, status="waiting"):
        workflow = by_id.get(row["workflow"])
        if workflow is None:
            continue
        state = store.load(row["run_id"])
        moment = workflow.options.clock.now() if now is None else now
        if state.wake_at is None or state.wake_at > moment:
            continue
        try:
            results.append(await workflow.create_run(row["run_id"]).restart())
        except (RunActive, RunNotActive):
            continue
    return results
