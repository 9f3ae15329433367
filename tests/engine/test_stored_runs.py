"""Runs in a store: other processes, crashes, restarts. Real processes, really killed."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.engine.conftest import Elsewhere, go
from wfkernel.engine.failures import RunActive, RunNotActive
from wfkernel.engine.wake import wake
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import RunNotSuspended
from wfkernel.plan.step import step
from wfkernel.store.store import Store

CRASHING = """
    @step
    async def second(x: int) -> int:
        note("second"); die_once("second")
        return x * 10

    async def item(x):
        note(f"item{x}")
        if x == 2:
            die_once("item")
        return x

    async def count(x: int, ctx) -> int:
        note(f"count{ctx.iteration}")
        ctx.set_state({"n": ctx.state.get("n", 0) + 1})
        if ctx.iteration == 2:
            die_once("loop")
        return x + 1

    inner = Workflow("inner").then(first).then(second).commit()
    flow = (Workflow("w", store=store).then(first).then(inner)
            .map(lambda x: [1, 2, 3]).foreach(item).map(lambda items: 0).do_while(count, lambda x: x < 3).commit())
    run = flow.create_run("r")
    act = run.start(1) if run.status == "pending" else run.restart()
    result = asyncio.run(act)
    print(json.dumps([result.status, result.result, result.state, result.error]))
    store.close()
"""


def test_killed_at_any_point_no_finished_step_is_executed_again(elsewhere: Elsewhere) -> None:
    codes = [elsewhere.run(CRASHING)[0] for _ in range(3)]
    assert codes == [-signal.SIGKILL] * 3
    _, out = elsewhere.run(CRASHING)
    assert json.loads(out) == ["success", 3, {"n": 3}, None]
    assert elsewhere.log == (
        ["first(1)", "first(2)", "second", "second", "item1", "item2", "item2", "item3", "count1", "count2", "count2", "count3"]
    )  # fmt: skip
    # Asked again, the ended run gives its stored result and executes nothing.
    _, out = elsewhere.run(CRASHING)
    assert json.loads(out)[:3] == ["success", 3, {"n": 3}]
    assert len(elsewhere.log) == 12


def test_a_durable_function_executes_no_finished_step_again(elsewhere: Elsewhere) -> None:
    script = """
        @step
        async def fail(x: int) -> int:
            note("fail")
            raise KeyError("gone")

        @step
        async def last(x: int) -> int:
            note("last"); die_once("last")
            return x

        @workflow(store=store)
        async def flow(ctx, x: int):
            a = await ctx.step(first, x)
            b = await ctx.gather(ctx.step(first, a), ctx.step(first, 7))
            try:
                await ctx.step(fail, 0)
            except KeyError as error:
                note(f"caught-{error.args[0]}")
            return await ctx.step(last, a + sum(b))

        run = flow.create_run("r")
        result = asyncio.run(run.start(1) if run.status == "pending" else run.restart())
        print(result.result)
        store.close()
    """
    assert elsewhere.run(script)[0] == -signal.SIGKILL
    assert elsewhere.run(script) == (0, "13\n")
    assert elsewhere.log == ["first(1)", "first(2)", "first(7)", "fail", "caught-gone", "last", "caught-gone", "last"]


def test_a_durable_function_finds_its_calls_by_objects_of_classes_of_the_script(elsewhere: Elsewhere) -> None:
    script = """
        from dataclasses import dataclass
        from pydantic import BaseModel

        class User(BaseModel):
            name: str
            age: int = 7

        @dataclass
        class Account:
            owner: str

        @step
        async def create(user: User) -> Account:
            note(f"create-{user.age}")
            return Account(user.name)

        @step
        async def greet(account: Account, user: User) -> str:
            note("greet")
            return f"{account.owner} {user.age}"

        @workflow(store=store)
        async def onboard(ctx, user: User):
            text = await ctx.step(greet, await ctx.step(create, user), User(name="other"))
            return [text, await ctx.suspend()]

        @workflow(store=store)
        async def flow(ctx):
            return [*await ctx.step(onboard, {"name": "Ann"}), await ctx.step(create, User(name="Bob", age=8)) is not None]

        run = flow.create_run("r")
        result = asyncio.run(run.start() if run.status == "pending" else run.resume("yes"))
        print(json.dumps([result.status, result.result, sorted(run.state.steps)]))
        store.close()
    """
    assert json.loads(elsewhere.run(script)[1])[0] == "suspended"
    done = [
        "success",
        ["Ann 7", "yes", True],
        ["create", "onboard", "onboard.create", "onboard.greet", "onboard.suspend"],
    ]
    assert json.loads(elsewhere.run(script)[1]) == done
    assert elsewhere.log == ["create-7", "greet", "create-8"]


def test_of_two_processes_that_resume_a_run_exactly_one_wins(elsewhere: Elsewhere) -> None:
    script = """
        async def ask(x, ctx):
            return ctx.suspend()

        async def after(x):
            note(f"after-{x}")
            return x

        flow = Workflow("w", store=store).then(ask).then(after).commit()
        run = flow.create_run("r")
        if sys.argv[2] == "start":
            print(asyncio.run(run.start(1)).status)
        else:
            assert run.status == "suspended"
            go = log.with_name("go")
            print("ready", flush=True)
            while not go.exists():
                time.sleep(0.001)
            try:
                print(asyncio.run(run.resume(sys.argv[2])).result)
            except WorkflowError as error:
                print(type(error).__name__)
        store.close()
    """
    assert elsewhere.run(script, "start") == (0, "suspended\n")
    racers = [elsewhere.start(script, name) for name in ("a", "b")]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    (elsewhere.path.parent / "go").touch()
    said = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert said[0] in ("ResumeAlreadyClaimed", "RunNotSuspended")
    assert said[1] in ("a", "b")
    assert elsewhere.log == [f"after-{said[1]}"]


def test_a_suspended_run_is_resumed_in_another_process_with_all_its_values(elsewhere: Elsewhere, store: Store) -> None:
    elsewhere.run("""
        async def ask(x, ctx):
            ctx.set_state({"seen": {1, 2}})
            return [x, ctx.suspend(message="well?", payload={"x": 1})]

        flow = Workflow("w", store=store).then(first).then(ask).commit()
        asyncio.run(flow.create_run("r", resource="me").start(1))
        store.close()
    """)

    @step
    async def first(x: int) -> int:
        raise AssertionError("this step has its result")

    async def ask(x: Any, ctx: Any) -> Any:
        return [x, ctx.suspend(), ctx.state]

    told = []
    flow = Workflow("w", store=store, on_finish=told.append).then(first).then(ask).commit()
    run = flow.create_run("r")
    assert run.result().suspended == [["ask"]]
    assert run.result().suspend_payload == {"ask": {"x": 1}}
    assert go(run.resume("yes")).result == [2, "yes", {"seen": {1, 2}}]
    assert (told[0].input, told[0].resource) == (1, "me")


def test_a_run_is_taken_up_only_when_its_process_is_gone(elsewhere: Elsewhere, store: Store) -> None:
    process = elsewhere.start("""
        async def slow(x):
            print("in", flush=True)
            await asyncio.sleep(60)

        asyncio.run(Workflow("w", store=store).then(slow).commit().create_run("r").start(1))
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"

    async def slow(x: Any) -> str:
        return "done here"

    run = Workflow("w", store=store).then(slow).commit().create_run("r")
    with pytest.raises(RunActive, match="is being executed by"):
        go(run.restart())
    with pytest.raises(RunActive):
        go(run.start(1))
    process.kill()
    process.wait()
    assert go(run.restart()).result == "done here"


def test_a_sleep_interrupted_by_a_crash_sleeps_only_what_is_left(elsewhere: Elsewhere) -> None:
    script = """
        flow = Workflow("w", store=store).then(first).sleep(1.5).then(first).commit()
        run = flow.create_run("r")
        began = time.time()
        if run.status == "pending":
            run.watch(lambda e: e.type == "run.waiting" and print(run.status, flush=True))
            asyncio.run(run.start(1))
        else:
            assert run.status == "waiting", run.status
            result = asyncio.run(run.restart())
            print(result.result, result.steps["sleep_1"].ended_at - result.steps["sleep_1"].started_at)
        store.close()
    """
    process = elsewhere.start(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    process.kill()
    process.wait()
    _, out = elsewhere.run(script)
    result, slept = out.split()
    assert result == "3"
    assert 1.4 < float(slept) < 6  # one sleep, not one and a half: loading the second process counts too
    assert elsewhere.log == ["first(1)", "first(2)"]


def test_a_parked_sleep_ends_the_process_and_wake_takes_the_run_up(store: Store) -> None:
    async def work(x: int) -> int:
        return x + 1

    flow = Workflow("w", store=store, park=0.05).then(work).sleep(2).then(work).commit()
    asleep = go(flow.create_run("r").start(1))
    assert asleep.status == "waiting"
    assert asleep.wake_at is not None
    assert go(wake(store, [flow])) == []  # not yet
    while time.time() < asleep.wake_at:
        time.sleep(0.01)
    (woken,) = go(wake(store, [flow]))
    assert (woken.run_id, woken.status, woken.result) == ("r", "success", 3)
    assert go(wake(store, [flow])) == []


def test_a_suspended_run_can_be_canceled_and_then_not_resumed(store: Store) -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        return ctx.suspend()

    flow = Workflow("w", store=store).then(ask).commit()
    run = flow.create_run("r")
    go(run.start(1))
    go(flow.create_run("r").cancel("no longer needed"))
    with pytest.raises(RunNotSuspended, match="is canceled"):
        go(run.resume("y"))
    with pytest.raises(RunNotActive, match="was not active: 'r' is canceled"):
        go(run.restart())
    assert store.load("r").status == "canceled"


@pytest.mark.parametrize("durability", ["fsync", "write", "exit"])
def test_every_durability_keeps_a_suspended_run(store: Store, durability: Any) -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        return ctx.suspend()

    flow = Workflow("w", store=store, durability=durability).then(ask).commit()
    go(flow.create_run("r").start(1))
    assert go(flow.create_run("r").resume("y")).result == "y"
    assert [event.seq for event in store.events("r")] == list(range(1, len(store.events("r")) + 1))


def test_the_stored_fold_is_the_state_of_the_live_run(store: Store) -> None:
    async def work(x: Any, ctx: Any) -> Any:
        ctx.set_state({"k": x})
        return {"x": x}

    run = Workflow("w", store=store).foreach(work).commit().create_run("r")
    live = go(run.start([1, 2]))
    assert Workflow("w", store=store).foreach(work).commit().create_run("r").result() == live


def test_a_step_whose_value_cannot_be_saved_runs_again_in_another_life(store: Store) -> None:
    made = []

    async def make(x: Any) -> Any:
        made.append(x)
        return (n for n in [1, 2])

    async def ask(numbers: Any, ctx: Any) -> Any:
        ctx.suspend()
        return list(numbers)

    flow = Workflow("w", store=store).then(make).then(ask).commit()
    stored = go(flow.create_run("r").start(1))
    assert stored.status == "suspended"
    assert "was not saved" in str(flow.create_run("r").result().steps["make"].output)
    assert go(flow.create_run("r").resume("y")).result == [1, 2]
    assert made == [1, 1]


def test_a_step_edited_since_it_ran_is_named_and_its_result_counts(store: Store) -> None:
    async def ask(x: Any, ctx: Any) -> Any:
        return [x, ctx.suspend()]

    @step(id="price")
    async def old(x: int) -> int:
        return x + 1

    @step(id="price")
    async def new(x: int) -> int:
        return x + 1000

    go(Workflow("w", store=store).then(old).then(ask).commit().create_run("r").start(1))
    run = Workflow("w", store=store).then(new).then(ask).commit().create_run("r")
    drift = []
    run.watch(lambda e: drift.append(e.payload) if e.type == "run.drift" else None)
    assert go(run.resume("y")).result == [2, "y"]
    assert drift == [{"changes": [{"step": "price", "what": "code"}], "policy": "continue"}]
    assert go(run.time_travel("price")).status == "suspended"  # who wants the new code goes back to the step
    assert go(run.resume("y")).result == [1001, "y"]


@pytest.mark.parametrize(
    ("policy", "result", "executed"),
    [
        ("continue", [{"double": [4, 4], "n": 3}, "end VERSION", "yes"], []),
        ("rerun", None, ["load-VERSION", "double-VERSION", "double-VERSION"]),
        ("pin", [{"double": [4, 4], "n": 3}, "end old", "yes"], []),
    ],
)
def test_steps_of_a_plan_that_were_edited_continue_run_again_or_keep_their_code(
    elsewhere: Elsewhere, policy: str, result: Any, executed: list[str]
) -> None:
    script = """
        @step
        async def load(x):
            note("load-VERSION")
            return [x + ADDED] * 2

        @step
        async def double(x, ctx):
            note("double-VERSION")
            ctx.set_state({"n": x})
            return x + 1

        @step
        async def ask(x, ctx):
            return [{"double": x, "n": ctx.state["n"]}, ctx.suspend()]

        @step
        def end(x):
            return [x[0], "end VERSION", x[1]]

        each = Workflow("each").then(double).commit()
        flow = Workflow("w", store=store).then(first).then(load).foreach(each).then(ask).then(end).commit()
        run = flow.create_run("r", on_drift=sys.argv[2])
        drift = []
        run.watch(lambda e: drift.append(e.payload) if e.type == "run.drift" else None)
        result = asyncio.run(run.start(1) if run.status == "pending" else run.resume("yes"))
        if result.status == "suspended" and drift:  # what was asked before was asked about other numbers
            result = asyncio.run(run.resume("again"))
        print(json.dumps([result.status, result.result, [[c["step"] for c in d["changes"]] for d in drift]]))
        store.close()
    """
    elsewhere.run(script.replace("VERSION", "old").replace("ADDED", "1"), policy)
    before = len(elsewhere.log)
    status, came_to, drift = json.loads(
        elsewhere.run(script.replace("VERSION", "new").replace("ADDED", "10"), policy)[1]
    )
    again = [{"double": [13, 13], "n": 12}, "end new", "again"]
    assert (status, came_to) == (
        "success",
        json.loads(json.dumps(result).replace("VERSION", "new")) if result else again,
    )
    assert elsewhere.log[before:] == [line.replace("VERSION", "new") for line in executed]
    named = {path for paths in drift for path in paths}
    assert {"load", "each.double"} <= named


def test_a_durable_function_can_be_pinned_to_the_code_it_was_started_with(elsewhere: Elsewhere) -> None:
    script = """
        @step
        async def last(x: int) -> str:
            return "VERSION" + str(x)

        @workflow(store=store, on_drift="pin")
        async def flow(ctx, x: int):
            a = await ctx.step(first, x)
            answer = await ctx.suspend()
            return [await ctx.step(last, a), answer, "VERSION"]

        run = flow.create_run("r")
        act = run.start(1) if run.status == "pending" else run.resume("yes")
        print(json.dumps(asyncio.run(act).result))
        store.close()
    """
    elsewhere.run(script.replace("VERSION", "old"))
    assert elsewhere.run(script.replace("VERSION", "new"))[1] == '["old2", "yes", "old"]\n'
    assert elsewhere.log == ["first(1)"]
