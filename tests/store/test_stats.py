"""The figures of workflows and steps are those anybody gets who counts the events."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

import pytest

from tests.store.test_checkpoints import sql
from wfkernel import Workflow, step
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState
from wfkernel.store.stats import stats
from wfkernel.store.store import Store

_random = random.Random(7)


@step(retries=2)
def load(n: int) -> list[int]:
    time.sleep(_random.uniform(0, 0.01))
    if _random.random() < 0.4:
        raise ConnectionError("gone")
    return list(range(n))


@step
def square(n: int) -> int:
    return n * n


@step
def check(values: list[int]) -> int:
    if len(values) == 3:
        raise ValueError("three")
    return sum(values)


@pytest.fixture(scope="module")
def worked(tmp_path_factory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("stats") / "store.duckdb")
    wf = Workflow("numbers", input=int, store=store).then(load).foreach(square).then(check).commit()
    for number in range(20):
        wf.run(number % 5)
    Workflow("other", input=int, store=store).then(square).then(square).commit().run(3)
    yield store
    store.close()


def test_the_figures_are_what_the_events_say(worked):
    runs = {run["run_id"]: run for run in worked.runs(limit=100) if run["workflow"] == "numbers"}
    took: dict[str, list[float]] = {"load": [], "square[]": [], "check": []}
    executed = dict.fromkeys(took, 0)
    failed = dict.fromkeys(took, 0)
    for run_id in runs:
        for event in worked.events(run_id):
            name = event.path.partition("[")[0] + ("[]" if event.path.endswith("]") else "")
            if name not in took:
                continue  # the run itself, and the foreach around its items
            if event.type == "step.start":
                executed[name] += 1
            elif event.type == "step.result" and event.payload["status"] == "success":
                took[name].append(event.payload["duration"])
            elif event.type == "step.result":
                failed[name] += 1
    found = {one.step: one for one in stats(worked, "numbers")}
    whole, loop = found.pop(""), found.pop("square")
    assert (whole.count, whole.succeeded) == (20, sum(run["status"] == "success" for run in runs.values()))
    assert (loop.count, loop.mean) == (executed["check"], None), "what holds others takes what they take"
    assert set(found) == set(took)
    assert failed["load"] + failed["check"] > 0
    for name, one in found.items():
        assert (one.succeeded, one.failed) == (len(took[name]), failed[name]), name
        assert one.count + one.repeats == executed[name]
        assert one.mean == pytest.approx(statistics.mean(took[name]))
        assert one.median == pytest.approx(statistics.median(took[name]))
        assert one.longest == max(took[name])
    assert found["load"].repeats > 0


def test_a_step_that_was_restored_after_it_had_run_counts_with_what_it_took(store):
    run = ScriptRun(store, RunState("r"))
    run.emit("run.start", {"status": "running", "workflow": "resumed"})
    run.emit("step.start", {}, "load", 1)
    run.emit("step.result", {"status": "success", "duration": 2.5}, "load", 1)
    run.emit("step.restored", {}, "load", 1)
    (load,) = (one for one in stats(store, "resumed") if one.step)
    assert (load.count, load.mean) == (1, 2.5)


def test_the_mean_in_sql_is_the_same(worked):
    ((mean,),) = worked.query(
        "SELECT avg(s.seconds) FROM steps s JOIN runs r USING (run_id) "
        "WHERE r.workflow = 'numbers' AND s.step = 'load' AND s.status = 'success'"
    )[1]
    (load_,) = [one for one in stats(worked) if (one.workflow, one.step) == ("numbers", "load")]
    assert mean == pytest.approx(load_.mean, abs=1e-4)  # the view rounds


def test_a_clock_that_was_set_back_gives_no_time_below_0(store):
    run = Workflow("w", input=int, store=store).then(square).commit().create_run("r")
    run.sync.start(2)
    sql(store, "UPDATE wf.runs SET started = started + 86400")
    sql(store, "UPDATE wf.events SET ts = ts + 86400 WHERE type = 'step.start'")
    assert store.runs()[0]["seconds"] == 0
    assert store.query("SELECT seconds FROM attempts")[1] == [(0,)]
    (figures, _) = stats(store)
    assert (figures.count, figures.mean) == (1, None)


def test_calls_of_one_step_count_together_and_a_workflow_comes_before_its_steps(worked):
    assert [(one.step, one.count) for one in stats(worked, "other")] == [("", 1), ("square", 2)]
    assert [one.step for one in stats(worked)].index("") == 0
    assert stats(worked, "nosuch") == []
