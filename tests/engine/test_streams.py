"""Streams: live, in order, bounded; and streaming steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.engine.conftest import go
from wfkernel.engine.context import write
from wfkernel.engine.failures import InputInvalid
from wfkernel.engine.stream import HISTORY
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.step import step


def wf() -> Workflow:
    return Workflow("w")


def talker(count: int) -> Any:
    async def talk(x: Any, ctx: Any) -> int:
        writer = ctx.writer
        for n in range(count):
            await writer.write(n)
        return count

    return talk


def outputs(events: list[Any]) -> list[Any]:
    return [event.payload["output"] for event in events if event.type == "step.output"]


def test_a_stream_gives_events_while_the_run_goes_on() -> None:
    reached = []

    async def scene() -> None:
        allowed = asyncio.Event()

        async def talk(x: Any, ctx: Any) -> None:
            await ctx.writer.write("first")
            await asyncio.wait_for(allowed.wait(), 5)
            await ctx.writer.write("second")

        stream = wf().then(talk).commit().create_run().stream(1)
        async for event in stream:
            if event.type == "step.output":
                reached.append(event.payload["output"])
                allowed.set()
        assert (await stream.result).status == "success"

    go(scene())
    assert reached == ["first", "second"]


def test_what_a_step_writes_arrives_in_its_order_from_coroutines_and_threads() -> None:
    def threaded(x: Any, ctx: Any) -> None:
        for n in range(500):
            ctx.writer.write(("thread", n))
        write("plain words")

    async def coroutine(x: Any, ctx: Any) -> None:
        for n in range(500):
            await ctx.writer.write(("loop", n))
            await ctx.writer.custom({"type": "tick", "n": n})

    async def scene() -> list[Any]:
        return [event async for event in wf().parallel(threaded, coroutine).commit().create_run().stream(1)]

    events = go(scene())
    told = [event.payload["output"] for event in events if "output" in event.payload and event.type == "step.output"]
    for who in ("thread", "loop"):
        assert [n for name, n in told if name == who] == list(range(500))
    assert [e.payload["data"]["n"] for e in events if e.type == "step.custom"] == list(range(500))
    assert [e.payload["text"] for e in events if "text" in e.payload] == ["plain words"]
    assert [e.seq for e in events] == list(range(1, len(events) + 1))


def test_a_slow_consumer_slows_the_run_and_the_buffer_stays_bounded() -> None:
    async def scene() -> tuple[int, int]:
        stream = wf().then(talker(5_000)).commit().create_run().stream(1, buffer=10)
        seen = most = 0
        async for event in stream:
            seen += event.type == "step.output"
            most = max(most, len(stream._listener.items))
            if seen % 100 == 0:
                await asyncio.sleep(0)
        assert stream.dropped == 0
        return seen, most

    seen, most = go(scene())
    assert seen == 5_000
    assert most <= 20


def test_a_thread_is_slowed_down_as_well() -> None:
    def threaded(x: Any, ctx: Any) -> None:
        for n in range(300):
            ctx.writer.write(n)

    async def scene() -> list[int]:
        seen = []
        stream = wf().then(threaded).commit().create_run().stream(1, buffer=5)
        async for event in stream:
            if event.type == "step.output":
                seen.append(event.payload["output"])
                assert len(stream._listener.items) <= 10
                if event.payload["output"] % 50 == 0:
                    await asyncio.sleep(0.01)
        return seen

    assert go(scene()) == list(range(300))


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", range(990, 1000)), ("drop_newest", range(0, 8))])
def test_a_stream_that_drops_says_how_much(overflow: Any, kept: range) -> None:
    async def scene() -> None:
        run = wf().then(talker(1_000)).commit().create_run()
        stream = run.stream(1, buffer=10, overflow=overflow)
        while not stream.done:
            await asyncio.sleep(0)
        events = [event async for event in stream]
        assert len(events) == 10
        assert set(outputs(events)) <= set(kept)
        assert stream.dropped == 1_000 + 4 - 10

    go(scene())


def test_who_joins_late_gets_what_went_before() -> None:
    async def scene() -> None:
        run = wf().then(talker(3)).commit().create_run()
        await run.start(1)
        assert [event.type async for event in run.observe()] == [
            "run.start", "step.start", "step.output", "step.output", "step.output", "step.result", "run.finish",
        ]  # fmt: skip
        assert run._recorder.hub.history.maxlen == HISTORY

    go(scene())


def test_who_joins_in_the_middle_misses_nothing() -> None:
    async def scene() -> None:
        half = asyncio.Event()

        async def talk(x: Any, ctx: Any) -> None:
            await ctx.writer.write(1)
            await half.wait()
            await ctx.writer.write(2)

        run = wf().then(talk).commit().create_run()
        task = asyncio.ensure_future(run.start(1))
        await asyncio.sleep(0)
        observing = asyncio.ensure_future(_all_of(run.observe()))
        await asyncio.sleep(0)
        half.set()
        await task
        events = await observing
        assert outputs(events) == [1, 2]
        assert [event.seq for event in events] == list(range(1, 7))

    go(scene())


async def _all_of(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


def test_leaving_a_stream_lets_the_run_go_on() -> None:
    async def scene() -> Any:
        stream = wf().then(talker(1_000)).commit().create_run().stream(1, buffer=5)
        iterator = aiter(stream)
        await anext(iterator)
        await iterator.aclose()  # type: ignore[attr-defined]
        return (await asyncio.wait_for(stream.result, 10)).result

    assert go(scene()) == 1_000


def test_awaiting_the_result_alone_consumes_the_stream() -> None:
    async def scene() -> Any:
        return (await asyncio.wait_for(wf().then(talker(5_000)).commit().create_run().stream(1).result, 10)).result

    assert go(scene()) == 5_000


def test_a_second_stream_of_a_running_run_is_the_first() -> None:
    async def scene() -> None:
        run = wf().then(talker(3)).commit().create_run()
        stream = run.stream(1)
        assert run.stream(2) is stream
        assert (await stream.result).input == 1

    go(scene())


def test_a_stream_of_a_refused_start_ends_and_its_result_raises() -> None:
    async def scene() -> None:
        stream = Workflow("w", input=int).then(talker(3)).commit().create_run().stream("x")
        assert [event async for event in stream] == []
        with pytest.raises(InputInvalid):
            await stream.result

    go(scene())


def test_a_stream_ends_when_the_run_suspends_and_resume_stream_goes_on() -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        return ctx.suspend()

    async def scene() -> None:
        run = wf().then(ask).commit().create_run()
        first = [event.type async for event in run.stream(1)]
        assert first == ["run.start", "step.start", "step.suspended", "run.suspended"]
        second = run.resume_stream("y")
        assert [event.type async for event in second] == [
            "step.resumed", "run.resume", "step.start", "step.result", "run.finish",
        ]  # fmt: skip
        assert (await second.result).result == "y"

    go(scene())


def test_a_watcher_that_fails_does_not_harm_the_run() -> None:
    run = wf().then(talker(3)).commit().create_run()
    seen = []
    run.watch(lambda event: 1 / 0)
    stop = run.watch(seen.append)
    assert go(run.start(1)).status == "success"
    assert len(seen) == 7
    stop()
    go(run.start(1))
    assert len(seen) == 7


def test_the_blocking_form_streams_too() -> None:
    events = list(wf().then(talker(3)).commit().create_run().sync.stream(1))
    assert outputs(events) == [0, 1, 2]


def test_resuming_and_travelling_have_blocking_streams_too() -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        return ctx.suspend()

    run = Workflow("w").then(ask).commit().create_run()
    assert run.sync.start().status == "suspended"
    assert [event.type for event in run.sync.resume_stream("yes")][-1] == "run.finish"
    assert run.result().result == "yes"
    assert [event.type for event in run.sync.time_travel_stream("ask")][-1] == "run.suspended"
    assert [event.type for event in run.sync.observe()][-1] == "run.suspended"


def test_a_watcher_is_a_plain_function() -> None:
    async def watcher(event: Any) -> None: ...

    with pytest.raises(DefinitionError, match="takes a plain function"):
        Workflow("w").map(lambda x: x).commit().create_run().watch(watcher)


def test_custom_events_have_a_type() -> None:
    @step
    async def wrong(x: Any, ctx: Any) -> None:
        ctx.writer.custom({"data": 1})

    result = wf().then(wrong).commit().run(1)
    assert result.error["type"] == DefinitionError.__name__  # type: ignore[index]


# -- streaming steps ---------------------------------------------------------------------------------------------------


async def numbers(count: int) -> AsyncIterator[int]:
    for n in range(count):
        trace.append(f"made {n}")
        yield n


async def doubled(items: AsyncIterator[int]) -> AsyncIterator[int]:
    async for item in items:
        yield 2 * item


async def total(items: AsyncIterator[int]) -> int:
    result = 0
    async for item in items:
        trace.append(f"took {item}")
        result += item
        await asyncio.sleep(0)
    return result


trace: list[str] = []


def test_items_flow_into_the_next_step_as_they_come() -> None:
    trace.clear()
    run = wf().then(numbers).then(doubled).then(total).map(lambda x: x + 1).commit().create_run()
    metrics = []
    run.watch(lambda e: metrics.append((e.path, e.payload["items"])) if e.type == "stream.metrics" else None)
    result = go(run.start(200))
    assert result.result == sum(range(200)) * 2 + 1
    assert trace.index("took 0") < trace.index("made 199")
    assert metrics == [("numbers", 200), ("doubled", 200)]
    assert result.steps["numbers"].output == {"items": 200}


def test_a_slow_consumer_slows_its_producer_down() -> None:
    made = []

    async def endless(x: Any) -> AsyncIterator[int]:
        n = 0
        while True:
            made.append(n)
            yield n
            n += 1

    async def ten(items: AsyncIterator[int]) -> list[int]:
        found = []
        async for item in items:
            found.append(item)
            await asyncio.sleep(0)
            if len(found) == 10:
                return found
        return found

    assert wf().then(endless).then(ten).commit().run(1).result == list(range(10))
    assert len(made) < 200


def test_a_generator_followed_by_an_ordinary_step_gives_its_items_as_a_list() -> None:
    trace.clear()
    assert wf().then(numbers).map(sum).commit().run(4).result == 6


def test_a_generator_that_fails_fails_the_run_with_its_error() -> None:
    async def breaks(x: Any) -> AsyncIterator[int]:
        yield 1
        raise OSError("the line is dead")

    result = wf().then(breaks).then(total).commit().run(1)
    assert (result.status, result.error["message"]) == ("failed", "the line is dead")  # type: ignore[index]
    assert result.steps["total"].status == "failed"


def test_a_consumer_that_fails_fails_the_run_with_its_error() -> None:
    async def picky(items: AsyncIterator[int]) -> int:
        async for item in items:
            if item == 3:
                raise ValueError("no threes")
        return 0

    result = wf().then(numbers).then(picky).commit().run(1_000)
    assert (result.status, result.error["message"]) == ("failed", "no threes")  # type: ignore[index]
