"""What a worker is: something that executes one call of a step's function, somewhere.

The engine makes a `Call` and awaits `worker.run(call, step, signal)`. Where the function executes changes nothing but
the timing: the same call gives the same result, the same exception, and the same `write`, `progress` and `answer` calls
on `step` with every worker. `step` may be used from another thread than the event loop's, one call at a time and in the
order the function made them.

How a call is stopped, alike for all workers:

- `signal.set()` asks. The function can look (`cancel_signal().is_set()`) and end early; what it then returns or raises
  counts. A function that has not begun is not begun (`StepStopped`). Workers that can (processes) make one that does
  not listen end after a grace period (`StepStopped`).
- Cancelling the task that awaits `run` sets the signal too. A worker that can end the function does so before the
  cancellation goes on; threads cannot be ended, the function is left behind and its outcome dropped.
"""

from __future__ import annotations

import pkgutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from wfkernel.errors import DefinitionError, WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.context import StepContext
    from wfkernel.engine.signal import CancelSignal

__all__ = ["Call", "StepStopped", "Worker", "get_worker", "register_worker"]

BUILT_IN: Final = {
    "inline": "wfkernel.workers.inline:InlineWorker",
    "threads": "wfkernel.workers.threads:ThreadWorker",
    "processes": "wfkernel.workers.processes:ProcessWorker",
    "dask": "wfkernel.workers.dask:DaskWorker",
}
"""By name, imported when first used: what executes steps is plugged into the engine, which knows none of it."""


class StepStopped(WorkflowError):
    """The step was stopped by its cancel signal: before it began, or because it did not end when asked to."""


@dataclass(frozen=True)
class Call:
    """One execution of a step's function. Everything in it must survive cloudpickle for other processes."""

    function: Callable[..., Any]
    """A function or a coroutine function; away from the loop, a coroutine runs on an event loop of its own."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    attempt: int = 1
    answers: list[Any] = field(default_factory=list)
    """Every answer given to the step so far, in order: the n-th is what its n-th `suspend` returns."""
    environment: dict[str, Any] = field(default_factory=dict)
    """What the step may read about its run where the engine is not (`run_id`, ...): small, picklable values."""


class Worker(Protocol):
    """Executes calls. One instance serves any number of runs, threads and event loops."""

    name: str

    async def run(self, call: Call, step: StepContext, signal: CancelSignal) -> Any:
        """Execute the call and return its result or raise its exception.

        Raises also `WorkerDied` when the process it ran in died, `StepStopped`, `RunSuspended` and `DefinitionError` when
        the call cannot be executed here.
        """

    async def close(self) -> None:
        """Free threads and processes. A later `run` starts new ones."""


_factories: dict[str, Callable[[], Worker]] = {}
_workers: dict[str, Worker] = {}
_registry = threading.Lock()


def register_worker(name: str, factory: Callable[[], Worker]) -> None:
    """Make `factory` the maker of the worker `name`; it is called once, when the worker is first used."""
    with _registry:
        _factories[name] = factory
        _workers.pop(name, None)


def get_worker(name: str) -> Worker:
    """This process's worker of that name: `inline`, `threads`, `processes`, `dask` or a registered one.

    Raises `DefinitionError` for an unknown name.
    """
    with _registry:
        worker = _workers.get(name)
        if worker is None:
            factory = _factories.get(name) or (pkgutil.resolve_name(BUILT_IN[name]) if name in BUILT_IN else None)
            if factory is None:
                known = ", ".join({**BUILT_IN, **_factories})
                raise DefinitionError(f"there is no worker '{name}'. Known are: {known}.")
            worker = _workers[name] = factory()
        return worker
