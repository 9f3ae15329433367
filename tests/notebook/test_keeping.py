"""How a run is kept, set where people are: durability and automatic checkpoints in a notebook, with `wf run` and in code."""

from __future__ import annotations

import pytest

from tests.notebook.conftest import Kernel
from tests.notebook.test_headless import cells, wf, write
from wfkernel import Workflow, step, workflow
from wfkernel.engine.checkpointing import CheckpointPolicy, checkpoint_policy
from wfkernel.errors import DefinitionError
from wfkernel.store.store import Store, open_store


def checkpoints(store: Store) -> list[tuple[str, str]]:
    """(what finished last, the policy) of every checkpoint."""
    return [
        (list(store.checkpoints.state(made).steps)[-1], made.made_by)
        for made in sorted(store.checkpoints.all(), key=lambda made: made.seq)
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("every step", CheckpointPolicy(steps=1)),
        ("10 steps", CheckpointPolicy(steps=10)),
        ("every 2 steps, 5m, keep 3", CheckpointPolicy(2, 300.0, 3)),
        ("30s", CheckpointPolicy(seconds=30.0)),
        ("manual", CheckpointPolicy()),
        (None, CheckpointPolicy()),
    ],
)
def test_a_policy_is_written_in_words(said, meant):
    assert checkpoint_policy(said) == meant
    assert checkpoint_policy(str(meant)) == meant


def test_what_is_no_policy_is_refused():
    with pytest.raises(
        DefinitionError, match="checkpoints 'sometimes': 'sometimes' is none of 'every step', 'N steps'"
    ):
        checkpoint_policy("sometimes")


@step
def one(x: int) -> int:
    return x + 1


@step
def two(x: int) -> int:
    return x * 2


class TestInCode:
    def test_a_workflow_makes_checkpoints_and_a_run_may_say_otherwise(self, store):
        wf = Workflow("w", input=int, store=store, checkpoints="every step").then(one).then(two).commit()
        assert wf.run(1).result == 4
        assert checkpoints(store) == [("one", "every step"), ("two", "every step")]
        run = wf.create_run("r2", checkpoints="manual", durability="write")
        assert run.sync.start(1).result == 4
        assert len(store.checkpoints.all()) == 2
        # Whoever takes the run up keeps it as it was told to be kept.
        again = wf.create_run("r2")
        assert (again.options.durability, str(again.options.checkpoints)) == ("write", "manual")

    def test_a_durable_function_too(self, store):
        @workflow(store=store, checkpoints="2 steps")
        async def flow(ctx, x: int) -> int:
            return await ctx.step(two, await ctx.step(one, x))

        assert flow.run(1, durability="write").result == 4
        assert checkpoints(store) == [("two", "every 2 steps")]

    def test_exit_and_checkpoints_exclude_each_other(self, store):
        with pytest.raises(DefinitionError, match="durability 'exit' writes nothing before"):
            Workflow("w", store=store, durability="exit", checkpoints="every step")
        with pytest.raises(DefinitionError, match="durability is 'fsync', 'write' or 'exit', not 'never'"):
            Workflow("w", store=store).then(one).commit().create_run(durability="never")


class TestInANotebook:
    @pytest.fixture
    def running(self, kernel) -> Kernel:
        started: Kernel = kernel()
        return started

    def test_set_shows_changes_and_lasts(self, running):
        assert running.run("%workflow set").text.strip() == "durability fsync, checkpoints manual"
        set_ = running.run("%workflow set --durability write --checkpoints '1 step, keep 2'")
        assert set_.text.strip() == "durability write, checkpoints every step, keep 2"
        for name in "abc":
            assert running.run(f"%%step {name}\n{name} = 1").status == "ok"
        assert running.run("%workflow new").status == "ok"  # which waits for the checkpoints
        assert running.run("%workflow set").text.strip() == "durability write, checkpoints every step, keep 2"
        found = running.value("[c.made_by for c in __import__('wfkernel').open_store().checkpoints.all()]")
        assert found == "['every step, keep 2', 'every step, keep 2']"
        refused = running.run("%workflow set --durability exit")
        assert "durability 'exit' writes nothing before the run ends" in refused.text


@pytest.fixture
def notebook(tmp_path):
    return write(tmp_path / "nb.ipynb", cells())


def test_a_headless_run_is_told_with_flags(tmp_path, notebook):
    wf(tmp_path, "run", "nb.ipynb", "-o", "out.ipynb", "--checkpoints", "every step", "--durability", "write", code=75)
    store = open_store(tmp_path / ".wfkernel" / "store.duckdb")
    state = store.load(store.find("latest"))
    assert (state.durability, state.checkpoints) == ("write", "every step")
    assert {policy for _, policy in checkpoints(store)} == {"every step"}
    store.close()


def test_a_kernel_that_ends_writes_what_exit_held(tmp_path, notebook):
    wf(tmp_path, "run", "nb.ipynb", "-o", "out.ipynb", "--durability", "exit", code=75)
    wf(tmp_path, "resume", "latest", "--data", '{"approve": true}')
    store = open_store(tmp_path / ".wfkernel" / "store.duckdb")
    state = store.load(store.find("latest"))
    assert state.status == "success"
    assert {step.status for step in state.steps.values()} == {"success"}
    store.close()
