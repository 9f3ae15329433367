"""A person stops a run while a cell keeps the kernel busy: by command on the control channel, or by Interrupt."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.conftest import Kernel, Result
from wfkernel.store.store import Store

names = (f"s{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stops")


@pytest.fixture(scope="module")
def k(folder: Path) -> Iterator[Kernel]:
    one = Kernel(folder, live=True)
    one.run("import asyncio, subprocess, time\nfrom pathlib import Path\nfrom wfkernel import write")
    yield one
    one.close()


def begun(k: Kernel, step: str) -> None:
    """Return when the step executes."""
    deadline = time.monotonic() + 30
    while step not in names_of(k.control(op="status")["run"], "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def names_of(run: dict[str, Any] | None, which: str) -> list[str]:
    return [entry["step"] for entry in run[which]] if run else []


def stopped(k: Kernel, body: str, act: Callable[[], Any], options: str = "") -> tuple[str, Result]:
    """Run a step cell, `act` once it executes; returns the step's name and what the cell ended with."""
    name = next(names)
    cell = k.send(f"%%step {name} {options}\n{body}", cell_id=name)
    begun(k, name)
    time.sleep(0.1)
    act()
    return name, k.wait(cell, timeout=20)


def status(k: Kernel) -> dict[str, Any]:
    return dict(k.control(op="status")["run"])


BODIES = {
    "sleep": "time.sleep(60)",
    "loop": "while True: pass",
    "await": "await asyncio.sleep(60)",
    "blocking in a cell that awaits": "await asyncio.sleep(0)\ntime.sleep(60)",
    "program": "subprocess.run(['sleep', '60'])",
    "shell": "!sleep 60",
    "except Exception": "while True:\n    try: time.sleep(60)\n    except (Exception, KeyboardInterrupt): pass",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_command_suspends_a_busy_step_in_one_line(k, body):
    name, result = stopped(k, body, lambda: k.control(op="suspend", by="run view"))
    assert result.error == ("RunStopped", f"the run was suspended at step '{name}' (run view)")
    assert "Traceback" not in result.text
    assert status(k)["status"] == "suspended"
    assert name in names_of(status(k), "stopped")


def test_subshells_change_nothing(kernel):
    k = kernel(live=True)
    for _ in range(2):  # a kernel without subshells does not answer
        k.client.control_channel.send(k.client.session.msg("create_subshell_request"))
    k.run("import time")
    _, result = stopped(k, "time.sleep(60)", lambda: k.control(op="suspend"))
    assert result.error is not None
    assert result.error[0] == "RunStopped"


WORKERS = ["--worker threads", "--worker processes", "--worker processes --foreach item in [1,2,3] --concurrency 2"]


@pytest.mark.parametrize("options", WORKERS)
def test_a_step_in_workers_is_suspended_too(k, options):
    body = "import time\nfor _ in range(300): time.sleep(0.02)"
    name, result = stopped(k, body, lambda: k.control(op="suspend"), options)
    assert result.error is not None
    assert result.error[0] == "RunStopped"
    assert "failed" not in result.text
    assert name in names_of(status(k), "stopped")


def test_interrupt_suspends_and_the_step_runs_again_from_its_start(k, folder):
    body = "with open('again', 'a') as f: f.write('x')\nwhile not Path('go').exists(): time.sleep(0.01)\ndone = 1"
    name, result = stopped(k, body, k.interrupt)
    assert result.error == ("RunStopped", f"the run was suspended at step '{name}' (Interrupt)")
    assert len(result.text.strip().splitlines()) == 2  # the step's line and this one
    (folder / "go").touch()
    assert k.run(f"%%step {name}\n{body}", cell_id=name).status == "ok"
    assert (folder / "again").read_text() == "xx"
    assert status(k)["status"] == "running"


def test_interrupt_suspends_a_cell_that_awaits(k):
    name, result = stopped(k, "await asyncio.sleep(60)", k.interrupt)
    assert result.error == ("RunStopped", f"the run was suspended at step '{name}' (Interrupt)")


def test_resuming_a_stopped_run_executes_the_stopped_step(kernel):
    k = kernel()
    k.run("import time\ntries = []")
    cell = k.send("%%step slow\ntries.append(1)\ntime.sleep(60 if len(tries) == 1 else 0)\nmade = 'made'")
    begun(k, "slow")
    time.sleep(0.2)
    k.interrupt()
    k.wait(cell)
    assert k.run("%workflow resume").status == "ok"
    assert k.value("made") == "'made'"
    assert k.value("__import__('wfkernel').open_store().runs()[0]['status']") == "'success'"


def test_a_second_interrupt_cancels(k, folder):
    def twice() -> None:
        k.interrupt()
        while not (folder / "ending").exists():
            time.sleep(0.02)
        k.interrupt()

    body = "try: time.sleep(60)\nfinally:\n    Path('ending').touch()\n    time.sleep(20)"
    name, result = stopped(k, body, twice)
    assert result.error == ("RunStopped", f"the run was canceled at step '{name}' (Interrupt)")
    assert status(k)["status"] == "canceled"


def test_a_second_interrupt_cancels_a_run_that_is_suspended_already(k):
    for _ in range(3):  # the second one has two seconds to come: a machine that stalls for so long gets another chance
        stopped(k, "time.sleep(60)", k.interrupt)
        deadline = time.monotonic() + 4
        while status(k)["status"] != "canceled" and time.monotonic() < deadline:
            time.sleep(0.2)
            k.interrupt()
        if status(k)["status"] == "canceled":
            return
    raise AssertionError("the run was not canceled")


def test_cancel_ends_the_run_and_run_all_begins_again(k):
    name, result = stopped(k, "time.sleep(60)", lambda: k.control(op="cancel", by="panel"))
    assert result.error == ("RunStopped", f"the run was canceled at step '{name}' (panel)")
    assert status(k)["status"] == "canceled"
    assert k.run(f"%%step {name}\nx = 1", cell_id=name).status == "ok"
    assert status(k)["status"] == "running"


def test_a_plain_cell_is_stopped_by_a_command_and_keeps_its_keyboard_interrupt(k):
    k.run(f"%%step {next(names)}\nx = 1")
    cell = k.send("time.sleep(60)")
    time.sleep(0.3)
    k.control(op="suspend", by="toolbar")
    assert k.wait(cell).error == ("RunStopped", "the run was suspended (toolbar)")
    cell = k.send("time.sleep(60)")
    time.sleep(0.3)
    k.interrupt()
    assert k.wait(cell).error[0] == "KeyboardInterrupt"


def test_a_time_limit_is_still_the_steps_own_failure(k):
    name = next(names)
    result = k.run(f"%%step {name} --timeout 0.2\ntime.sleep(60)")
    assert result.error[0] == "StepTimeout"


def test_a_graph_run_stops_all_its_steps(kernel, tmp_path):
    k = kernel(live=True)
    for name in "ab":
        (tmp_path / name).touch()
        k.run(
            f"%%step {name} --when not __import__('pathlib').Path('{name}').exists()\nimport time\ntime.sleep(60)\n{name} = 1"
        )
    for name in "ab":
        (tmp_path / name).unlink()
    k.run("%workflow new")
    cell = k.send("%workflow run")
    begun(k, "a")
    begun(k, "b")
    k.interrupt()
    result = k.wait(cell)
    assert result.error[0] == "RunStopped"
    assert sorted(names_of(status(k), "stopped")) == ["a", "b"]


def test_the_stop_is_in_the_store(k, folder):
    name, _ = stopped(k, "time.sleep(60)", lambda: k.control(op="suspend", by="run view"))
    _, rows = Store(folder / ".wfkernel" / "store.duckdb").query(f"SELECT outcome FROM attempts WHERE step = '{name}'")
    assert rows == [("suspended",)]


def test_retry_and_travel_forget_what_has_to_run_again(kernel, tmp_path):
    k = kernel(live=True)
    cells = {"a": "a = 1", "b": "b = a + 1", "other": "c = 1", "d": "d = b + c"}
    for name, body in cells.items():
        k.run(f"%%step {name}\nopen('ran', 'a').write('{name} ')\n{body}", cell_id=f"cell-{name}")

    def ran() -> str:
        (tmp_path / "ran").write_text("")
        for name, body in cells.items():
            k.run(f"%%step {name}\nopen('ran', 'a').write('{name} ')\n{body}", cell_id=f"cell-{name}")
        return (tmp_path / "ran").read_text()

    assert ran() == ""
    assert k.control(op="retry", step="b") == {"ok": True, "step": "b", "cell_id": "cell-b"}
    assert ran() == "b d "
    assert k.control(op="travel", step="b")["ok"]
    assert k.control(op="status")["run"]["steps"] == 4  # those that were forgotten are still to come
    assert ran() == "b other d "


def test_a_command_that_cannot_be_done_says_why(k):
    assert k.control(op="dance")["problems"][0][1].startswith("unknown command 'dance'. Known: suspend, cancel")
    assert "run 'other'" in k.control(op="suspend", run="other")["problems"][0][1]
    assert "has no step 'x'" in k.control(op="retry", step="x")["problems"][0][1]


def test_a_command_heard_twice_is_done_once(k):
    _, _ = stopped(
        k, "time.sleep(60)", lambda: [k.control(op="suspend", id="once"), k.control(op="suspend", id="once")]
    )
    assert k.control(op="suspend", id="once") == {"ok": True}


def test_the_list_of_runs_comes_from_the_store(k):
    listed = k.control(op="runs")
    assert [run["run_id"] for run in listed["runs"]] == [listed["current"]["run_id"]]


def test_another_process_stops_and_answers_the_run_of_a_busy_kernel(k, folder):
    store = Store(folder / ".wfkernel" / "store.duckdb")
    k.run(f"%%step {next(names)}\nok = True")
    run = status(k)["run_id"]
    try:
        name, result = stopped(k, "time.sleep(60)", lambda: store.send(run, {"op": "suspend", "by": "wf suspend"}))
        assert result.error == ("RunStopped", f"the run was suspended at step '{name}' (wf suspend)")
        asking = next(names)
        k.run("from wfkernel import suspend")
        k.run(f"%%step {asking}\nanswer = suspend()", cell_id=asking)
        reply = store.send(run, {"op": "resume", "step": asking, "data": 7})
        assert reply["ok"], reply
        k.run(f"%%step {asking}\nanswer = suspend()", cell_id=asking)
        assert k.value("answer") == "7"
    finally:
        store.close()
