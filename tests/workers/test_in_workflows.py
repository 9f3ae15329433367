"""One workflow, each of its steps on each worker: same result, same events but for the timing."""

from __future__ import annotations

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
