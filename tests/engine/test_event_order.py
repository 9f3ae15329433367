"""The order of events, construct by construct."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import go, story
from wfkernel.engine.failures import Tripwire
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step


@step
async def a(x: Any) -> Any:
    return x


@step
async def b(x: Any) -> Any:
    return x


@step
async def up(x: int) -> int:
    return x + 1


@step
async def fail(x: Any) -> Any:
    raise ValueError("no")


@step(retries=1)
async def flaky(x: Any, ctx: Any) -> Any:
    if ctx.retry_count == 0:
        raise ValueError("once")
    return x


@step
async def trip(x: Any) -> Any:
    raise Tripwire("unsafe")


@step
async def ask(x: Any, ctx: Any) -> Any:
    return ctx.suspend(message="well?")


@step
async def bail(x: Any, ctx: Any) -> Any:
    ctx.bail("early")


@step
async def abort(x: Any, ctx: Any) -> Any:
    ctx.abort()
    return x


INNER = Workflow("n").then(a).then(b).commit()


def wf() -> Workflow:
    return Workflow("w")


TABLE: dict[str, tuple[Workflow, Any, str]] = {
    "sequence": (wf().then(a).then(b), 1, "start S(a) R(a) S(b) R(b) finish(success)"),
    "parallel": (wf().parallel(a, b), 1, "start S(a) R(a) S(b) R(b) finish(success)"),
    "branch": (wf().branch((lambda x: x > 0, a), (lambda x: x < 0, b)), 1, "start S(a) R(a) finish(success)"),
    "branch, no arm": (wf().branch((lambda x: x > 5, a)), 1, "start finish(success)"),
    "do while": (wf().do_while(up, lambda x: x < 3), 1, "start S(up) R(up) S(up) R(up) finish(success)"),
    "do until": (wf().do_until(up, lambda x: x > 3), 3, "start S(up) R(up) finish(success)"),
    "foreach": (
        wf().foreach(up), [1, 2], "start S(up) progress(up) progress(up) R(up) finish(success)",
    ),
    "foreach, empty": (wf().foreach(up), [], "start S(up) R(up) finish(success)"),
    "map": (wf().map(lambda x: x, id="m"), 1, "start S(m) R(m) finish(success)"),
    "sleep": (wf().sleep(0.001, id="z"), 1, "start waiting(z) waiting continue R(z) finish(success)"),
    "nested": (wf().then(INNER), 1, "start S(n) S(n.a) R(n.a) S(n.b) R(n.b) R(n) finish(success)"),
    "suspend": (wf().then(ask).then(a), 1, "start S(ask) suspended(ask) suspended"),
    "failure": (wf().then(fail).then(a), 1, "start S(fail) R(fail:failed) finish(failed)"),
    "retry": (wf().then(flaky), 1, "start S(flaky) retry(flaky) S(flaky) R(flaky) finish(success)"),
    "tripwire": (wf().then(trip), 1, "start S(trip) R(trip:failed) finish(tripwire)"),
    "bail": (wf().then(bail).then(a), 1, "start S(bail) R(bail) finish(success)"),
    "abort": (wf().then(abort).then(a), 1, "start S(abort) R(abort) cancel finish(canceled)"),
    "graph": (
        wf().add(a).add(b, needs=a).add(up, needs=[b]), 1, "start S(a) R(a) S(b) R(b) S(up) R(up) finish(success)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("construct", TABLE)
def test_events_come_in_this_order(construct: str) -> None:
    workflow, value, expected = TABLE[construct]
    run = workflow.commit().create_run()
    told = story(run)
    go(run.start(value))
    assert " ".join(told) == expected


def test_one_step_at_a_time() -> None:
    run = wf().then(a).then(b).commit().create_run()
    told = story(run)
    go(run.start(1, per_step=True))
    assert " ".join(told) == "start S(a) R(a) paused"


def test_resuming_goes_on_with_the_suspended_step() -> None:
    run = wf().then(ask).then(a).commit().create_run()
    go(run.start(1))
    told = story(run)
    go(run.resume("yes"))
    assert " ".join(told) == "resumed(ask) resume S(ask) R(ask) S(a) R(a) finish(success)"


def test_every_event_has_the_next_number() -> None:
    run = wf().parallel(a, b).then(INNER).commit().create_run()
    numbers: list[int] = []
    run.watch(lambda event: numbers.append(event.seq))
    go(run.start(1))
    assert numbers == list(range(1, len(numbers) + 1))
