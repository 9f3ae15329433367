"""A worker process that died, and how often a call is tried again after that.

A step that raises has failed. A step whose process was killed, ran out of memory, crashed in C or called `os._exit` is
another matter: nothing it could have caught, and often nothing it did. `WorkerDied` says so, and a `RestartPolicy`
decides, apart from the step's retries, whether the call is executed once more in a new process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wfkernel.engine.clock import SYSTEM_CLOCK, Clock
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call, Worker
from wfkernel.errors import DefinitionError, WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.context import StepContext

__all__ = ["RestartPolicy", "WorkerDied", "run_with_restarts"]


class WorkerDied(WorkflowError):
    """The process that executed the step died. The step may have done part of its work.

    Attributes:
        path: the step.
        exit_code: what the process exited with; None when it was killed by a signal or nothing is known.
        signal: name of the signal that killed it (`SIGKILL`), or "".
        last_output: the last lines the process wrote, stdout and stderr together, crash report of the interpreter
            included.
    """

    def __init__(self, path: str, exit_code: int | None, signal: str, last_output: list[str]) -> None:
        self.path, self.exit_code, self.signal, self.last_output = path, exit_code, signal, last_output
        super().__init__(path, exit_code, signal, last_output)

    def __str__(self) -> str:
        if self.signal:
            how = f"was killed by {self.signal}"
            if self.signal == "SIGKILL":
                how += " (usually the system ran out of memory)"
        else:
            how = "died" if self.exit_code is None else f"exited with code {self.exit_code}"
        said = next((line for line in reversed(self.last_output) if line.strip()), "")
        return f"step '{self.path}': its worker process {how}" + (f"; its last line of output: {said}" if said else "")


@dataclass(frozen=True)
class RestartPolicy:
    """How often a call is executed again after the death of its worker process.

    Attributes:
        max_restarts: this many restarts within `within` seconds; the next death in that time is final. 0: never.
        within: the span deaths are counted in, in seconds. A step that dies once a day goes on for ever.
        delay: seconds before the first restart.
        backoff: each further restart in the span waits this many times longer.
    """

    max_restarts: int = 3
    within: float = 600.0
    delay: float = 1.0
    backoff: float = 2.0

    def __post_init__(self) -> None:
        if self.max_restarts < 0 or self.within <= 0 or self.delay < 0 or self.backoff < 1:
            raise DefinitionError(
                f"{self}: max_restarts and delay must not be negative, within must be above 0, backoff at least 1."
            )

    def delay_after(self, deaths: list[float], now: float) -> float | None:
        """Seconds to wait before the restart after `deaths` (times, the one at hand included); None: no restart."""
        recent = sum(1 for time in deaths if now - time <= self.within)
        if recent > self.max_restarts:
            return None
        return float(self.delay * self.backoff ** max(recent - 1, 0))


async def run_with_restarts(
    worker: Worker,
    call: Call,
    step: StepContext,
    signal: CancelSignal,
    policy: RestartPolicy,
    *,
    clock: Clock = SYSTEM_CLOCK,
    on_death: Callable[[WorkerDied, float | None], None] = lambda error, delay: None,
) -> Any:
    """`worker.run`, executed again as `policy` says when the process dies.

    `on_death(error, delay)` is called for every death, `delay` being the seconds until the restart or None when there
    is none; then the last `WorkerDied` is raised. A set signal ends the waiting and the restarts.
    """
    deaths: list[float] = []
    while True:
        try:
            return await worker.run(call, step, signal)
        except WorkerDied as error:
            deaths.append(clock.monotonic())
            delay = None if signal.is_set() else policy.delay_after(deaths, deaths[-1])
            on_death(error, delay)
            if delay is None:
                raise
            await _pause(delay, clock, signal)
            if signal.is_set():
                raise


async def _pause(seconds: float, clock: Clock, signal: CancelSignal) -> None:
    waiting = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(signal.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
