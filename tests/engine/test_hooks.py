"""Hooks: every declared point is fired, every verdict does what it says, and a failing hook harms nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.engine.conftest import go
from wfkernel.engine.failures import HookCanceled
from wfkernel.engine.hooks import POINTS, Cancel, Continue, Hooks, Modify, Moment, Replace, Retry, Skip
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.step import step


@step(compensate=lambda output: None)
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


@step
async def ask(x: Any, ctx: Any) -> Any:
    return ctx.suspend(payload="?")


async def numbers(x: Any) -> AsyncIterator[int]:
    for n in range(3):
        yield n


async def listed(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


def test_every_declared_point_is_fired() -> None:
    hooks, fired = Hooks(), set()
    hooks.on("*", lambda moment: fired.add(moment.point))
    flow = (
        Workflow("w", hooks=hooks)
        .then(a)
        .parallel(a, b)
        .branch((lambda x: True, b))
        .then(ask)
        .then(numbers)
        .then(listed)
        .foreach(up)
        .map(len)
        .do_while(up, lambda x: x < 5)
        .sleep(0.001)
        .then(fail)
        .commit()
    )
    run = flow.create_run()
    go(run.start(1))
    assert go(run.resume("y")).status == "failed"
    assert go(_canceled(Workflow("c", hooks=hooks))).status == "canceled"
    assert Workflow("s", hooks=hooks).then(b).commit().run(1).status == "success"
    assert set(POINTS) - fired == set()


async def _canceled(flow: Workflow) -> Any:
    started = asyncio.Event()

    async def wait(x: Any, ctx: Any) -> None:
        started.set()
        await ctx.signal.wait()

    run = flow.then(wait).commit().create_run()
    task = asyncio.ensure_future(run.start(1))
    await started.wait()
    await run.cancel("enough")
    return await task


def with_hook(point: str, hook: Any, build: Any, value: Any = 1, **options: Any) -> Any:
    hooks = Hooks()
    hooks.on(point, hook, **options)
    return build(Workflow("w", hooks=hooks)).commit().run(value)


ONCE: list[str] = []


@pytest.mark.parametrize(
    ("point", "verdict", "build", "value", "expected"),
    [
        ("run.start", Modify(5), lambda w: w.then(up), 1, 6),
        ("run.finish", Modify("other"), lambda w: w.then(up), 1, "other"),
        ("run.error", Replace("saved"), lambda w: w.then(fail), 1, "saved"),
        ("step.start", Modify(5), lambda w: w.then(up), 1, 6),
        ("step.start", Replace("cached"), lambda w: w.then(fail), 1, "cached"),
        ("step.start", Skip(), lambda w: w.then(fail), 1, 1),
        ("step.start", Continue(), lambda w: w.then(up), 1, 2),
        ("step.finish", Modify(50), lambda w: w.then(up), 1, 50),
        ("step.error", Replace("default"), lambda w: w.then(fail), 1, "default"),
        ("step.error", Skip(), lambda w: w.then(fail), 1, 1),
        ("step.suspend", Replace("answered"), lambda w: w.then(ask), 1, "answered"),
        ("branch", Modify(["b"]), lambda w: w.branch((lambda x: True, fail), (lambda x: False, b)), 1, {"b": 1}),
        ("parallel.fork", Modify(["b"]), lambda w: w.parallel(fail, b), 1, {"b": 1}),
        ("parallel.join", Modify("joined"), lambda w: w.parallel(b, up), 1, "joined"),
        ("iteration.start", Modify(7), lambda w: w.foreach(up), [1, 2], [8, 8]),
        ("iteration.start", Replace(0), lambda w: w.foreach(fail), [1, 2], [0, 0]),
        ("iteration.start", Skip(), lambda w: w.foreach(fail), [1, 2], [1, 2]),
        ("iteration.finish", Modify(9), lambda w: w.do_while(up, lambda x: x < 5), 1, 9),
        ("loop.finish", Modify("end"), lambda w: w.do_until(up, lambda x: True), 1, "end"),
        ("sleep", Skip(), lambda w: w.sleep("10h"), 1, 1),
        ("sleep", Modify(0.001), lambda w: w.sleep("10h"), 1, 1),
        ("stream.item", Modify(4), lambda w: w.then(numbers).then(listed), 1, [4, 4, 4]),
        ("stream.item", Skip(), lambda w: w.then(numbers).then(listed), 1, []),
    ],
)
def test_a_verdict_does_what_it_says(point: str, verdict: Any, build: Any, value: Any, expected: Any) -> None:
    result = with_hook(point, lambda moment: verdict, build, value)
    assert result.status == "success", result.error
    assert result.result == expected


@pytest.mark.parametrize(
    "point", [point for point, allowed in POINTS.items() if Cancel in allowed and point != "run.resume"]
)
def test_a_hook_can_cancel_the_run(point: str) -> None:
    builds = {
        "branch": lambda w: w.branch((lambda x: True, b)),
        "parallel.fork": lambda w: w.parallel(b, up),
        "parallel.join": lambda w: w.parallel(b, up),
        "iteration.start": lambda w: w.do_until(up, lambda x: True),
        "iteration.finish": lambda w: w.do_until(up, lambda x: True),
        "loop.finish": lambda w: w.do_until(up, lambda x: True),
        "sleep": lambda w: w.sleep(1),
        "stream.item": lambda w: w.then(numbers).then(listed),
        "step.error": lambda w: w.then(fail),
        "step.suspend": lambda w: w.then(ask),
    }
    if point == "step.resume":
        hooks = Hooks()
        hooks.on(point, lambda moment: Cancel())
        run = Workflow("w", hooks=hooks).then(ask).commit().create_run()
        go(run.start(1))
        assert go(run.resume("y")).status == "canceled"
        return
    build = builds.get(point, lambda w: w.then(b))
    assert with_hook(point, lambda moment: Cancel("no"), build).status == "canceled"


@pytest.mark.parametrize("point", ["step.finish", "step.error"])
def test_a_hook_can_ask_for_one_more_attempt(point: str) -> None:
    asked = []

    def once(moment: Moment) -> Any:
        asked.append(moment.attempt)
        return Retry() if len(asked) == 1 else None

    with_hook(point, once, lambda w: w.then(fail if point == "step.error" else up))
    assert asked == [1, 2]


def test_a_hook_may_refuse_or_change_an_answer() -> None:
    hooks = Hooks()
    hooks.on("run.resume", lambda m: Cancel("not you") if m.value == "bad" else Modify(m.value.upper()))
    run = Workflow("w", hooks=hooks).then(ask).commit().create_run()
    go(run.start(1))
    with pytest.raises(HookCanceled, match="not you"):
        go(run.resume("bad"))
    assert run.status == "suspended"
    assert go(run.resume("good")).result == "GOOD"


def test_a_compensation_can_be_skipped() -> None:
    undone = []

    @step(compensate=undone.append)
    async def book(x: Any) -> Any:
        return x

    with_hook("compensation.start", lambda moment: Skip(), lambda w: w.then(book).then(fail))
    assert undone == []


def failing(moment: Moment) -> None:
    raise RuntimeError("broken hook")


def hanging(moment: Moment) -> None:
    time.sleep(0.3)


async def slow(moment: Moment) -> None:
    await asyncio.sleep(5)


@pytest.mark.parametrize(
    ("hook", "options", "told"),
    [
        (failing, {}, "RuntimeError"),
        (slow, {"timeout": 0.02}, "TimeoutError"),
        (hanging, {"timeout": 0.02}, "TimeoutError"),
        (lambda moment: Skip(), {}, "DefinitionError"),
    ],
)
def test_a_hook_that_fails_is_an_event_and_the_run_goes_on(hook: Any, options: dict[str, Any], told: str) -> None:
    hooks = Hooks()
    hooks.on("step.finish", hook, **options)
    run = Workflow("w", hooks=hooks).then(up).commit().create_run()
    failures = []
    run.watch(lambda e: failures.append(e.payload) if e.type == "hook.failed" else None)
    assert go(run.start(1)).result == 2
    assert [(f["point"], f["error"]["type"]) for f in failures] == [("step.finish", told)]


def test_hooks_run_by_priority_and_each_sees_what_the_one_before_made() -> None:
    hooks = Hooks()
    hooks.on("step.start", lambda m: Modify(m.value * 10), priority=1)

    @hooks.on("step.start")
    def later(moment: Moment) -> Modify:
        return Modify(moment.value + 1)

    assert Workflow("w", hooks=hooks).then(b).commit().run(1).result == 11


def test_an_unknown_point_is_told() -> None:
    with pytest.raises(DefinitionError, match=r"there is no hook point 'step\.begin'\. There are run\.start"):
        Hooks().on("step.begin", failing)
