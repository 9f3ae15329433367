"""Steps that end in the same turn of the event loop share one fdatasync, and nothing builds on what is not on disk."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from tests.engine.conftest import go
from wfkernel.engine.events import Event
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import StoreError
from wfkernel.plan.step import step
from wfkernel.testing import MemoryLog


class Counting(MemoryLog):
    """Counts how often was written, and how often the disk was waited for."""

    appends = syncs = 0

    def append(self, events: list[Event], *, durable: bool = True) -> None:
        self.appends += 1
        super().append(events, durable=durable)

    def sync(self) -> None:
        self.syncs += 1
        super().sync()


def test_a_hundred_arms_wait_for_the_disk_together() -> None:
    async def arm(x: int) -> int:
        return x

    log = Counting()
    flow = Workflow("w", store=log).foreach(arm, concurrency=100).commit()
    assert go(flow.create_run().start(list(range(100)))).status == "success"
    assert log.syncs < 10


def test_a_step_begins_when_the_result_it_builds_on_is_on_disk() -> None:
    log = MemoryLog()
    seen: list[list[str]] = []

    @step(id="first")
    async def first(x: int) -> int:
        return x + 1

    @step(id="second")
    async def second(x: int) -> int:
        seen.append([event.path for event in log.durable_events("r") if event.type == "step.result"])
        return x

    go(Workflow("w", store=log).then(first).then(second).commit().create_run("r").start(1))
    assert seen == [["first"]]


def test_a_disk_that_refuses_fails_the_run_and_nothing_more_begins() -> None:
    class Refusing(MemoryLog):
        def sync(self) -> None:
            raise StoreError("the disk is full")

    begun: list[str] = []

    async def first(x: int) -> int:
        begun.append("first")
        return x

    async def second(x: int) -> int:
        begun.append("second")
        return x

    flow: Any = Workflow("w", store=Refusing()).then(first).then(second).commit()
    try:
        result = go(flow.create_run().start(1))
        assert result.status == "failed"
    except StoreError:
        pass
    assert "second" not in begun


def test_the_last_step_and_the_end_of_the_run_wait_for_the_disk_together() -> None:
    async def add(x: int) -> int:
        return x + 1

    log = Counting()
    flow = Workflow("w", store=log).then(add, id="first").then(add, id="second").commit()
    run = flow.create_run()
    assert go(run.start(1)).result == 3
    assert log.syncs == 3  # the start, the first result, the second with the end
    assert log.durable_events(run.run_id)[-1].type == "run.finish"


def test_arms_that_begin_together_are_written_together() -> None:
    async def arm(x: int) -> int:
        return x

    log = Counting()
    flow = Workflow("w", store=log).foreach(arm, concurrency=100).commit()
    run = flow.create_run()
    assert go(run.start(list(range(100)))).status == "success"
    assert len(log.events(run.run_id)) > 300  # the start, the result and the progress of each
    assert log.appends < 120  # a result waits for nobody


def test_no_arm_begins_before_its_start_is_written() -> None:
    log = MemoryLog()
    unwritten: list[int] = []

    async def arm(x: int) -> int:
        written = [event.path for event in log.events("r") if event.type == "step.start"]
        if f"arm[{x}]" not in written:
            unwritten.append(x)
        await asyncio.sleep(0)
        return x

    flow = Workflow("w", store=log).foreach(arm, concurrency=20).commit()
    assert go(flow.create_run("r").start(list(range(50)))).status == "success"
    assert unwritten == []


def test_no_arm_begins_before_its_start_is_written_though_somebody_looks_at_the_run() -> None:
    log = MemoryLog()
    unwritten: list[int] = []

    async def arm(x: int) -> int:
        if f"arm[{x}]" not in [event.path for event in log.events("r") if event.type == "step.start"]:
            unwritten.append(x)
        return x

    run = Workflow("w", store=log).foreach(arm, concurrency=5).commit().create_run("r")
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            run.watch(lambda event: None)()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert go(run.start(list(range(500)))).status == "success"
    finally:
        over.set()
        watcher.join()
    assert unwritten == []


def test_progress_is_written_while_the_other_items_take_their_time() -> None:
    log = MemoryLog()
    seen: list[int] = []

    async def arm(x: int) -> int:
        if x:
            for _ in range(100):  # turns, not seconds
                await asyncio.sleep(0)
            seen.append(sum(event.type == "step.progress" for event in log.events("r")))
        return x

    assert (
        go(Workflow("w", store=log).foreach(arm, concurrency=2).commit().create_run("r").start([0, 1])).status
        == "success"
    )
    assert seen == [1]


def test_what_a_full_disk_refused_is_written_before_what_comes_next() -> None:
    class Full(MemoryLog):
        room = True

        def append(self, events: list[Event], *, durable: bool = True) -> None:
            if not self.room:
                raise StoreError("the disk is full")
            super().append(events, durable=durable)

    log = Full()

    async def arm(x: int) -> int:
        if x == 0:
            log.room = False
            asyncio.get_running_loop().call_later(0.01, setattr, log, "room", True)
        await asyncio.sleep(0.05)
        return x

    flow = Workflow("w", store=log).foreach(arm, concurrency=2).commit()
    result = go(flow.create_run("r").start([0, 1, 2, 3]))
    events = log.events("r")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert log.load("r").status == result.status
