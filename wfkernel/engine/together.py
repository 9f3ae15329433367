"""Several things at once: all of them end, then the most serious outcome counts.

From the most serious: canceled, failed, bailed, suspended, sleeping, paused, success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from wfkernel.engine.core import Core
from wfkernel.engine.failures import Bailed, Canceled, Halt, Parked, Paused, StepFailed, Suspended

__all__ = ["SEVERITY", "all_of", "raise_most_serious", "side_by_side"]

SEVERITY: Final[tuple[type[BaseException], ...]] = (Canceled, StepFailed, Bailed, Suspended, Parked, Paused)


async def _outcome_of(work: Awaitable[Any]) -> tuple[Halt | None, Any]:
    try:
        return None, await work
    except Halt as halt:
        return halt, None


async def all_of(core: Core, work: Sequence[Coroutine[Any, Any, Any]], *, fail_fast: bool = False) -> list[Any]:
    """The results of all of `work`, run at the same time; raises the most serious `Halt` once all have ended."""
    outcomes = await side_by_side(core, [_outcome_of(one) for one in work], _until_one_fails if fail_fast else None)
    raise_most_serious([halt for halt, _ in outcomes if halt is not None])
    return [value for _, value in outcomes]


async def side_by_side(
    core: Core,
    work: Sequence[Coroutine[Any, Any, Any]],
    first: Callable[[list[asyncio.Task[Any]]], Awaitable[None]] | None = None,
) -> list[Any]:
    """The results of all of `work`, run at the same time, none of which raises a `Halt`; `first` may wait for the tasks in its way.

    When one raises, or this is canceled, all are canceled.
    """
    if core.per_step:  # one step is to be executed: in order, the first that is not done
        return [await one for one in work]
    begin = asyncio.get_running_loop().create_task
    tasks = [begin(one) for one in work]
    try:
        with core.recorder.side_by_side(len(work) - 1):
            if first is not None:
                await first(tasks)
            return [await task for task in tasks]
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _until_one_fails(tasks: list[asyncio.Task[tuple[Halt | None, Any]]]) -> None:
    """Wait for all tasks. Raises the first `StepFailed` as soon as it is there."""
    for task in asyncio.as_completed(tasks):
        halt, _ = await task
        if isinstance(halt, StepFailed):
            raise halt


def raise_most_serious(halts: list[Halt]) -> None:
    """Raise what counts of `halts`; suspensions and sleeps of the same kind as one."""
    if not halts:
        return
    for kind in SEVERITY:
        same = [halt for halt in halts if isinstance(halt, kind)]
        if not same:
            continue
        if kind is Suspended:
            raise Suspended([path for halt in same for path in halt.paths])  # type: ignore[attr-defined]
        if kind is Parked:
            raise Parked(min(halt.wake_at for halt in same))  # type: ignore[attr-defined]
        raise same[0]
