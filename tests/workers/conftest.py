"""All workers, each shared by the tests of a module: starting a Dask cluster takes seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.workers.steps import RecordingStep
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call, Worker
from wfkernel.workers.inline import InlineWorker
from wfkernel.workers.processes import ProcessWorker
from wfkernel.workers.threads import ThreadWorker


@pytest.fixture(scope="package")
def dask_client() -> Iterator[Any]:
    """A real cluster: two worker processes, a death is not retried by Dask itself."""
    import dask
    from distributed import Client, LocalCluster

    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.comm.timeouts.connect": "60s"}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="package")
def processes() -> Iterator[ProcessWorker]:
    worker = ProcessWorker(size=2, grace=1.0)
    yield worker
    asyncio.run(worker.close())


@pytest.fixture(params=["inline", "threads", "processes", "dask"])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """Each worker in turn."""
    with ExitStack() as stack:
        if request.param == "dask":
            from wfkernel.workers.dask import DaskWorker

            yield DaskWorker(request.getfixturevalue("dask_client"), grace=1.0)
        elif request.param == "processes":
            yield request.getfixturevalue("processes")
        elif request.param == "threads":
            threads = ThreadWorker(size=4)
            stack.callback(lambda: asyncio.run(threads.close()))
            yield threads
        else:
            yield InlineWorker()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """Path of a file in the test's folder, as text."""
    return lambda name: str(tmp_path / name)


async def run(
    worker: Worker,
    function: Callable[..., Any],
    *args: Any,
    step: RecordingStep | None = None,
    signal: CancelSignal | None = None,
    **kwargs: Any,
) -> Any:
    """Execute one call of `function` as the engine would."""
    step = step or RecordingStep()
    call = Call(function, args, kwargs, step.path, 1, list(step.answers), {"run_id": "the-run"})
    return await worker.run(call, step, signal or CancelSignal())


async def appeared(path: str) -> str:
    """Wait until a step made the file, and give its content."""
    while not Path(path).exists() or not (text := Path(path).read_text() or "-"):
        await asyncio.sleep(0.01)
    return text
