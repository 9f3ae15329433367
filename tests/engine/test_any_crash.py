"""Whatever the workflow and wherever its process dies: the run ends as if nothing had happened.

The events of an undisturbed run are cut off after each one in turn, as a crash would; another process takes the run up.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.conftest import go
from wfkernel.engine.durable import workflow
from wfkernel.engine.events import Event
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step
from wfkernel.testing.memory import MemoryLog

executed: list[str] = []


@step
async def up(x: int, ctx: Any) -> int:
    executed.append(ctx.path)
    ctx.set_state({"ups": ctx.state.get("ups", 0) + 1, "latest": x})
    return x + 1


@step
async def double(x: int, ctx: Any) -> int:
    executed.append(ctx.path)
    ctx.set_state({"doubled": x})
    return 2 * x


@step
async def ask(x: int, ctx: Any) -> int:
    return x + int(ctx.suspend(message="how much?"))


ENTRIES: dict[str, Any] = {
    "then": lambda w: w.then(up),
    "nested": lambda w: w.then(Workflow("inner").then(up).then(double).then(ask).commit()),
    "parallel": lambda w: w.parallel(up, double).map(lambda d: d["up"] + d["double"]),
    "branch": lambda w: w.branch((lambda x: x % 2, up), (lambda x: x >= 0, double)).map(lambda d: sum(d.values())),
    "loop": lambda w: w.do_while(up, lambda x: x % 4 != 0),
    "loop of nested": lambda w: w.do_while(
        Workflow("body").then(up).parallel(up, double).map(lambda d: d["up"]).commit(), lambda x: x % 3 != 0
    ),
    "foreach": lambda w: w.map(lambda x: [x, x + 1, x + 2]).foreach(up, concurrency=2).map(sum),
    "graph": lambda w: w.add(up).add(double, needs=up).add(ask, needs=double),
    "sleep": lambda w: w.sleep(0.0001),
    "ask": lambda w: w.then(ask),
}


def build(entries: list[str], log: MemoryLog) -> Workflow:
    flow = Workflow("w", store=log)
    for entry in entries:
        ENTRIES[entry](flow)
    return flow.commit()


def finish(flow: Any, fresh: bool = False) -> Any:
    run = flow.create_run("r")
    result = go(run.start(3)) if fresh else go(run.restart()) if run.status in ("running", "waiting") else run.result()
    while result.status == "suspended":
        result = go(run.resume(10))
    return result


def cuts(events: list[Event]) -> list[int]:
    """Where a crash can cut: anywhere but inside the one act in which an answer is given."""
    return [n for n in range(1, len(events)) if events[n - 1].type not in ("step.resumed", "run.attach")]


def after_crash(events: list[Event], cut: int) -> MemoryLog:
    log = MemoryLog()
    log.append([Event("r", *event[1:]) for event in events[:cut]])
    log.die()
    return log.process("process 2")


def left_to_do(events: list[Event], cut: int) -> Counter[str]:
    """How often each step is begun after the cut, or was under way at it."""
    under_way: set[str] = set()
    for event in events[:cut]:
        if event.type == "step.start":
            under_way.add(event.path)
        elif event.type == "step.result":
            under_way.discard(event.path)
    return Counter([*under_way, *(e.path for e in events[cut:] if e.type == "step.start")])


def check(make: Any, cut_at: Any = None) -> None:
    log = MemoryLog()
    expected = finish(make(log), fresh=True)
    assert expected.status == "success", expected.error
    events = log.events("r")
    for cut in cuts(events) if cut_at is None else [cut_at(cuts(events))]:
        executed.clear()
        result = finish(make(after_crash(events, cut)))
        assert (result.status, result.result, result.state) == ("success", expected.result, expected.state), cut
        assert Counter(executed) <= left_to_do(events, cut), f"a finished step was executed again after event {cut}"


def test_cut_after_any_event_of_a_workflow_with_everything_in_it() -> None:
    check(lambda log: build(list(ENTRIES), log))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(list(ENTRIES)), min_size=1, max_size=5, unique=True), st.data())
def test_cut_after_some_event_of_any_workflow(entries: list[str], data: st.DataObject) -> None:
    check(lambda log: build(entries, log), lambda places: places[data.draw(st.integers(0, 9_999)) % len(places)])


def test_cut_after_any_event_of_a_durable_function() -> None:
    def make(log: MemoryLog) -> Any:
        @workflow(store=log)
        async def flow(ctx: Any, x: int) -> int:
            a = await ctx.step(up, x)
            b = await ctx.gather(ctx.step(up, a), ctx.step(double, a))
            await ctx.sleep(0.0001)
            total = sum(b) + int(await ctx.suspend(message="how much?"))
            for _ in range(3):
                total = await ctx.step(up, total)
            return total

        return flow

    check(make)
