"""The registry of workers and the cancel signal."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import cloudpickle
import pytest

from wfkernel.engine import worker as protocol
from wfkernel.engine.signal import CancelSignal, cancel_signal, signalled_by
from wfkernel.engine.worker import get_worker, register_worker
from wfkernel.errors import DefinitionError
from wfkernel.workers.inline import InlineWorker


def test_a_worker_is_made_once():
    assert get_worker("inline") is get_worker("inline")
    assert [get_worker(name).name for name in ("inline", "threads", "processes", "dask")] == [
        "inline",
        "threads",
        "processes",
        "dask",
    ]


def test_an_unknown_worker_is_refused_with_the_known_ones():
    with pytest.raises(DefinitionError, match=r"no worker 'thread'\. Known are: inline, threads, processes, dask"):
        get_worker("thread")


def test_a_worker_of_the_users_own(monkeypatch):
    class Mine(InlineWorker):
        name = "mine"

    monkeypatch.setattr(protocol, "_factories", dict(protocol._factories))
    monkeypatch.setattr(protocol, "_workers", {})
    register_worker("mine", Mine)
    assert isinstance(get_worker("mine"), Mine)


def test_a_signal_is_set_once_and_keeps_its_first_reason():
    signal = CancelSignal()
    assert not signal.is_set()
    signal.set("first")
    signal.set("second")
    assert (signal.is_set(), signal.reason) == (True, "first")


def test_waiting_for_a_signal_that_another_thread_sets():
    async def scenario():
        signal = CancelSignal()
        threading.Timer(0.01, signal.set).start()
        await signal.wait()
        await signal.wait()  # set already
        return signal.is_set()

    assert asyncio.run(scenario())


def test_listeners_are_called_once_and_only_within_their_block():
    heard = []
    signal = CancelSignal()
    with signal.listening(lambda: heard.append("gone")):
        pass
    with signal.listening(lambda: heard.append("there")):
        signal.set()
        signal.set()
    with signal.listening(lambda: heard.append("late")):
        pass
    assert heard == ["there", "late"]


def test_a_signal_arrives_elsewhere_as_the_signal_of_the_call_there():
    pickled = cloudpickle.dumps(CancelSignal())
    there = CancelSignal()
    with signalled_by(there):
        assert cloudpickle.loads(pickled) is there
        assert cancel_signal() is there
    assert not cancel_signal().is_set()


def test_importing_the_workers_imports_nothing_heavy():
    code = (
        "import sys; import wfkernel.engine.worker, wfkernel.workers.inline, wfkernel.workers.threads\n"
        "import wfkernel.workers.processes, wfkernel.workers.dask\n"
        "print({'distributed', 'dask', 'pydantic', 'numpy', 'cloudpickle', 'tblib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_worker_process_starts_without_an_event_loop():
    code = "import sys; import wfkernel.workers.child; print({'asyncio', 'ssl', 'pydantic', 'cloudpickle'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
