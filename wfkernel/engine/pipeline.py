"""Streaming steps: an async generator whose items flow into the next step as they come.

A generator step followed by a step whose parameter is an `AsyncIterator` makes a pipeline; the follower may be a generator
itself. Between two of them is a channel of `CHANNEL` items: a slow consumer slows its producer down. The items are not
stored. A pipeline is done when its last step is; interrupted before that, it runs again from its beginning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import UNKNOWN, execute, known_result
from wfkernel.engine.failures import Halt, StepFailed
from wfkernel.engine.hooks import Skip
from wfkernel.plan import nodes

if TYPE_CHECKING:
    from wfkernel.engine.core import Core, Frame
    from wfkernel.engine.scope import StateScope

__all__ = ["CHANNEL", "is_pipeline", "run_pipeline"]

CHANNEL: Final = 64
METRICS_SECONDS: Final = 1.0
_END: Final = object()


class _Broken:
    """The producer ended badly: the consumer must not take what came so far for everything."""


class Channel:
    """Items on their way from one step to the next."""

    def __init__(self, core: Core, path: str) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(CHANNEL)
        self._core, self._path = core, path
        self.count = 0
        self._began = self._told = time.monotonic()
        self.abandoned = False

    async def put(self, item: Any) -> None:
        verdict, item = await self._core.fire("stream.item", self._path, item, iteration=self.count + 1)
        if isinstance(verdict, Skip):
            return
        self.count += 1
        if not self.abandoned:
            await self._queue.put(item)
        if time.monotonic() - self._told >= METRICS_SECONDS:
            self.tell()

    def tell(self) -> None:
        """A metrics event."""
        self._told = time.monotonic()
        elapsed = max(self._told - self._began, 1e-9)
        body = {"items": self.count, "rate": round(self.count / elapsed, 3), "buffered": self._queue.qsize()}
        self._core.recorder.emit(ev.STREAM_METRICS, body, self._path)

    async def end(self, marker: Any) -> None:
        if not self.abandoned:
            await self._queue.put(marker)

    def abandon(self) -> None:
        """The consumer takes no more: the producer need not wait for it."""
        self.abandoned = True
        while not self._queue.empty():
            self._queue.get_nowait()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (item := await self._queue.get()) is not _END:
            if item is _Broken:
                raise asyncio.CancelledError("the step before ended badly")
            yield item


def is_pipeline(entries: Sequence[Any], position: int) -> bool:
    """Whether a pipeline of at least two steps begins at `position`."""
    node = entries[position]
    if not node.spec.is_generator or position + 1 >= len(entries):
        return False
    follower = entries[position + 1]
    return isinstance(follower, nodes.Step) and follower.spec.takes_stream


async def run_pipeline(
    core: Core, frame: Frame, entries: Sequence[Any], position: int, value: Any, scope: StateScope
) -> tuple[Any, int]:
    """Run the pipeline at `position`. Returns its output and the position behind it."""
    stages = [entries[position]]
    while len(stages) + position < len(entries) and stages[-1].spec.is_generator:
        follower = entries[position + len(stages)]
        if not (isinstance(follower, nodes.Step) and follower.spec.takes_stream):
            break
        stages.append(follower)
    paths = [f"{frame.prefix}{stage.key}" for stage in stages]
    known = known_result(core, paths[-1], 0, scope)
    if known is not UNKNOWN:
        return known, position + len(stages)
    tasks: list[asyncio.Task[Any]] = []
    given = value
    before: Channel | None = None
    for number, (stage, path) in enumerate(zip(stages, paths, strict=True)):
        spec = core.spec(path, stage.spec)
        after = Channel(core, path) if number < len(stages) - 1 else None
        if after is not None:
            spec = replace(
                spec, function=_pumping(spec.function, after), is_async=True, is_generator=False, worker="inline"
            )
        tasks.append(asyncio.ensure_future(_stage(core, spec, path, given, scope, frame, before, after)))
        given, before = after, after
    try:
        outcomes = [await task for task in tasks]
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    for halt, _ in outcomes:  # the first in the order of the steps is the cause of the others
        if halt is not None:
            raise halt
    return outcomes[-1][1], position + len(stages)


async def _stage(
    core: Core,
    spec: Any,
    path: str,
    given: Any,
    scope: StateScope,
    frame: Frame,
    before: Channel | None,
    after: Channel | None,
) -> tuple[Halt | None, Any]:
    halt: Halt | None = None
    output = None
    try:
        output = await execute(core, spec, path, given.__aiter__() if before is not None else given, scope, frame)
    except Halt as error:
        halt = error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        cut = {"type": "StreamBroken", "message": "the step before this one ended before its stream did"}
        core.recorder.emit(ev.STEP_RESULT, {"status": "failed", "error": cut}, path, 1)
        halt = StepFailed(path, cut, None)
    if before is not None:
        before.abandon()
    if after is not None:
        after.tell()
        await after.end(_END if halt is None else _Broken)
    return halt, output


def _pumping(function: Any, channel: Channel) -> Any:
    """A coroutine function that runs the generator `function` and puts its items into `channel`."""

    async def pump(*args: Any, **kwargs: Any) -> dict[str, int]:
        async for item in function(*args, **kwargs):
            await channel.put(item)
            if channel.abandoned:
                break
        return {"items": channel.count}

    return pump
