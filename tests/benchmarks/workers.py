"""What the workers cost: parallel CPU past the GIL, one small call, a large array there and back.

    python tests/benchmarks/workers.py

The parallel figure is shown beside the same work in `concurrent.futures.ProcessPoolExecutor` and beside two bare
processes, measured right before and after it: on a busy machine only the ratios mean something.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call, Worker
from wfkernel.workers.inline import InlineWorker
from wfkernel.workers.processes import ProcessWorker
from wfkernel.workers.threads import ThreadWorker

TASKS, SECONDS = 8, 0.5


class Quiet:
    """A step nobody watches."""

    path = "bench"

    def answer(self, model: Any, message: str, payload: Any, label: Any = ()) -> Any:
        raise NotImplementedError

    def write(self, text: str, shown: Any = None) -> None: ...
    def progress(self, done: float, total: float | None, label: str) -> None: ...


def compute(rounds: int) -> int:
    """Pure Python, holding the GIL."""
    total = 0
    for n in range(rounds):
        total += n * n % 7
    return total


def rounds_for(seconds: float) -> int:
    """How many rounds `compute` makes in so many seconds of CPU time here."""
    compute(100_000)
    begun = time.process_time()
    compute(1_000_000)
    return int(1_000_000 * seconds / (time.process_time() - begun))


async def call(worker: Worker, function: Callable[..., Any], *args: Any) -> Any:
    return await worker.run(Call(function, args, path="bench"), Quiet(), CancelSignal())


async def in_parallel(rounds: int) -> None:
    worker = ProcessWorker()
    await asyncio.gather(*(call(worker, compute, rounds) for _ in range(TASKS)))
    await worker.close()


def ours(rounds: int) -> float:
    """Seconds for all tasks, starting and ending the pool included."""
    begun = time.perf_counter()
    asyncio.run(in_parallel(rounds))
    return time.perf_counter() - begun


def futures(rounds: int) -> float:
    """The same in the standard library's pool, started the same way."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(compute, [rounds] * TASKS))
    return time.perf_counter() - begun


def bare(rounds: int) -> float:
    """The least it can take now: as many processes as CPUs, each computing its share at once."""
    cpus = os.cpu_count() or 1
    context = multiprocessing.get_context("fork")
    begun = time.perf_counter()
    processes = [context.Process(target=compute, args=(rounds * TASKS // cpus,)) for _ in range(cpus)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return time.perf_counter() - begun


async def small_calls(worker: Worker, times: int) -> float:
    """Median seconds of one call that does nothing."""
    await call(worker, abs, -1)
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        await call(worker, abs, -1)
        taken.append(time.perf_counter() - begun)
    await worker.close()
    return statistics.median(taken)


async def large_array(megabytes: int) -> float:
    """Median seconds for an array there and back."""
    import numpy as np

    worker = ProcessWorker(1)
    array = np.ones(megabytes * 125_000)
    await call(worker, np.copy, array)
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        await call(worker, np.copy, array)
        taken.append(time.perf_counter() - begun)
    await worker.close()
    return statistics.median(taken)


def main() -> None:
    rounds = rounds_for(SECONDS)
    figures = [(bare(rounds), ours(rounds), futures(rounds)) for _ in range(3)]
    least, mine, theirs = (statistics.median(column) for column in zip(*figures, strict=True))
    print(f"{TASKS} x {SECONDS} s of pure Python on {os.cpu_count()} CPUs, pool start and end included")
    print(f"  two bare processes   {least:6.2f} s")
    print(f"  ProcessWorker        {mine:6.2f} s   ({mine / least:.2f} of the bare processes)")
    print(f"  ProcessPoolExecutor  {theirs:6.2f} s   ({theirs / least:.2f})")
    print("one call that does nothing, median")
    for worker, times in ((InlineWorker(), 20_000), (ThreadWorker(), 2_000), (ProcessWorker(1), 1_000)):
        print(f"  {worker.name:10} {asyncio.run(small_calls(worker, times)) * 1e6:8.1f} us")
    print("an array to a worker process and back, median")
    for megabytes in (1, 100):
        print(f"  {megabytes:4} MB   {asyncio.run(large_array(megabytes)) * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
