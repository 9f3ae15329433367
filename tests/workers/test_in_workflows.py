"""One workflow, each of its steps on each worker: same result, same events but for the timing."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel

from wfkernel import progress, suspend, write
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step
from wfkernel.testing import assert_events, event_lines, expect, run_workflow


class Answer(BaseModel):
    approve: bool


def build(worker: str) -> Workflow:
    @step(worker=worker)
    def double(n: int) -> int:
        write("doubling", n)
        progress(1, 1, "done")
        return n * 2

    @step(worker=worker)
    def approve(n: int) -> int:
        answer = suspend(Answer, f"{n}?")
        return n if answer.approve else 0

    @step(worker=worker, retries=1)
    def fail(n: int) -> int:
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError(f"cannot take {n}") from error

    return Workflow("mixed").then(double).then(approve).then(fail).commit()


def told(worker: str) -> tuple[list[str], list[object]]:
    """Event lines, and what does not depend on time or place in the payloads."""
    trial = run_workflow(build(worker), 4, answers={"approve": {"approve": True}})
    assert trial.result.status == "failed"
    picked = []
    for event in trial.events:
        error = event.payload.get("error") or {}
        picked.append(
            {
                **{k: event.payload.get(k) for k in ("input", "output", "text", "message", "schema", "status")},
                **{k: error.get(k) for k in ("type", "message", "cause")},
            }
        )
    return event_lines(trial.events), picked


@pytest.mark.usefixtures("dask_client")
@pytest.mark.parametrize("worker", ["threads", "processes", "dask"])
def test_the_same_events_as_inline(worker):
    assert told(worker) == told("inline")


def wide(worker: str) -> Workflow:
    """Arms, items, iterations, state, a nested workflow and a compensation, all on `worker`."""

    @step(worker=worker, compensate=lambda output: None)
    def left(n: int, ctx) -> int:
        ctx.set_state({"left": n})
        return n + 1

    @step(worker=worker)
    def right(n: int, ctx) -> int:
        ctx.writer.custom({"type": "note", "n": n, "by": ctx.run_id != ""})
        ctx.set_state({"right": -n})
        return os.getpid() * 0 + n * 10

    @step(worker=worker)
    def item(n: int, ctx) -> int:
        progress(1, 1, f"item {ctx.index}")
        return n * n

    @step(worker=worker)
    def count(n: int, ctx) -> int:
        ctx.set_state({"count": ctx.state.get("count", 0) + 1})
        return n + 1

    @step(worker=worker)
    def refuse(n: int, ctx) -> None:
        raise ValueError(f"{n} with {sorted(ctx.state.items())}")

    inner = Workflow("inner").then(count).commit()
    return (
        Workflow("wide")
        .parallel(left, right)
        .map(lambda arms: [arms["left"], arms["right"]])
        .foreach(item, concurrency=2)
        .map(sum)
        .do_while(count, lambda n, ctx: ctx.iteration < 3)
        .then(inner)
        .then(refuse)
        .commit()
    )


def told_by_step(worker: str) -> dict[str, list[object]]:
    """What happened to each step, in its order; steps that ran side by side may interleave in any way."""
    trial = run_workflow(wide(worker), 4)
    assert trial.result.error["message"] == "1629 with [('count', 4), ('left', 4), ('right', -4)]"
    found: dict[str, list[object]] = {}
    for event in trial.events:
        payload = {k: event.payload.get(k) for k in ("status", "output", "data", "state", "label", "arms", "iteration")}
        if event.type == "step.progress" and event.path == "item":
            payload = {}  # how many items are done depends on which ends first
        found.setdefault(event.path, []).append((event.type, payload))
    return found


@pytest.mark.usefixtures("dask_client")
@pytest.mark.parametrize("worker", ["threads", "processes", "dask"])
def test_a_wide_plan_gives_the_same_events_on_every_worker(worker):
    assert told_by_step(worker) == told_by_step("inline")


def test_a_plan_uses_both_processes_of_the_cluster(dask_client):
    def where(n: int) -> int:
        import time

        time.sleep(0.2)
        return os.getpid()

    flow = Workflow("spread").foreach(step(where, worker="dask"), concurrency=4).commit()
    found = set(run_workflow(flow, [1, 2, 3, 4]).result.unwrap())
    assert found == set(dask_client.run(os.getpid).values())


@pytest.mark.usefixtures("dask_client")
def test_canceling_a_run_reaches_its_step_in_the_cluster(tmp_path):
    began = tmp_path / "began"

    def listen(x: int, ctx) -> str:
        began.touch()
        assert ctx.signal.wait_blocking(30)
        return ctx.signal.reason

    async def scene():
        run = Workflow("far").then(step(listen, worker="dask")).commit().create_run()
        going = asyncio.ensure_future(run.start(1))
        while not began.exists():
            await asyncio.sleep(0.02)
        await run.cancel("enough")
        return await going

    result = asyncio.run(scene())
    assert result.status == "canceled"
    assert result.steps["listen"].output == "enough"


def test_a_death_is_an_event_and_the_step_is_executed_again(tmp_path):
    counter = str(tmp_path / "deaths")

    @step(worker="processes", restarts=2)
    def fragile() -> str:
        path = Path(counter)
        died = int(path.read_text()) if path.exists() else 0
        print("about to die" if died < 2 else "well", flush=True)
        if died < 2:
            path.write_text(str(died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return f"alive after {died}"

    trial = run_workflow(Workflow("fragile").then(fragile).commit())
    assert trial.result.result == "alive after 2"
    died = expect("step.died", "fragile", exit_code=None, signal="SIGKILL", last_output=["about to die"])
    assert_events(trial.events, ["run.start", "step.start fragile", died, died, "step.result fragile", "run.finish"])
    assert trial.clock.slept == [1.0, 2.0]


def test_beyond_the_restarts_the_step_has_failed():
    @step(worker="processes", retries=5)
    def hopeless() -> None:
        os._exit(9)

    trial = run_workflow(Workflow("hopeless").then(hopeless).commit())
    assert trial.result.status == "failed"
    assert trial.result.error["type"] == "WorkerDied"
    assert_events(
        trial.events,
        ["run.start", "step.start hopeless", expect("step.died", "hopeless", exit_code=9, delay=None),
         "step.result hopeless", "run.finish"],
    )  # fmt: skip


def test_an_argument_that_cannot_travel_fails_the_step_with_its_name():
    @step(worker="threads")
    def make() -> dict[str, object]:
        return {"lock": threading.Lock()}

    @step(worker="processes")
    def take(lock: object) -> None:
        pass

    trial = run_workflow(Workflow("sending").then(make).then(take).commit())
    assert trial.result.error["type"] == "DefinitionError"
    assert "step 'take': its argument 1 cannot be sent" in trial.result.error["message"]
