"""What is validated when, what an error says, and what lifecycle callbacks are told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.engine.conftest import go, story
from wfkernel.engine.failures import InputInvalid
from wfkernel.engine.result import RunInfo
from wfkernel.engine.sessions import Session
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step


class Order(BaseModel):
    id: int
    rush: bool = False


@step
async def take(order: Order) -> Any:
    return order


@step
async def ask(x: Any, ctx: Any) -> Any:
    return ctx.suspend(message="well?")


def test_the_input_is_validated_before_anything_runs() -> None:
    run = Workflow("w", input=Order).then(take).commit().create_run()
    told = story(run)
    with pytest.raises(InputInvalid) as error:
        go(run.start({"id": "x", "rush": "maybe"}))
    lines = str(error.value).splitlines()
    assert lines[0] == "Invalid input data: "
    assert lines[1].startswith("- id: Input should be a valid integer")
    assert lines[2].startswith("- rush: ")
    assert (told, run.status) == ([], "pending")
    assert go(run.start({"id": "3"})).result == Order(id=3)


def test_a_step_input_that_does_not_fit_fails_the_step() -> None:
    result = Workflow("w").then(take).commit().run({"rush": True})
    assert result.status == "failed"
    assert result.error is not None
    assert result.error["message"] == "Step input validation failed: \n- id: Field required"
    assert result.error["issues"] == [["id", "Field required"]]


def test_validation_can_be_switched_off() -> None:
    assert Workflow("w", input=Order, validate=False).then(take).commit().run("anything").result == "anything"


def test_outputs_are_never_validated() -> None:
    @step
    async def liar(x: Any) -> int:
        return "not a number"  # type: ignore[return-value]

    assert Workflow("w", output=int).then(liar).commit().run(1).result == "not a number"


def test_callbacks_are_told_everything_also_after_a_resume() -> None:
    told: list[tuple[str, RunInfo]] = []
    flow = Workflow(
        "w", on_start=lambda info: told.append(("start", info)), on_finish=lambda info: told.append(("finish", info)),
        on_error=lambda info: told.append(("error", info)),
    ).then(ask).commit()  # fmt: skip
    run = flow.create_run("r1", session=Session("s1"), resource="user-7")
    go(run.start({"n": 1}, state={"k": 2}))
    go(run.resume("yes"))
    assert [(what, info.status) for what, info in told] == [
        ("start", ""),
        ("finish", "suspended"),
        ("finish", "success"),
    ]
    last = told[-1][1]
    assert (last.run_id, last.workflow_id, last.session, last.resource) == ("r1", "w", "s1", "user-7")
    assert (last.input, last.state, last.result, last.execution_path) == ({"n": 1}, {"k": 2}, "yes", ["ask"])
    assert last.steps["ask"].status == "success"


def test_on_error_follows_on_finish_and_their_own_errors_change_nothing() -> None:
    order = []

    async def finish(info: RunInfo) -> None:
        order.append(("finish", info.error["type"]))  # type: ignore[index]
        raise RuntimeError("a callback's own problem")

    def error(info: RunInfo) -> None:
        order.append(("error", info.error["message"]))  # type: ignore[index]

    async def fail(x: Any) -> None:
        raise ValueError("no")

    assert Workflow("w", on_finish=finish, on_error=error).then(fail).commit().run(1).status == "failed"
    assert order == [("finish", "ValueError"), ("error", "no")]


def test_what_on_start_raises_refuses_the_start() -> None:
    def refuse(info: RunInfo) -> None:
        raise PermissionError("not today")

    run = Workflow("w", on_start=refuse).then(ask).commit().create_run()
    with pytest.raises(PermissionError, match="not today"):
        go(run.start(1))
    assert run.status == "pending"
