"""Worker processes: deaths, ends, output past Python, surroundings, and no process left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.workers import steps
from tests.workers.conftest import appeared, run
from tests.workers.steps import RecordingStep
from wfkernel.engine.restarts import WorkerDied
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import StepStopped
from wfkernel.errors import DefinitionError
from wfkernel.workers.processes import ProcessWorker


def pid_of(worker) -> int:
    return asyncio.run(run(worker, os.getpid))


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(*pids: int) -> None:
    while not all(map(gone, pids)):
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "exit_code", "name", "text"),
    [
        ("exit", 7, "", "exited with code 7"),
        ("SIGKILL", None, "SIGKILL", r"was killed by SIGKILL \(usually the system ran out of memory\)"),
        ("SIGTERM", 143, "", "exited with code 143"),
        ("SIGABRT", None, "SIGABRT", "was killed by SIGABRT"),
    ],
)
def test_a_death_is_told_apart_from_an_exception(processes, how, exit_code, name, text):
    with pytest.raises(WorkerDied, match=f"step 'crash': its worker process {text}") as caught:
        asyncio.run(run(processes, steps.die, how, "nearly there", step=RecordingStep("crash")))
    died = caught.value
    assert (died.path, died.exit_code, died.signal) == ("crash", exit_code, name)
    assert "nearly there" in died.last_output


def test_a_crash_in_c_tells_where_python_was(processes):
    with pytest.raises(WorkerDied, match="SIGSEGV") as caught:
        asyncio.run(run(processes, steps.die, "segfault"))
    report = "\n".join(caught.value.last_output)
    assert "Fatal Python error: Segmentation fault" in report
    assert "steps.py" in report


def test_only_the_last_lines_of_output_are_kept(processes):
    with pytest.raises(WorkerDied) as caught:
        asyncio.run(run(processes, steps.die, "exit", "\n".join(map(str, range(1_000)))))
    assert caught.value.last_output == [str(n) for n in range(950, 1_000)]


def test_the_pool_replaces_a_dead_process(processes):
    for _ in range(3):
        with pytest.raises(WorkerDied):
            asyncio.run(run(processes, steps.die, "SIGKILL"))
    assert asyncio.run(run(processes, steps.add, 1)) == 2


def test_a_death_takes_no_other_call_along(processes, file):
    async def scenario():
        calm = asyncio.ensure_future(run(processes, steps.note_and_wait, file("notes"), file("go")))
        await appeared(file("notes"))
        for _ in range(3):
            with pytest.raises(WorkerDied):
                await run(processes, steps.die, "SIGKILL")
        Path(file("go")).touch()
        return await calm

    assert asyncio.run(scenario()) == "done"
    assert Path(file("notes")).read_text() == "ran\n"


def test_a_process_that_died_idle_is_not_noticed_by_the_next_call(processes):
    pid = pid_of(processes)
    os.kill(pid, signal.SIGKILL)
    assert asyncio.run(run(processes, steps.add, 1)) == 2
    assert pid_of(processes) != pid


def test_processes_are_kept_for_later_calls_and_are_not_this_one(processes):
    async def scenario():
        return {await run(processes, os.getpid) for _ in range(5)}

    pids = asyncio.run(scenario())
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_calls_run_at_the_same_time_and_never_more_than_size(processes, file):
    def overlap(folder: str) -> int:
        mine = Path(folder, str(os.getpid()))
        mine.touch()
        end = time.monotonic() + 0.2
        most = 0
        while time.monotonic() < end:
            most = max(most, len(list(Path(folder).iterdir())))
        mine.unlink()
        return most

    async def scenario(folder):
        Path(folder).mkdir()
        return await asyncio.gather(*(run(processes, overlap, folder) for _ in range(6)))

    assert max(asyncio.run(scenario(file("here")))) == 2


def test_what_is_written_past_python_is_printed_here_before_the_call_ends(processes, capfd):
    asyncio.run(run(processes, steps.print_past_python))
    assert capfd.readouterr().err == "from C\nfrom a program\n"


def test_processes_are_where_this_one_is(processes, monkeypatch, tmp_path):
    asyncio.run(run(processes, steps.where))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_VARIABLE_OF_THE_CELL", "set in a cell")
    folder, variable, _ = asyncio.run(run(processes, steps.where))
    assert (folder, variable) == (str(tmp_path), "set in a cell")
    monkeypatch.delenv("A_VARIABLE_OF_THE_CELL")
    assert asyncio.run(run(processes, steps.where))[1] is None


def test_modules_added_to_the_path_later_are_found(processes, monkeypatch, tmp_path):
    asyncio.run(run(processes, steps.add, 1))
    (tmp_path / "just_written.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import just_written

    assert asyncio.run(run(processes, just_written.double, 4)) == 8


def test_an_argument_that_cannot_travel_is_named(processes):
    import threading

    with pytest.raises(
        DefinitionError, match=r"step 'step': its argument 'b' cannot be sent to another process .*lock"
    ):
        asyncio.run(run(processes, steps.add, 1, b=threading.Lock()))


def test_a_result_that_cannot_travel_is_named(processes):
    def make():
        import threading

        return threading.Lock()

    with pytest.raises(DefinitionError, match=r"step 'step': its result \(lock\) cannot be sent back"):
        asyncio.run(run(processes, make))


def test_a_module_that_is_missing_there_is_an_error_not_a_death(processes, tmp_path, monkeypatch):
    (tmp_path / "vanishing.py").write_text("def f():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import vanishing

    (tmp_path / "vanishing.py").unlink()
    with pytest.raises(ModuleNotFoundError, match="vanishing"):
        asyncio.run(run(processes, vanishing.f))


def test_a_step_that_does_not_listen_is_terminated_and_cleans_up(processes, file):
    async def scenario():
        signal = CancelSignal()
        running = asyncio.ensure_future(run(processes, steps.never_listen, file("pid"), file("cleaned"), signal=signal))
        pid = int(await appeared(file("pid")))
        signal.set("canceled by Ada")
        with pytest.raises(StepStopped, match="step 'step' did not end when asked to \\(canceled by Ada\\)"):
            await running
        return pid

    assert gone(asyncio.run(scenario()))
    assert Path(file("cleaned")).exists()


def test_a_step_that_cannot_be_terminated_is_killed(processes, file):
    async def scenario():
        running = asyncio.ensure_future(run(processes, steps.never_end, file("pid")))
        pid = int(await appeared(file("pid")))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return pid

    assert gone(asyncio.run(scenario()))
    assert asyncio.run(run(processes, steps.add, 1)) == 2


def test_a_timeout_ends_the_function_before_it_is_told(processes, file):
    async def scenario():
        running = asyncio.ensure_future(run(processes, steps.never_listen, file("pid"), file("cleaned")))
        pid = int(await appeared(file("pid")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running, 0.01)
        return pid

    assert gone(asyncio.run(scenario()))
    assert Path(file("cleaned")).exists()


def test_a_program_a_step_started_ends_with_it(processes, file):
    async def scenario():
        running = asyncio.ensure_future(run(processes, steps.start_a_program, file("pids")))
        pids = list(map(int, (await appeared(file("pids"))).split()))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return pids

    wait_until_gone(*asyncio.run(scenario()))


def test_a_call_that_waits_for_its_turn_is_given_up_at_once(processes, file):
    async def scenario():
        busy = [asyncio.ensure_future(run(processes, steps.note_and_wait, file(n), file("go"))) for n in "ab"]
        await asyncio.gather(appeared(file("a")), appeared(file("b")))
        signal = CancelSignal()
        waiting = asyncio.ensure_future(run(processes, steps.add, 1, signal=signal))
        canceled = asyncio.ensure_future(run(processes, steps.add, 1))
        await asyncio.sleep(0.05)
        signal.set()
        canceled.cancel()
        with pytest.raises(StepStopped, match="was not begun"):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await canceled
        Path(file("go")).touch()
        return await asyncio.gather(*busy)

    assert asyncio.run(scenario()) == ["done", "done"]


def test_closing_ends_idle_and_busy_processes_and_the_worker_can_be_used_again(file):
    async def scenario():
        worker = ProcessWorker(size=2, grace=0.5)
        busy = asyncio.ensure_future(run(worker, steps.never_listen, file("pid")))
        pids = [int(await appeared(file("pid"))), await run(worker, os.getpid)]
        await worker.close()
        with pytest.raises(StepStopped, match="the worker was closed"):
            await busy
        again = await run(worker, steps.add, 1)
        await worker.close()
        return pids, again

    pids, again = asyncio.run(scenario())
    wait_until_gone(*pids)
    assert again == 2


ORPHANS = """
import asyncio, os, signal, sys
from tests.workers import steps
from tests.workers.conftest import run
from wfkernel.workers.processes import ProcessWorker

async def main():
    worker = ProcessWorker(size=2)
    await run(worker, steps.add, 1)
    await asyncio.gather(run(worker, steps.{function}, sys.argv[1]), run(worker, steps.never_end, sys.argv[2]))

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_nothing_is_left_when_this_process_dies(file, end):
    code = ORPHANS.format(function="start_a_program")
    parent = subprocess.Popen([sys.executable, "-c", code, file("a"), file("b")], stderr=subprocess.DEVNULL)
    pids = [int(pid) for name in "ab" for pid in asyncio.run(appeared(file(name))).split()]
    assert not any(map(gone, pids))
    parent.send_signal(signal.Signals[end])
    parent.wait()
    wait_until_gone(*pids)


def test_a_script_without_a_main_guard_and_its_own_functions_work(tmp_path):
    (tmp_path / "script.py").write_text(
        "import asyncio, os\n"
        "from tests.workers.conftest import run\n"
        "from wfkernel.engine.worker import get_worker\n"
        "FACTOR = 3\n"
        "class Thing:\n    def __init__(self, n): self.n = n\n"
        "def work(thing): return Thing(thing.n * FACTOR), os.getpid()\n"
        "thing, pid = asyncio.run(run(get_worker('processes'), work, Thing(2)))\n"
        "print(type(thing) is Thing, thing.n, pid != os.getpid())\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True 6 True\n", "")


def test_a_failing_step_context_ends_the_call_and_spoils_no_later_one(processes, file):
    class Broken(RecordingStep):
        def write(self, text, shown=None):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(run(processes, steps.talk, 1_000, step=Broken()))
    assert asyncio.run(run(processes, steps.add, 1)) == 2
