"""A run that another process executes: canceled, suspended and watched from here. Real processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Elsewhere, go
from wfkernel import suspend
from wfkernel.engine.events import Event
from wfkernel.engine.failures import RunActive, RunNotActive
from wfkernel.engine.run import Run
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import RunExists
from wfkernel.store.store import Store

WORK = """
    async def listen(x, ctx):
        print("in", flush=True)
        await ctx.signal.wait()
        return "stopped early"

    async def deaf(x):
        print("in", flush=True)
        while not log.exists():      # keeps the event loop busy until it is told otherwise
            time.sleep(0.01)
        return "ended by itself"

    async def gate(x, ctx):
        print("in", flush=True)
        while not log.exists():
            await asyncio.sleep(0.01)
        ctx.write("half way")
        await ctx.writer.custom({"type": "sum", "n": x})
        return {"x": x}

    async def last(x):
        note("last")
        return x

    @step
    async def ask(x, ctx):
        return ctx.suspend(None, "go on?")

    async def main():
        result = await flow.create_run("r").start(1)
        print(json.dumps([result.status, result.result]), flush=True)
"""


def begin(elsewhere: Elsewhere, flow: str) -> subprocess.Popen[str]:
    """A process that executes run ``r`` of the flow and is in its first step."""
    process = elsewhere.start(
        f'{WORK}\n    flow = Workflow("w", store=store){flow}.commit()\n    asyncio.run(main())\n'
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n", process.communicate()[1]
    return process


def told(process: subprocess.Popen[str]) -> Any:
    """What the process says its run came to."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


async def ask(x: Any) -> Any:
    return suspend(message="go on?")


async def nothing(x: Any) -> Any:
    return x


def here(store: Store, *names: str) -> Run:
    """The same run, as this process gets it."""
    from wfkernel.plan.builder import clone_step

    flow = Workflow("w", store=store)
    for name in names:
        flow = flow.then(clone_step(nothing, id=name))
    return flow.commit().create_run("r")


def test_cancel_reaches_the_process_that_executes_the_run(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, ".then(listen).then(last)")
    go(here(store, "listen", "last").cancel("enough"))
    assert told(process) == ["canceled", None]
    assert elsewhere.log == []
    reasons = [e.payload["reason"] for e in store.events("r") if e.type == "run.cancel"]
    assert reasons == ["enough"]


def test_cancel_is_acted_upon_while_a_step_keeps_the_event_loop_busy(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, ".then(deaf).then(last)")
    reply = store.send("r", {"op": "cancel", "by": "a test"})
    assert reply == {"ok": True, "status": "canceled"}
    (elsewhere.path.parent / "log").touch()
    assert told(process)[0] == "canceled"
    assert elsewhere.log == []


def test_suspended_from_here_it_pauses_before_its_next_step_and_goes_on_here(
    elsewhere: Elsewhere, store: Store
) -> None:
    process = begin(elsewhere, ".then(gate).then(last)")
    run = here(store, "gate", "last")
    go(run.suspend("lunch"))
    (elsewhere.path.parent / "log").touch()
    assert told(process) == ["paused", None]
    assert elsewhere.log == []
    assert [e.payload["reason"] for e in store.events("r") if e.type == "run.paused"] == ["lunch"]
    result = go(run.resume())
    assert (result.status, result.result) == ("success", {"x": 1})


def test_a_sleep_is_left_at_once_and_slept_on_later(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, '.then(gate).sleep(600, id="rest").then(last)')
    run = Workflow("w", store=store).then(nothing).commit().create_run("r")
    waiting = threading.Event()
    end = run.watch(lambda event: waiting.set() if event.type == "run.waiting" else None)
    (elsewhere.path.parent / "log").touch()
    assert waiting.wait(20)
    end()
    go(run.suspend())
    assert told(process) == ["paused", None]
    assert store.load("r").step("rest").wake_at is not None


def test_a_run_nobody_executes_cannot_be_suspended(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, ".then(listen)")
    process.kill()
    process.wait()
    run = here(store, "listen")
    with pytest.raises(RunNotActive, match="not being executed"):
        go(run.suspend())
    with pytest.raises(RunNotActive, match="not being executed by any process"):
        store.send("r", {"op": "suspend"})
    go(run.cancel())  # but canceled
    assert run.status == "canceled"


def test_an_unknown_command_is_refused_by_name(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, ".then(listen)")
    reply = store.send("r", {"op": "explode"})
    assert not reply["ok"]
    assert "unknown command 'explode'" in reply["problems"][0][1]
    assert store.send("r", {"op": "status"}) == {"ok": True, "status": "running"}
    go(here(store, "listen").cancel())
    told(process)


def test_watchers_see_what_another_process_does_as_it_happens(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, ".then(gate).then(last)")
    run = here(store, "gate", "last")
    seen: list[Event] = []
    ended = threading.Event()

    def note(event: Event) -> None:
        seen.append(event)
        if event.type == "run.finish":
            ended.set()

    run.watch(note)
    (elsewhere.path.parent / "log").touch()
    assert ended.wait(20)
    told(process)
    kinds = [(event.type, event.path) for event in seen]
    assert kinds == [
        ("step.output", "gate"), ("step.custom", "gate"), ("step.result", "gate"), ("step.start", "last"),
        ("step.result", "last"), ("run.finish", ""),
    ]  # fmt: skip
    assert seen[1].payload["data"] == {"type": "sum", "n": 1}
    assert seen[2].payload["output"] == {"x": 1}, "values are revealed"
    assert run.status == "success"
    assert run.result().result == {"x": 1}


def test_a_stream_of_it_begins_with_what_has_happened_and_ends_with_the_run(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, ".then(gate).then(last)")
    run = here(store, "gate", "last")

    async def follow() -> tuple[list[str], Any]:
        stream = run.stream()
        types = []
        async for event in stream:
            types.append(event.type)
            if event.type == "step.start" and event.path == "gate":
                (elsewhere.path.parent / "log").touch()
        return types, await stream.result

    types, result = go(follow())
    told(process)
    assert types[:2] == ["run.start", "step.start"]
    assert types[-1] == "run.finish"
    assert (result.status, result.result) == ("success", {"x": 1})


def test_a_stream_ends_when_the_process_it_follows_dies(elsewhere: Elsewhere, store: Store) -> None:
    process = begin(elsewhere, ".then(listen)")
    run = here(store, "listen")

    async def follow() -> list[str]:
        types = []
        async for event in run.observe():
            types.append(event.type)
            if event.type == "step.start":
                process.kill()
                process.wait()
        return types

    assert go(asyncio.wait_for(follow(), 20)) == ["run.start", "step.start"]


def test_watchers_stay_when_a_third_process_resumes_the_run(elsewhere: Elsewhere, store: Store) -> None:
    process = elsewhere.start(f'{WORK}\n    flow = Workflow("w", store=store).then(ask).then(last).commit()\n'
                              '    asyncio.run(main())\n')  # fmt: skip
    assert told(process)[0] == "suspended"
    run = here(store, "ask", "last")
    seen: list[str] = []
    ended = threading.Event()

    def note(event: Event) -> None:
        seen.append(event.type)
        if event.type == "run.finish":
            ended.set()

    run.watch(note)
    elsewhere.run(f'{WORK}\n    flow = Workflow("w", store=store).then(ask).then(last).commit()\n'
                  '    asyncio.run(flow.create_run("r").resume("yes"))\n    store.close()\n')  # fmt: skip
    assert ended.wait(20)
    assert seen[:2] == ["step.resumed", "run.resume"]
    assert seen[-1] == "run.finish"
    assert run.result().result == "yes"


def test_of_two_processes_that_start_one_run_exactly_one_wins(elsewhere: Elsewhere, store: Store) -> None:
    script = """
        async def work(x):
            note("work")
            return x

        run = Workflow("w", store=store).then(work).commit().create_run("same")
        (log.parent / f"ready{sys.argv[2]}").touch()
        while len(list(log.parent.glob("ready*"))) < 2:
            time.sleep(0.001)
        try:
            print(asyncio.run(run.start(int(sys.argv[2]))).status)
        except WorkflowError as error:
            print(f"{type(error).__name__}: {error}")
        store.close()
    """
    both = [elsewhere.start(script, str(number)) for number in (1, 2)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert said[1] == "success"
    assert (
        said[0].startswith("RunActive: run 'same' was started by somebody else first") or "is being executed" in said[0]
    )
    assert elsewhere.log == ["work"]
    assert [event.seq for event in store.events("same")] == list(range(1, store.load("same").seq + 1))


def test_a_run_that_ended_can_be_started_once_more(store: Store) -> None:
    flow = Workflow("w", store=store).then(nothing).commit()
    unused = flow.create_run("again")
    assert go(flow.create_run("again").start(1)).result == 1
    assert go(flow.create_run("again").start(2)).result == 2
    with pytest.raises(RunActive, match="started by somebody else first"):
        go(unused.start(3))


def test_a_run_that_can_be_gone_on_with_is_not_started_anew(store: Store) -> None:
    flow = Workflow("w", store=store).then(ask).commit()
    assert go(flow.create_run("r").start(1)).status == "suspended"
    with pytest.raises(RunExists, match="there is a run 'r' already, it is suspended: `wf resume r` goes on"):
        go(flow.create_run("r").start(1))
    assert go(flow.create_run("r").resume(2)).result == 2
    with pytest.raises(RunExists, match="it is success"):
        go(Workflow("other", store=store).then(nothing).commit().create_run("r").start(1))


def test_the_address_of_a_process_is_readable_by_its_user_only(
    elsewhere: Elsewhere, store: Store, tmp_path: Path
) -> None:
    process = begin(elsewhere, ".then(listen)")
    addresses = list((elsewhere.path.parent / "owners").glob("*.json"))
    assert [file.stat().st_mode & 0o777 for file in addresses] == [0o600]
    address = json.loads(addresses[0].read_text())
    addresses[0].write_text(json.dumps({**address, "token": "guessed"}))
    with pytest.raises(RunNotActive):
        store.send("r", {"op": "cancel"})
    addresses[0].write_text(json.dumps(address))
    assert store.send("r", {"op": "cancel"})["ok"]
    told(process)
