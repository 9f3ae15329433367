"""The blocking forms of what can be done to a run, for scripts and cells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any

from wfkernel.engine.events import Event
from wfkernel.engine.loop import run_sync
from wfkernel.engine.result import RunResult

if TYPE_CHECKING:
    from wfkernel.engine.run import Run
    from wfkernel.engine.streaming import Stream

__all__ = ["SyncRun"]


class SyncRun:
    """A run's methods in blocking form, for scripts and cells: they run on the engine's own loop."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def start(self, input: Any = None, **options: Any) -> RunResult:
        return run_sync(self._run.start(input, **options))

    def resume(self, data: Any = None, **options: Any) -> RunResult:
        return run_sync(self._run.resume(data, **options))

    def restart(self, **options: Any) -> RunResult:
        return run_sync(self._run.restart(**options))

    def proceed(self, **options: Any) -> RunResult:
        return run_sync(self._run.proceed(**options))

    def retry(self, **options: Any) -> RunResult:
        return run_sync(self._run.retry(**options))

    def time_travel(self, step: Any, **options: Any) -> RunResult:
        return run_sync(self._run.time_travel(step, **options))

    def cancel(self, reason: str = "canceled") -> None:
        run_sync(self._run.cancel(reason))

    def suspend(self, reason: str = "suspended from outside") -> None:
        run_sync(self._run.suspend(reason))

    def rollback(self, to: str) -> dict[str, Any]:
        return run_sync(self._run.rollback(to))

    def stream(self, input: Any = None, **options: Any) -> Generator[Event, None, RunResult]:
        """Iterate over the events in a plain for loop; the generator returns the result."""
        return _streamed(lambda: self._run.stream(input, **options))

    def resume_stream(self, data: Any = None, **options: Any) -> Generator[Event, None, RunResult]:
        """`resume`, as a stream of what happens from there."""
        return _streamed(lambda: self._run.resume_stream(data, **options))

    def time_travel_stream(self, step: Any, **options: Any) -> Generator[Event, None, RunResult]:
        """`time_travel`, as a stream of what happens from there."""
        return _streamed(lambda: self._run.time_travel_stream(step, **options))

    def observe(self, **options: Any) -> Generator[Event, None, None]:
        """The events of a run somebody started."""
        yield from _iterated(self._run.observe(**options))


def _streamed(begin: Callable[[], Stream]) -> Generator[Event, None, RunResult]:
    async def begun() -> tuple[Stream, AsyncIterator[Event]]:
        stream = begin()
        return stream, aiter(stream)

    async def outcome() -> RunResult:
        return await stream.result

    stream, iterator = run_sync(begun())
    yield from _iterated(iterator)
    return run_sync(outcome())


def _iterated(iterator: AsyncIterator[Event]) -> Generator[Event, None, None]:
    async def following() -> Event | None:
        return await anext(iterator, None)

    while (event := run_sync(following())) is not None:
        yield event
