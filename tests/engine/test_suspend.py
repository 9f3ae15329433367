"""Suspending and resuming, in memory: who is answered, with what, and what is not executed again."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.engine.conftest import go
from wfkernel.engine.context import suspend
from wfkernel.engine.failures import InputInvalid, ResumeTargetUnknown
from wfkernel.engine.run import Run
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import RunNotSuspended
from wfkernel.plan.step import step


class Approval(BaseModel):
    approve: bool
    note: str = "-"


class Question(BaseModel):
    text: str


calls: list[Any] = []


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


def asking(name: str, **options: Any) -> Any:
    async def work(x: Any, ctx: Any) -> Any:
        calls.append((name, x))
        return [x, ctx.suspend(**options)]

    work.__name__ = name
    return work


@step
async def plain(x: Any) -> Any:
    calls.append(("plain", x))
    return x


def suspended(flow: Workflow, value: Any = 1, **options: Any) -> Run:
    run = flow.commit().create_run()
    assert go(run.start(value, **options)).status == "suspended"
    return run


def test_a_resumed_step_gets_its_answer_and_nothing_before_it_runs_again() -> None:
    run = suspended(Workflow("w").then(plain).then(asking("ask", payload={"q": 1})).then(plain))
    assert run.result().suspended == [["ask"]]
    assert run.result().suspend_payload == {"ask": {"q": 1}}
    result = go(run.resume("yes"))
    assert result.result == [1, "yes"]
    assert calls == [("plain", 1), ("ask", 1), ("ask", 1), ("plain", [1, "yes"])]
    assert result.steps["ask"].resume_payload == "yes"
    assert result.steps["ask"].suspend_payload is None


def test_the_nth_suspend_returns_the_nth_answer() -> None:
    @step
    def twice(x: Any) -> Any:
        calls.append("ran")
        first = suspend(message="first?")
        second = suspend(Approval, "second?")
        return [first, second]

    run = suspended(Workflow("w").then(twice))
    assert go(run.resume(1)).status == "suspended"
    result = go(run.resume({"approve": True}))
    assert result.result == [1, Approval(approve=True)]
    assert calls == ["ran"] * 3


def test_the_step_sees_its_answer_and_what_it_suspended_with() -> None:
    @step(resume=Approval, suspend=Question)
    async def ask(x: Any, ctx: Any) -> Any:
        if ctx.resume_data is None:
            ctx.suspend(payload={"text": "ok?"})
        return [ctx.resume_data, ctx.suspend_data]

    run = suspended(Workflow("w").then(ask))
    assert go(run.resume(Approval(approve=False))).result == [Approval(approve=False), {"text": "ok?"}]


def test_an_answer_that_does_not_fit_is_refused_and_the_run_stays_suspended() -> None:
    for flow in (
        Workflow("w").then(step(resume=Approval, id="ask")(asking("ask"))),
        Workflow("w").then(asking("ask", model=Approval)),
    ):
        run = suspended(flow)
        with pytest.raises(InputInvalid, match="Invalid resume data: \n- approve: "):
            go(run.resume({"note": "x"}))
        assert run.status == "suspended"
        result = go(run.resume({"approve": True}))
        assert result.result == [1, Approval(approve=True)]


def test_a_suspend_payload_that_does_not_fit_fails_the_step() -> None:
    @step(suspend=Question)
    async def ask(x: Any, ctx: Any) -> Any:
        ctx.suspend(payload={"txt": 1})

    result = Workflow("w").then(ask).commit().run(1)
    assert result.error["message"] == "Step suspend data validation failed: \n- text: Field required"  # type: ignore[index]


def test_only_a_suspended_run_can_be_resumed() -> None:
    run = Workflow("w").then(plain).commit().create_run()
    with pytest.raises(RunNotSuspended, match="was not suspended"):
        go(run.resume())
    go(run.start(1))
    with pytest.raises(RunNotSuspended, match="is success"):
        go(run.resume())


def test_several_suspended_arms_are_answered_one_by_one() -> None:
    run = suspended(Workflow("w").parallel(asking("one"), asking("two"), plain).then(plain))
    assert run.result().suspended == [["one"], ["two"]]
    with pytest.raises(ResumeTargetUnknown, match=r"Multiple suspended steps found: \[one\], \[two\]"):
        go(run.resume("x"))
    with pytest.raises(
        ResumeTargetUnknown, match=r'"three" was not suspended. Available suspended steps: \[one, two\]'
    ):
        go(run.resume("x", step="three"))
    partly = go(run.resume("b", step="two"))
    assert (partly.status, partly.suspended) == ("suspended", [["one"]])
    result = go(run.resume("a"))
    assert result.result == {"one": [1, "a"], "two": [1, "b"], "plain": 1}
    assert [name for name, _ in calls].count("plain") == 2  # the arm, and the step after the join


def test_a_branch_is_resumed_without_asking_its_conditions_again() -> None:
    asked = []

    def condition(x: Any) -> bool:
        asked.append(x)
        return True

    run = suspended(Workflow("w").branch((condition, asking("ask")), (lambda x: False, plain)))
    assert go(run.resume("y")).result == {"ask": [1, "y"]}
    assert asked == [1]


def test_a_label_addresses_one_suspension() -> None:
    run = suspended(Workflow("w").parallel(asking("one", label="first"), asking("two", label=["second", "2nd"])))
    assert run.result().resume_labels == {"first": "one", "second": "two", "2nd": "two"}
    with pytest.raises(ResumeTargetUnknown, match=r'"third" not found. Available labels: \[first, second, 2nd\]'):
        go(run.resume("x", label="third"))
    go(run.resume("b", label="2nd"))
    assert go(run.resume("a", label="first")).result == {"one": [1, "a"], "two": [1, "b"]}


def test_a_label_that_items_share_means_all_of_them_or_the_one_of_the_index() -> None:
    run = suspended(Workflow("w").foreach(asking("ask", label="ok"), concurrency=3), [1, 2, 3])
    assert go(run.resume("one", label="ok", index=1)).status == "suspended"
    assert [run.state.step(f"ask[{n}]").status for n in range(3)] == ["suspended", "success", "suspended"]
    assert go(run.resume("all", label="ok")).result == [[1, "all"], [2, "one"], [3, "all"]]


def test_a_label_of_two_steps_is_refused_for_both() -> None:
    run = suspended(Workflow("w").parallel(asking("left", label="ok"), asking("right", label="ok")))
    with pytest.raises(ResumeTargetUnknown, match="Several suspended steps have the label"):
        go(run.resume("?", label="ok"))
    assert len(run.result().suspended) == 2


def test_an_index_means_the_foreach_that_is_named_with_the_item_around_it() -> None:
    inner = Workflow("inner").foreach(asking("ask"), concurrency=2).commit()
    run = suspended(Workflow("w").foreach(inner, concurrency=2), [[1, 2], [3, 4]])
    go(run.resume("this", step="inner[1].ask", index=0))
    assert [s.path for s in run.state.suspended_steps] == ["inner[0].ask[0]", "inner[0].ask[1]", "inner[1].ask[1]"]


@pytest.mark.parametrize("address", [None, "inner", "inner.ask", ["inner", "ask"], "entry"])
def test_a_step_inside_a_nested_workflow_is_found(address: Any) -> None:
    inner = Workflow("inner").then(plain).then(asking("ask")).commit()
    run = suspended(Workflow("w").then(inner))
    assert run.result().suspended == [["inner", "ask"]]
    given = run.result().suspended[0] if address == "entry" else address
    assert go(run.resume("y", step=given)).result == [1, "y"]
    assert [name for name, _ in calls] == ["plain", "ask", "ask"]


def test_items_of_a_foreach_are_answered_by_index_and_others_do_not_run_again() -> None:
    async def item(x: int, ctx: Any) -> Any:
        calls.append(x)
        return [x, ctx.suspend()] if x % 2 else x

    run = suspended(Workflow("w").foreach(item, concurrency=4), [0, 1, 2, 3])
    assert run.result().suspended == [["item"]]
    calls.clear()
    partly = go(run.resume("three", step="item", index=3))
    assert (partly.status, calls) == ("suspended", [3])
    assert go(run.resume("again", step="item", index=3)).status == "suspended"  # answered already: nothing happens
    result = go(run.resume("one", index=1))
    assert result.result == [0, [1, "one"], 2, [3, "three"]]
    assert calls == [3, 1]


def test_without_an_index_all_suspended_items_get_the_answer() -> None:
    run = suspended(Workflow("w").foreach(asking("item"), concurrency=3), [1, 2, 3])
    assert go(run.resume("y")).result == [[1, "y"], [2, "y"], [3, "y"]]


def test_items_not_yet_begun_run_when_the_suspended_one_is_answered() -> None:
    run = suspended(Workflow("w").foreach(asking("item")), [1, 2])
    assert go(run.resume("a")).status == "suspended"
    assert go(run.resume("b")).result == [[1, "a"], [2, "b"]]


@pytest.mark.parametrize("index", [9, -1])
def test_an_index_out_of_range_is_refused_before_anything_changes(index: int) -> None:
    run = suspended(Workflow("w").foreach(asking("item"), concurrency=3), [1, 2, 3])
    before = run.state.seq
    with pytest.raises(ResumeTargetUnknown, match=rf"Invalid index {index} .* range \[0, 2\]"):
        go(run.resume("y", step="item", index=index))
    assert (run.status, run.state.seq) == ("suspended", before)


def test_nested_workflows_in_a_foreach_are_answered_by_index() -> None:
    inner = Workflow("inner").then(plain).then(asking("ask")).commit()
    run = suspended(Workflow("w").foreach(inner, concurrency=2), [1, 2])
    calls.clear()
    assert go(run.resume("b", step="inner", index=1)).status == "suspended"
    assert go(run.resume("a", index=0)).result == [[1, "a"], [2, "b"]]
    assert [name for name, _ in calls] == ["ask", "ask"]


def test_a_loop_suspends_in_each_iteration_and_goes_on_in_it() -> None:
    iterations = []

    async def body(x: int, ctx: Any) -> int:
        iterations.append(ctx.iteration)
        return x + int(ctx.suspend())

    run = suspended(Workflow("w").do_while(body, lambda x: x < 3))
    assert go(run.resume(1)).status == "suspended"
    assert go(run.resume(1)).result == 3
    assert iterations == [1, 1, 2, 2]


def test_a_nested_workflow_in_a_loop_begins_anew_in_each_iteration() -> None:
    inner = Workflow("inner").then(plain).branch((lambda x: x > 1, asking("ask")), (lambda x: x <= 1, plain)).map(
        lambda d: next(iter(d.values()))[0] + 1 if "ask" in d else d["plain"] + 1
    ).commit()  # fmt: skip
    run = suspended(Workflow("w").do_while(inner, lambda x: x < 4))
    assert go(run.resume("x")).status == "suspended"
    assert go(run.resume("y")).result == 4


def test_state_set_before_suspending_is_kept() -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        if not ctx.state.get("asked"):
            ctx.set_state({"asked": True})
            ctx.suspend()
        return dict(ctx.state)

    run = suspended(Workflow("w").then(ask), state={"a": 1})
    assert go(run.resume("y")).result == {"a": 1, "asked": True}


def test_a_retry_after_a_resume_still_has_the_answer() -> None:
    @step(retries=1)
    async def ask(x: Any, ctx: Any) -> Any:
        answer = ctx.suspend()
        if ctx.retry_count == 0:
            raise OSError
        return answer

    run = suspended(Workflow("w").then(ask))
    assert go(run.resume("kept")).result == "kept"


def test_a_step_cannot_swallow_its_suspension() -> None:
    async def sly(x: Any, ctx: Any) -> Any:
        try:
            return ctx.suspend()
        except Exception:
            return "swallowed"

    run = suspended(Workflow("w").then(sly))
    assert go(run.resume("answered")).result == "answered"


def test_a_graph_is_resumed_where_it_stands() -> None:
    run = suspended(
        Workflow("w").add(plain).add(asking("ask"), needs=plain).add(step(id="end")(lambda x: x), needs="ask")
    )
    assert go(run.resume("y")).result == [1, "y"]
    assert [name for name, _ in calls] == ["plain", "ask", "ask"]
