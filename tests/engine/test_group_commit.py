"""Steps that end in the same turn of the event loop share one fdatasync, and nothing builds on what is not on disk."""

from __future__ import annotations

from typing import Any

from tests.engine.conftest import go
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import StoreError
from wfkernel.plan.step import step
from wfkernel.testing import MemoryLog


class Counting(MemoryLog):
    """Counts how often the disk was waited for."""

    syncs = 0

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
