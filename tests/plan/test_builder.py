"""The builder tells mistakes where they are made."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.builder import Definition, clone_step
from wfkernel.plan.duration import seconds, timestamp
from wfkernel.plan.nodes import Graph
from wfkernel.plan.step import spec_of, step


@step(retries=2)
def a(x: Any) -> Any:
    return x


@step
def b(x: Any) -> Any:
    return x


def test_an_empty_or_uncommitted_workflow_does_not_run() -> None:
    with pytest.raises(DefinitionError, match="Execution flow of workflow 'w' is not defined"):
        Workflow("w").create_run()
    with pytest.raises(DefinitionError, match="Uncommitted step flow changes detected"):
        Workflow("w").then(a).create_run()


def test_a_committed_workflow_cannot_be_changed() -> None:
    with pytest.raises(DefinitionError, match="is committed"):
        Workflow("w").then(a).commit().then(b)


def test_a_clone_keeps_everything_but_the_id() -> None:
    wf = Workflow("w", input=int, state=dict, retries=3, validate=False).then(a).commit()
    clone = wf.clone("v")
    assert (clone.id, clone.nodes, clone.committed) == ("v", wf.nodes, True)
    assert (clone.input, clone.state, clone.retry, clone.options) == (int, dict, wf.retry, wf.options)
    assert type(clone) is Workflow


def test_a_cloned_step_keeps_its_options() -> None:
    assert spec_of(clone_step(a, id="a2")).retry == spec_of(a).retry
    assert clone_step(a, id="a2")(5) == 5


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda w: w.parallel(), ".parallel() needs at least one step"),
        (lambda w: w.parallel(a, a), "two steps of parallel have the id 'a'"),
        (lambda w: w.branch(a), "an arm of branch is (condition, step)"),
        (lambda w: w.do_while(a, True), "the condition of a loop is a function"),
        (lambda w: w.foreach(a, concurrency="4"), "concurrency is a whole number or a function"),
        (lambda w: w.map(3), "map takes a function or a mapping"),
        (lambda w: w.map({"x": 3}), "map key 'x': a source is"),
        (lambda w: w.map({"x": {"template": "${ a }"}}), "empty or padded"),
        (lambda w: w.map({"x": {"template": "${who.name}"}}), "begins with 'who'"),
        (lambda w: w.map({"x": {"template": "${steps}"}}), "must name a step"),
        (lambda w: w.sleep("a while"), "is not a duration"),
        (lambda w: w.sleep_until("tomorrow"), "is not a date and time"),
        (lambda w: w.then(3), "a step is a function or a workflow"),
        (lambda w: w.then(Definition("inner").then(a)), "Uncommitted"),
        (lambda w: w.add(a, needs="zz").commit(), "step 'a' needs 'zz', which is not in the graph"),
        (
            lambda w: w.add(a, needs="b").add(b, needs="a").commit(),
            "the steps need each other in a circle: a -> b -> a",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(build: Any, told: str) -> None:
    with pytest.raises(DefinitionError) as error:
        build(Workflow("w"))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_mappings_and_sleeps_are_named_by_their_place() -> None:
    wf = Workflow("w").map(lambda x: x).map(lambda x: x).sleep(1).map(lambda x: x, id="named").commit()
    assert [node.id for node in wf.nodes] == ["mapping_w_1", "mapping_w_2", "sleep_1", "named"]


def test_consecutive_adds_make_one_graph_whose_ends_are_its_output() -> None:
    wf = Workflow("w").add(a).add(b, needs=a).commit()
    (graph,) = wf.nodes
    assert isinstance(graph, Graph)
    assert graph.ends == ("b",)


def test_durations_and_moments() -> None:
    assert [seconds(d) for d in (5, "500ms", "2h 30m", "1d", timedelta(minutes=1), -3)] == [5, 0.5, 9000, 86400, 60, 0]
    assert timestamp("1970-01-01T00:01:00+00:00") == 60
