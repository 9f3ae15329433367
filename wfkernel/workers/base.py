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

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from wfkernel.errors import DefinitionError, WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.context import StepContext

__all__ = [
    "Call",
    "CancelSignal",
    "StepStopped",
    "Worker",
    "cancel_signal",
    "get_worker",
    "register_worker",
    "signalled_by",
]


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


class CancelSignal:
    """Tells a step that it should end. Set once, from any thread; it stays set.

    As an argument of a step it stands for "the signal of this call": in another process it arrives as the signal there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._listeners: list[Callable[[], object]] = []
        self.reason = ""

    def set(self, reason: str = "canceled") -> None:
        """Ask the step to end. `reason` is for people: "canceled", "timed out after 5 s"."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def is_set(self) -> bool:
        """Whether the step should end."""
        return self._event.is_set()

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Block this thread until the signal is set or `timeout` seconds are over; tells whether it is set."""
        return self._event.wait(timeout)

    async def wait(self) -> None:
        """Wait until the signal is set."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            loop.call_soon_threadsafe(resolve)

        with self.listening(wake):
            await future

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Within the block, `listener` is called once, in the thread that sets the signal; at once if it is set."""
        with self._lock:
            already = self._event.is_set()
            if not already:
                self._listeners.append(listener)
        if already:
            listener()
        try:
            yield
        finally:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

    def __reduce__(self) -> tuple[Callable[[], CancelSignal], tuple[()]]:
        return cancel_signal, ()


_signal: contextvars.ContextVar[CancelSignal | None] = contextvars.ContextVar("wfkernel_signal", default=None)


@contextmanager
def signalled_by(signal: CancelSignal) -> Iterator[None]:
    """Make `signal` the one `cancel_signal()` gives in this context."""
    token = _signal.set(signal)
    try:
        yield
    finally:
        _signal.reset(token)


def cancel_signal() -> CancelSignal:
    """The signal of the running step; outside steps one that nobody sets."""
    return _signal.get() or CancelSignal()


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


def _inline() -> Worker:
    from wfkernel.workers.inline import InlineWorker

    return InlineWorker()


def _threads() -> Worker:
    from wfkernel.workers.threads import ThreadWorker

    return ThreadWorker()


def _processes() -> Worker:
    from wfkernel.workers.processes import ProcessWorker

    return ProcessWorker()


def _dask() -> Worker:
    from wfkernel.workers.dask import DaskWorker

    return DaskWorker()


_factories: dict[str, Callable[[], Worker]] = {
    "inline": _inline,
    "threads": _threads,
    "processes": _processes,
    "dask": _dask,
}
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
            factory = _factories.get(name)
            if factory is None:
                known = ", ".join(_factories)
                raise DefinitionError(f"there is no worker '{name}'. Known are: {known}.")
            worker = _workers[name] = factory()
        return worker
