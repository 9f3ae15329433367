"""The blocking forms of what can be done to a run, for scripts and cells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
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

    def rollback(self, to: str) -> dict[str, Any]:
        return run_sync(self._run.rollback(to))

    def stream(self, input: Any = None, **options: Any) -> Generator[Event, None, RunResult]:
        """Iterate over the events in a plain for loop; the generator returns the result."""

        async def begin() -> tuple[Stream, AsyncIterator[Event]]:
            stream = self._run.stream(input, **options)
            return stream, aiter(stream)

        async def following() -> Event | None:
            return await anext(iterator, None)

        async def outcome() -> RunResult:
            return await stream.result

        stream, iterator = run_sync(begin())
        while (event := run_sync(following())) is not None:
            yield event
        return run_sync(outcome())
