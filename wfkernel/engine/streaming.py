"""A run as a stream of what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from wfkernel.engine.events import Event
from wfkernel.engine.result import RunResult
from wfkernel.engine.stream import Listener

__all__ = ["Stream", "StreamResult"]


class Stream:
    """The events of one life of a run, in order. Iterate over it once; `result` is what the run came to."""

    def __init__(self, listener: Listener, task: asyncio.Task[RunResult], leave: Callable[[Listener], None]) -> None:
        self._listener, self._task, self._leave = listener, task, leave
        self._iterating = False
        # A start that is refused never comes to the point where the hub is closed.
        task.add_done_callback(lambda _: listener.close())

    @property
    def done(self) -> bool:
        """Whether the run has stopped."""
        return self._task.done()

    @property
    def dropped(self) -> int:
        """How many events were lost because the consumer was slow and the policy says so."""
        return self._listener.dropped

    def __aiter__(self) -> AsyncIterator[Event]:
        self._iterating = True
        return aiter(self._listener)

    @property
    def result(self) -> StreamResult:
        """Await it for the `RunResult`. Without an iteration under way the events are let go."""
        return StreamResult(self)


class StreamResult:
    """Awaitable: the result of a streamed run."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __await__(self) -> Generator[Any, None, RunResult]:
        if not self._stream._iterating:
            self._stream._leave(self._stream._listener)
        return self._stream._task.__await__()
