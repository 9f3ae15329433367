"""A run that fails goes back to what its state was when a step had ended: ``rollback_to``."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Elsewhere, go
from wfkernel.engine.durable import workflow
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.step import step
from wfkernel.store.store import Store

executed: list[str] = []
undone: list[str] = []
broken = True


@pytest.fixture(autouse=True)
def begin() -> None:
    global broken
    broken = True
    executed.clear()
    undone.clear()


def setting(name: str, **options: Any) -> Any:
    """A step that adds its name to the state's `seen`, and can be undone."""

    async def work(x: Any, ctx: Any) -> str:
        executed.append(name)
        ctx.set_state({"seen": [*ctx.state.get("seen", []), name]})
        return name

    return step(id=name, compensate=undone.append, **options)(work)


@step
async def last(x: Any, ctx: Any) -> str:
    executed.append("last")
    ctx.set_state({"half": "done"})
    if broken:
        raise ValueError("no")
    return "end"


def flow(**options: Any) -> Workflow:
    made = Workflow("w", **options)
    return made.then(setting("one")).then(setting("two")).then(setting("three")).then(last).commit()


def test_a_failed_run_has_the_state_it_had_then_and_what_came_after_is_undone() -> None:
    result = flow(rollback_to="one").run(1, state={"begun": 1})
    assert (result.status, result.error["message"]) == ("failed", "no")  # type: ignore[index]
    assert result.state == {"begun": 1, "seen": ["one"]}
    assert undone == ["three", "two"]


def test_without_it_the_state_stays_as_the_steps_left_it() -> None:
    result = flow().run(1)
    assert result.state == {"seen": ["one", "two", "three"]}  # what the failing step set is gone in any case
    assert undone == ["three", "two", "one"]


@pytest.mark.parametrize("to", ["start", "last"])
def test_to_the_start_or_a_step_that_was_not_reached_goes_back_all_the_way(to: str) -> None:
    result = flow(rollback_to=to).run(1, state={"begun": 1})
    assert result.state == {"begun": 1}
    assert undone == ["three", "two", "one"]


def test_a_retry_does_again_what_was_rolled_back_and_keeps_the_rest() -> None:
    run = flow(rollback_to="one").create_run()
    go(run.start(1))
    global broken
    broken = False
    executed.clear()
    result = go(run.retry())
    assert executed == ["two", "three", "last"]
    assert (result.status, result.state) == ("success", {"seen": ["one", "two", "three"], "half": "done"})


def test_a_second_failure_rolls_back_to_the_same_place() -> None:
    run = flow(rollback_to="one").create_run()
    first = go(run.start(1))
    undone.clear()
    again = go(run.retry())
    assert again.state == first.state == {"seen": ["one"]}
    assert undone == ["three", "two"]


def test_it_is_in_the_store_for_other_processes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb")
    run = flow(store=store, rollback_to="one").create_run()
    go(run.start(1))
    store.close()
    events = [event for event in store.events(run.run_id) if event.type == "run.rollback"]
    assert [event.payload["to"] for event in events] == ["one"]
    global broken
    broken = False
    executed.clear()
    result = go(flow(store=Store(tmp_path / "store.duckdb"), rollback_to="one").create_run(run.run_id).retry())
    assert executed == ["two", "three", "last"]
    assert result.state == {"seen": ["one", "two", "three"], "half": "done"}


def test_a_graph_does_again_what_finished_later_wherever_it_stands() -> None:
    made = Workflow("w", rollback_to="one")
    made.add(setting("one"), needs=()).add(setting("two"), needs=("one",)).add(setting("three"), needs=())
    made.add(last, needs=("two", "three"))
    run = made.commit().create_run()
    go(run.start(1))
    first = list(executed)
    global broken
    broken = False
    executed.clear()
    assert go(run.retry()).status == "success"
    assert set(executed) == set(first[first.index("one") + 1 :])


def test_to_a_step_inside_a_nested_workflow() -> None:
    inner = Workflow("inner").then(setting("a")).then(setting("b")).then(last).commit()
    run = Workflow("w", rollback_to="inner.a").then(setting("one")).then(inner).commit().create_run()
    result = go(run.start(1))
    assert result.state == {"seen": ["one", "a"]}
    global broken
    broken = False
    executed.clear()
    assert go(run.retry()).status == "success"
    assert executed == ["b", "last"]


def test_a_durable_function_rolls_back_as_well() -> None:
    @workflow(rollback_to="one")
    async def steps(ctx: Any, x: int) -> str:
        await ctx.step(setting("one"), x)
        await ctx.step(setting("two"), x)
        return str(await ctx.step(last, x))

    run = steps.create_run()
    result = go(run.start(1))
    assert (result.status, result.state) == ("failed", {"seen": ["one"]})
    assert undone == ["two"]
    global broken
    broken = False
    executed.clear()
    result = go(run.retry())
    assert (executed, result.status) == (["two", "last"], "success")
    assert result.state == {"seen": ["one", "two"], "half": "done"}


@pytest.mark.parametrize("kind", ["plan", "function"])
def test_killed_while_undoing_it_goes_on_to_the_same_place(tmp_path: Path, kind: str) -> None:
    script = """
        def undo(output):
            note(f"undo-{output}")
            if output == "b":
                die_once("undo")

        def make(name):
            async def work(x, ctx):
                note(f"do-{name}")
                ctx.set_state({name: 1})
                return name
            return step(id=name, compensate=undo)(work)

        a, b, c = make("a"), make("b"), make("c")

        @step
        async def fail(x):
            if sys.argv[3] == "broken":
                raise ValueError("no")

        options = {"store": store, "rollback_to": "a"}
        if sys.argv[2] == "plan":
            flow = Workflow("w", **options).then(a).then(b).then(c).then(fail).commit()
        else:
            @workflow(**options)
            async def flow(ctx):
                for each in (a, b, c, fail):
                    await ctx.step(each, 1)

        run = flow.create_run("r")
        next_ = {"pending": run.start, "failed": run.retry}.get(run.status, run.restart)
        result = asyncio.run(next_())
        print(json.dumps([result.status, result.state]))
        store.close()
    """
    elsewhere = Elsewhere(tmp_path)
    assert elsewhere.run(script, kind, "broken")[0] == -signal.SIGKILL
    assert json.loads(elsewhere.run(script, kind, "broken")[1]) == ["failed", {"a": 1}]
    assert elsewhere.log == ["do-a", "do-b", "do-c", "undo-c", "undo-b", "undo-b"]
    assert json.loads(elsewhere.run(script, kind, "mended")[1]) == ["success", {"a": 1, "b": 1, "c": 1}]
    assert elsewhere.log[6:] == ["do-b", "do-c"]


def test_a_name_that_no_step_has_is_refused_at_commit() -> None:
    with pytest.raises(DefinitionError, match=r"'w': rollback_to 'on' is none of its steps \(did you mean 'one'\?\)"):
        flow(rollback_to="on")
