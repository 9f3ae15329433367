"""What a run uses, held against its limits: time, memory, CPU time.

A meter is read before every step and, while steps execute, a few times a second; a run over its limit is failed with the
limit's own error. A nested workflow has a meter of its own beside the run's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.failures import CpuLimit, MemoryLimit, RunTimeout, StepFailed
from wfkernel.engine.script import describe_error

if TYPE_CHECKING:
    from wfkernel.engine.clock import Clock
    from wfkernel.engine.limits import Limits

__all__ = ["Meter"]

READ_SECONDS: Final = 0.2
"""How often memory and CPU time are read: each reading costs about 0.1 ms."""


class Meter:
    """Holds one run, or one nested workflow, against its limits.

    Args:
        began: when it started, in epoch seconds of `clock`; restarts and sleeps since then count.
        what: for people: ``run 'x'``.
        path: of the nested workflow, empty for the run itself.
    """

    def __init__(self, limits: Limits, clock: Clock, began: float, what: str, path: str = "") -> None:
        self._limits, self._clock, self._began, self._what, self._path = limits, clock, began, what, path
        self._measured = limits.memory is not None or limits.cpu is not None
        self._read = 0.0
        self._used_before = _cpu_seconds() if limits.cpu is not None else 0.0

    def check(self) -> None:
        """Raise `StepFailed` with the error of the limit that is exceeded."""
        problem = self._problem()
        if problem is not None:
            raise StepFailed(self._path, describe_error(problem), problem)

    async def over(self, work: Awaitable[Any]) -> Any:
        """Await `work`; raises `StepFailed` as soon as a limit is exceeded."""
        left = None
        if self._limits.seconds is not None:
            left = max(self._limits.seconds - (self._clock.now() - self._began), 0)
        deadline = asyncio.timeout(left)
        reader: asyncio.Task[None] | None = None
        found: list[Exception] = []

        async def read() -> None:
            while not (problem := self._problem()):
                await asyncio.sleep(READ_SECONDS)
            found.append(problem)
            deadline.reschedule(asyncio.get_running_loop().time())

        try:
            async with deadline:
                try:
                    if self._measured:
                        reader = asyncio.ensure_future(read())
                    return await work
                finally:
                    if reader is not None:
                        reader.cancel()
        except TimeoutError:
            if not deadline.expired():
                raise
            problem = found[0] if found else self._timeout()
            raise StepFailed(self._path, describe_error(problem), problem) from None

    def _problem(self) -> Exception | None:
        limits = self._limits
        if limits.seconds is not None and self._clock.now() - self._began > limits.seconds:
            return self._timeout()
        if not self._measured or time.monotonic() - self._read < READ_SECONDS / 2:
            return None
        self._read = time.monotonic()
        if limits.memory is not None and (used := _memory_bytes()) > limits.memory:
            return MemoryLimit(
                f"{self._what} uses {used / 1e6:,.0f} MB of memory, its limit is {limits.memory / 1e6:,.0f} MB."
            )
        if limits.cpu is not None and (spent := _cpu_seconds() - self._used_before) > limits.cpu:
            return CpuLimit(f"{self._what} used {spent:.1f} s of CPU time, its limit is {limits.cpu:g} s.")
        return None

    def _timeout(self) -> RunTimeout:
        return RunTimeout(f"{self._what} took longer than its limit of {self._limits.seconds:g} s.")


def _processes() -> list[Any]:
    import psutil

    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def _memory_bytes() -> int:
    import psutil

    total = 0
    for process in _processes():
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _cpu_seconds() -> float:
    """CPU time of this process and those it started, ended ones included, so far."""
    import psutil

    total = 0.0
    for process in _processes():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total
