"""Running a workflow in a test: no store on disk, no waiting, answers given beforehand."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wfkernel.testing.clock import FakeClock
from wfkernel.testing.memory import MemoryLog

if TYPE_CHECKING:
    from wfkernel.engine.events import Event
    from wfkernel.engine.result import RunResult
    from wfkernel.engine.run import Run

__all__ = ["Trial", "run_workflow", "try_workflow"]


@dataclass(frozen=True)
class Trial:
    """What came of a run, and how."""

    result: RunResult
    run: Run
    log: MemoryLog
    clock: FakeClock

    @property
    def events(self) -> list[Event]:
        """All events of the run."""
        return self.log.events(self.run.run_id)


async def try_workflow(
    workflow: Any,
    input: Any = None,
    *,
    answers: Mapping[str, Any] | None = None,
    state: Any = None,
    log: MemoryLog | None = None,
    clock: FakeClock | None = None,
) -> Trial:
    """Run a workflow to its end, or to a question nobody has an answer for.

    Args:
        workflow: a committed `Workflow` or a durable function.
        input, state: as for `Run.start`.
        answers: for suspended steps, by path: one answer, or a list of answers for one question after the other.
        log, clock: to look at beforehand or to share between runs; new ones by default. Sleeps, delays and retries take
            the time of the clock, which moves on by itself.
    """
    log, clock = log or MemoryLog(), clock or FakeClock()
    left = {path: list(given) if isinstance(given, list) else [given] for path, given in (answers or {}).items()}
    tried = copy.copy(workflow)
    tried.options = replace(workflow.options, store=log, codec=None, clock=clock)
    run = tried.create_run()
    result = await clock.drive(run.start(input, state=state))
    while result.status == "suspended":
        path = next((p for p in map(".".join, result.suspended) if left.get(p)), None)
        if path is None:
            break
        result = await clock.drive(run.resume(left[path].pop(0), step=path))
    return Trial(result, run, log, clock)


def run_workflow(workflow: Any, input: Any = None, **options: Any) -> Trial:
    """`try_workflow` for a test that is not a coroutine."""
    return asyncio.run(try_workflow(workflow, input, **options))
