"""Running workflows in tests: no waiting, answers given beforehand, every event at hand."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from wfkernel import suspend, write
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step
from wfkernel.testing import FakeClock, MemoryLog, assert_events, event_types, expect, run_workflow, try_workflow


class Approval(BaseModel):
    approve: bool


@step
def load(rows: int) -> int:
    write("loading")
    return rows * 2


@step
async def approve(rows: int) -> int:
    decision = suspend(Approval, f"{rows} rows?")
    return rows if decision.approve else 0


REPORT = Workflow("report").then(load).sleep("2d").then(approve).commit()


def test_a_run_to_its_end_with_answers_and_days_of_sleep():
    trial = run_workflow(REPORT, 3, answers={"approve": {"approve": True}})
    assert (trial.result.status, trial.result.result) == ("success", 6)
    assert trial.clock.slept == [2 * 86_400]
    assert_events(
        trial.events,
        ["run.start", "step.start load", expect("step.output", "load", text="loading"), "step.result load", ...,
         "step.suspended approve", ..., "step.resumed approve", ..., "step.result approve", "run.finish"],
    )  # fmt: skip


def test_a_question_without_an_answer_ends_the_trial():
    trial = run_workflow(REPORT, 3)
    assert trial.result.status == "suspended"
    assert event_types(trial.events)[-1] == "run.suspended"


def test_answers_are_given_one_after_the_other():
    @step
    async def ask() -> list[int]:
        return [suspend(None, "first?"), suspend(None, "second?")]

    trial = run_workflow(Workflow("asking").then(ask).commit(), answers={"ask": [1, 2]})
    assert trial.result.result == [1, 2]


def test_the_times_of_events_are_those_of_the_clock():
    trial = run_workflow(REPORT, 3)
    assert trial.events[-1].ts - trial.events[0].ts == 2 * 86_400


def test_retries_take_no_time():
    attempts = []

    @step(retries=3, delay="1h", backoff=2)
    async def flaky() -> int:
        attempts.append(1)
        if len(attempts) < 4:
            raise OSError("not yet")
        return len(attempts)

    trial = run_workflow(Workflow("flaky").then(flaky).commit())
    assert trial.result.result == 4
    assert trial.clock.slept == [3600, 7200, 14400]


def test_log_and_clock_can_be_shared_by_runs_of_one_test():
    async def scenario():
        log, clock = MemoryLog(), FakeClock(start=0)
        await try_workflow(REPORT, 1, log=log, clock=clock)
        await try_workflow(REPORT, 2, log=log, clock=clock)
        return len(log.runs), clock.now()

    assert asyncio.run(scenario()) == (2, 4 * 86_400)


def test_the_workflow_itself_is_not_changed():
    before = REPORT.options
    run_workflow(REPORT, 1)
    assert REPORT.options is before
