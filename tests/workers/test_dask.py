"""What is particular to Dask; that it does what all workers do is in test_same_on_every_worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers import steps
from tests.workers.conftest import appeared, run
from wfkernel.engine.restarts import WorkerDied
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import StepStopped
from wfkernel.errors import DefinitionError
from wfkernel.workers.dask import DaskWorker


def test_calls_run_in_both_worker_processes_of_the_cluster(dask_client):
    async def scenario():
        worker = DaskWorker(dask_client)
        pids = {n["pid"] for n in await asyncio.to_thread(info)}
        found = set()
        while found != pids:
            found |= set(await asyncio.gather(*(run(worker, os.getpid) for _ in range(8))))
        return found

    def info():
        return [{"pid": pid} for pid in dask_client.run(os.getpid).values()]

    found = asyncio.run(scenario())
    assert len(found) == 2
    assert os.getpid() not in found


def test_the_current_client_is_used(dask_client):
    assert asyncio.run(run(DaskWorker(), steps.add, 1)) == 2


def test_a_dask_worker_that_dies_is_told_as_such(dask_client):
    with pytest.raises(WorkerDied, match="step 'step': its worker process died"):
        asyncio.run(run(DaskWorker(dask_client), steps.die, "SIGKILL"))
    assert asyncio.run(run(DaskWorker(dask_client), steps.add, 1)) == 2


def test_a_step_that_does_not_listen_is_left_behind(dask_client, file):
    async def scenario():
        worker, signal = DaskWorker(dask_client, grace=0.2), CancelSignal()
        running = asyncio.ensure_future(run(worker, steps.note_and_wait, file("notes"), file("go"), signal=signal))
        await appeared(file("notes"))
        signal.set()
        with pytest.raises(StepStopped, match="left behind"):
            await running

    asyncio.run(scenario())
    Path(file("go")).touch()


def test_a_canceled_step_hears_of_it(dask_client, file):
    def note_signal(begun, heard):
        Path(heard).write_text(steps.wait_for_signal(begun))

    async def scenario():
        running = asyncio.ensure_future(run(DaskWorker(dask_client), note_signal, file("begun"), file("heard")))
        await appeared(file("begun"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return await appeared(file("heard"))

    assert asyncio.run(scenario()).startswith("True")


WITHOUT = """
import asyncio, sys
if sys.argv[1] == "not installed":
    sys.modules["distributed"] = None
from tests.workers import steps
from tests.workers.conftest import run
from wfkernel.errors import DefinitionError
from wfkernel.engine.worker import get_worker
try:
    asyncio.run(run(get_worker("dask"), steps.add, 1))
except DefinitionError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("what", "text"),
    [("not installed", 'pip install "wfkernel[dask]"'), ("no client", "needs a Dask client: make one first")],
)
def test_what_is_missing_is_said_in_one_line(what, text):
    done = subprocess.run([sys.executable, "-c", WITHOUT, what], capture_output=True, text=True, check=True)
    assert text in done.stdout
    assert done.stdout.count("\n") == 1


def test_an_asynchronous_client_is_refused():
    class Asynchronous:
        asynchronous = True

    with pytest.raises(DefinitionError, match="asynchronous=True"):
        asyncio.run(run(DaskWorker(Asynchronous()), steps.add, 1))
