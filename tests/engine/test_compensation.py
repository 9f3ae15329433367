"""Compensation: what finished steps did is undone in reverse, durably."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import go
from tests.engine.test_stored_runs import Elsewhere
from wfkernel.engine.durable import workflow
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step

undone: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    undone.clear()


def booking(name: str, **options: Any) -> Any:
    async def work(x: Any) -> str:
        return f"{name}-{x}"

    return step(id=name, compensate=options.pop("compensate", undone.append), **options)(work)


@step
async def fail(x: Any) -> None:
    raise ValueError("no")


def test_finished_steps_are_undone_in_reverse_order_with_their_output() -> None:
    flow = Workflow("w").then(booking("hotel")).then(booking("flight")).then(fail).then(booking("car")).commit()
    run = flow.create_run()
    told = []
    run.watch(lambda e: told.append((e.type, e.path)) if "compens" in e.type else None)
    result = go(run.start(1))
    assert (result.status, result.error["message"]) == ("failed", "no")  # type: ignore[index]
    assert undone == ["flight-hotel-1", "hotel-1"]
    assert [path for path, step in run.state.steps.items() if step.undone] == ["hotel", "flight"]
    assert told == [
        ("run.compensating", ""),
        ("step.compensating", "flight"),
        ("step.compensated", "flight"),
        ("step.compensating", "hotel"),
        ("step.compensated", "hotel"),
    ]


def test_a_run_that_succeeds_undoes_nothing() -> None:
    assert Workflow("w").then(booking("hotel")).commit().run(1).status == "success"
    assert undone == []


def test_every_item_and_iteration_is_undone() -> None:
    async def count(x: int) -> int:
        return x + 1

    counted = step(compensate=undone.append)(count)
    Workflow("w").do_while(counted, lambda x: x < 3).map(lambda x: ["a", "b"]).foreach(booking("item")).then(
        fail
    ).commit().run(0)
    assert undone == ["item-b", "item-a", 3, 2, 1]


def test_a_compensation_may_take_the_input_and_the_error_and_may_be_a_coroutine() -> None:
    async def undo(output: Any, input: Any, error: Any) -> None:
        undone.append((output, input, error["type"]))

    Workflow("w").then(booking("hotel", compensate=undo)).then(fail).commit().run(7)
    assert undone == [("hotel-7", 7, "ValueError")]


def test_a_compensation_that_fails_is_recorded_and_the_others_still_run() -> None:
    def broken(output: Any) -> None:
        raise OSError("cannot")

    flow = Workflow("w").then(booking("hotel")).then(booking("flight", compensate=broken)).then(fail).commit()
    run = flow.create_run()
    ended = []
    run.watch(lambda e: ended.append((e.path, e.payload["status"])) if e.type == "step.compensated" else None)
    assert go(run.start(1)).status == "failed"
    assert ended == [("flight", "failed"), ("hotel", "success")]
    assert undone == ["hotel-1"]


def test_a_compensation_is_retried_like_its_step() -> None:
    tries = []

    def flaky(output: Any) -> None:
        tries.append(output)
        if len(tries) < 3:
            raise OSError

    Workflow("w").then(booking("hotel", compensate=flaky, retries=2)).then(fail).commit().run(1)
    assert len(tries) == 3


def test_durable_functions_are_compensated_too() -> None:
    @workflow
    async def flow(ctx: Any) -> None:
        await ctx.step(booking("hotel"), 1)
        await ctx.step(booking("flight"), 2)
        await ctx.step(fail, 3)

    assert flow.run().status == "failed"
    assert undone == ["flight-2", "hotel-1"]


def test_a_run_canceled_while_it_is_undone_is_undone_to_the_end_and_canceled() -> None:
    begun = asyncio.Event()

    async def slowly(output: Any) -> None:
        begun.set()
        await asyncio.sleep(0.01)
        undone.append(output)

    async def main() -> None:
        flow = Workflow("w").then(booking("hotel", compensate=slowly)).then(booking("flight", compensate=slowly))
        run = flow.then(fail).commit().create_run()
        task = asyncio.ensure_future(run.start(1))
        await begun.wait()
        await run.cancel("enough")
        assert (await task).status == "canceled"
        assert run.state.refused == []

    asyncio.run(main())
    assert undone == ["flight-hotel-1", "hotel-1"]


@pytest.mark.parametrize("kind", ["plan", "function"])
def test_killed_while_undoing_the_rest_is_undone_on_restart(tmp_path: Path, kind: str) -> None:
    script = """
        def undo(output):
            note(f"undo-{output}")
            if output == "b":
                die_once("undo")

        def make(name):
            async def work(x):
                note(f"do-{name}")
                return name
            return step(id=name, compensate=undo)(work)

        a, b, c = make("a"), make("b"), make("c")

        @step
        async def fail(x):
            note("fail")
            raise ValueError("no")

        if sys.argv[2] == "plan":
            flow = Workflow("w", store=store).then(a).then(b).then(c).then(fail).commit()
        else:
            @workflow(store=store)
            async def flow(ctx):
                for each in (a, b, c, fail):
                    await ctx.step(each, 1)

        run = flow.create_run("r")
        result = asyncio.run(run.start() if run.status == "pending" else run.restart())
        print(json.dumps([result.status, result.error["type"]]))
        store.close()
    """
    elsewhere = Elsewhere(tmp_path)
    assert elsewhere.run(script, kind)[0] == -signal.SIGKILL
    _, out = elsewhere.run(script, kind)
    assert json.loads(out) == ["failed", "ValueError"]
    # c is not undone twice, b is taken up again, nothing is done again.
    assert elsewhere.log == ["do-a", "do-b", "do-c", "fail", "undo-c", "undo-b", "undo-b", "undo-a"]
