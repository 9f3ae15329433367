"""The `processes` worker: functions that compute, in parallel past the GIL, each call in a process of its own for its time.

Why not an existing pool: in `concurrent.futures` and loky one dead process fails every call in flight; pebble names the
one that died but is LGPL and relays nothing while a call runs; anyio's has neither. None tells what a process wrote last,
hands on a step's calls, or can end one call. What is hard about all this is taken from libraries: cloudpickle for
functions of a notebook, pickle protocol 5 for large data, tblib for exceptions, subprocess for the processes.

A process is started when a call finds none idle, stays for later calls, and is replaced when it died. A dead process
takes only its own call along, which ends in `WorkerDied` with the exit code or signal and the last lines of output. A
call whose function had not begun is simply given to another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wfkernel.engine.context import running
from wfkernel.engine.daemons import DaemonThreads
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call, StepStopped
from wfkernel.workers.died import died
from wfkernel.workers.execute import Outcome, stopped_before
from wfkernel.workers.process import ProcessEnded, WorkerProcess
from wfkernel.workers.remote import Relay
from wfkernel.workers.shipping import Parts, pack_call
from wfkernel.workers.threads import cancelled_from_outside

if TYPE_CHECKING:
    from concurrent.futures import Future

    from wfkernel.engine.context import StepContext

__all__ = ["ProcessWorker"]


class ProcessWorker:
    """At most `size` calls at a time (by default one per CPU this process may use), the others wait.

    `grace`: seconds a step has, once its signal is set, to end by itself; then its process gets SIGTERM, which runs its
    `finally` blocks, and after as long again SIGKILL. When the task that awaits the call is cancelled (a timeout), SIGTERM
    comes at once.
    """

    name = "processes"

    def __init__(self, size: int | None = None, grace: float = 2.0) -> None:
        self._threads = DaemonThreads(size or _cpus(), "wfkernel-process")
        self._grace = grace
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._flights: set[_Flight] = set()

    async def run(self, call: Call, step: StepContext, signal: CancelSignal) -> Any:
        """See `Worker.run`. When it is cancelled it returns once the function does not run any more."""
        flight = _Flight(call.path, signal, self._grace)
        flight.future = future = self._threads.submit(contextvars.copy_context().run, self._fly, flight, call, step)
        self._flights.add(flight)
        with signal.listening(flight.stop):
            try:
                outcome = await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                if not cancelled_from_outside():
                    raise stopped_before(call.path, signal) from None
                signal.set()
                flight.hurry()
                await _ended(future)
                raise
            finally:
                self._flights.discard(flight)
        return outcome.get()

    async def close(self) -> None:
        """End all processes: busy ones as if their signal was set, then idle ones."""
        flights = list(self._flights)
        for flight in flights:
            flight.signal.set("the worker was closed")
        for flight in flights:
            await _ended(flight.future)
        with self._lock:
            idle, self._idle = self._idle, []
        await asyncio.gather(*(asyncio.to_thread(process.close, self._grace) for process in idle))
        self._threads.close()

    def _fly(self, flight: _Flight, call: Call, step: StepContext) -> Outcome:
        """In a thread of the pool: take a process, have it execute the call, follow it to its end."""
        try:
            parts = pack_call(call)
            relay = Relay(step)
            try:
                return self._execute(flight, parts, relay, step)
            except ProcessEnded as ended:
                if ended.begun or flight.stopped:
                    raise
            return self._execute(flight, parts, relay, step)
        except ProcessEnded as ended:
            if flight.stopped:
                return Outcome(error=flight.error())
            return Outcome(error=died(call.path, ended.returncode, ended.last_output))
        except BaseException as error:
            return Outcome(error=error)

    def _execute(self, flight: _Flight, parts: Parts, relay: Relay, step: StepContext) -> Outcome:
        process = self._take()
        try:
            flight.begin(process)
            with running(step):
                return relay.settle(process.execute(parts, relay))
        except BaseException:  # whatever it was, the process is not where the next call could begin
            process.kill()
            raise
        finally:
            flight.end()
            self._give_back(process)

    def _take(self) -> WorkerProcess:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
        return WorkerProcess()

    def _give_back(self, process: WorkerProcess) -> None:
        if process.alive:
            with self._lock:
                self._idle.append(process)


class _Flight:
    """One call on its way, and the one thing that ends it when its signal is set."""

    future: Future[Outcome]

    def __init__(self, path: str, signal: CancelSignal, grace: float) -> None:
        self.path, self.signal = path, signal
        self.stopped = False
        self._grace = grace
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._over = threading.Event()
        self._hurry = threading.Event()
        """Set when the function need not be given time to end by itself, or has ended."""

    def begin(self, process: WorkerProcess) -> None:
        """The call goes to this process now."""
        with self._lock:
            if self.stopped:
                raise stopped_before(self.path, self.signal)
            self._process = process
            self._over.clear()

    def end(self) -> None:
        """The call has left its process: nothing may be done to that any more."""
        with self._lock:
            self._over.set()
            self._hurry.set()

    def stop(self) -> None:
        """The signal was set. Returns at once."""
        with self._lock:
            self.stopped = True
            process = self._process
        if not self.future.cancel() and process is not None:
            threading.Thread(target=self._stop, args=(process,), name="wfkernel-stop", daemon=True).start()

    def hurry(self) -> None:
        """Nobody waits for the result any more: end the process without waiting for the function to listen."""
        self._hurry.set()

    def error(self) -> StepStopped:
        """The error of a call whose process was ended."""
        return StepStopped(
            f"step '{self.path}' did not end when asked to ({self.signal.reason}): its process was ended."
        )

    def _stop(self, process: WorkerProcess) -> None:
        process.call_sent.wait(self._grace)
        measures: list[tuple[Callable[[], None], threading.Event]] = [
            (lambda: process.ask_to_end(self.signal.reason), self._hurry),
            (process.terminate, self._over),
            (process.kill, self._over),
        ]
        for measure, enough in measures:
            with self._lock:
                if self._over.is_set():
                    return
                measure()
            enough.wait(self._grace)


async def _ended(future: Future[Outcome]) -> None:
    """Wait for the end of a job, also while being cancelled again."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
    while not ended.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await ended.wait()


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
