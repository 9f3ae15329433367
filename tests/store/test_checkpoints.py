"""Checkpoints: a point of a run that can be named, loaded, and gone back to."""

from __future__ import annotations

import duckdb
import pytest

from tests.store.test_store import begin, execute
from wfkernel.engine import events as ev
from wfkernel.engine.checkpointing import CheckpointPolicy
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.snapshot import restore, snapshot
from wfkernel.engine.state import fold
from wfkernel.errors import (
    CheckpointDrift,
    CheckpointNotFound,
    DefinitionError,
    RunNotFound,
    RunSuspended,
    StoreError,
)
from wfkernel.store.checkpoints import AutoCheckpoint


def run_of(store, *steps: str, run_id: str = "r1") -> ScriptRun:
    run = begin(store, run_id)
    for path in steps:
        execute(run, path)
    return run


def sql(store, statement: str, *parameters: object) -> None:
    """Change the tables behind the store's back."""
    with store.database.open() as connection:
        connection.execute(statement, parameters)


def test_a_snapshot_of_any_state_is_that_state_again(store):
    run = run_of(store, "a")
    step = run.begin("b", "c", {"x": {"digest": "d", "from": "a"}}, ["x"], [])
    step.start()
    step.write("a line")
    with pytest.raises(RunSuspended):
        step.answer(None, "Go on?", {"rows": [1, 2]})
    state = store.load("r1")
    assert restore(snapshot(state)) == state
    assert state.step("b").suspension is not None


def test_a_checkpoint_holds_the_state_of_its_moment(store):
    run = run_of(store, "a")
    then = store.load("r1")
    made = store.checkpoint("r1", label="after a")
    execute(run, "b")
    assert made.seq == then.seq
    assert store.checkpoints.state(made) == then
    assert [c.label for c in store.checkpoints.all("r1")] == ["after a"]
    assert store.query("SELECT run_id, seq, label, made_by FROM checkpoints")[1] == [
        ("r1", then.seq, "after a", "manual")
    ]


def test_a_run_loads_the_same_with_and_without_checkpoints(store):
    run = run_of(store, "a", "b")
    store.checkpoint("r1")
    execute(run, "a")
    execute(run, "c")
    assert store.load("r1") == run.state == fold(store.events("r1"))


def test_a_checkpoint_of_any_earlier_event_can_be_made(store):
    run_of(store, "a", "b")
    made = store.checkpoints.create("r1", "after a", seq=3)
    assert list(store.checkpoints.state(made).steps) == ["a"]
    with pytest.raises(StoreError, match=r"has no event 99; its last one is 5\."):
        store.checkpoints.create("r1", seq=99)
    with pytest.raises(RunNotFound):
        store.checkpoint("nobody")


def test_a_damaged_checkpoint_is_folded_again(store):
    run = run_of(store, "a")
    made = store.checkpoint("r1")
    sql(store, "UPDATE wf.checkpoints SET state = replace(state, 'success', 'failed')")
    assert store.checkpoints.state(made) == run.state
    assert store.load("r1") == run.state


def test_a_checkpoint_of_another_wfkernel_is_folded_again(store):
    run = run_of(store, "a")
    made = store.checkpoint("r1")
    from wfkernel.store.checkpoints import checksum

    older = snapshot(run.state).replace('"wake_at"', '"woken_at"')
    sql(store, "UPDATE wf.checkpoints SET state = $1, checksum = $2", older, checksum(older))
    assert store.checkpoints.state(made) == run.state


class TestGoingBack:
    def test_makes_a_new_run_that_goes_on_from_there(self, store):
        run = run_of(store, "a")
        made = store.checkpoint("r1")
        execute(run, "b")
        run.finish("failed", {"type": "E", "message": "m"})
        again = store.checkpoints.restore(made, run_id="r2")
        assert (again.run_id, again.status, list(again.steps)) == ("r2", "running", ["a"])
        assert store.load("r2") == again
        assert store.load("r1").status == "failed"  # the old run stays as it was
        assert next(r for r in store.runs() if r["run_id"] == "r2")["interrupted"] is True  # so `wf resume` takes it up

        taken = ScriptRun(store, store.claim("r2", lambda state: [(ev.RUN_ATTACH, "", {})]))
        assert taken.decide("a", "code of a", {}) == "restore"
        execute(taken, "b")
        taken.finish("success")
        assert store.load("r2").status == "success"

    def test_the_new_run_begins_when_it_is_made(self, store):
        run = run_of(store, "a")
        made = store.checkpoint("r1")
        run.finish("success")
        ended = store.checkpoint("r1")
        later = run_of(store, "a", run_id="r2")
        again = store.checkpoints.restore(made, run_id="r3")
        assert again.started_at > later.state.started_at
        assert [row["run_id"] for row in store.runs()] == ["r3", "r2", "r1"]
        assert store.find("latest") == "r3"
        whole = store.checkpoints.restore(ended, run_id="r4")
        assert (whole.status, whole.ended_at) == ("success", whole.started_at)
        assert store.load("r4") == whole
        assert store.query("SELECT status, seconds FROM runs WHERE run_id = 'r4'")[1] == [("success", 0.0)]

    def test_a_suspended_step_waits_for_its_answer_again(self, store):
        run = run_of(store, "a")
        step = run.begin("ask", "c", {}, [], [])
        step.start()
        with pytest.raises(RunSuspended):
            step.answer(None, "Go on?", None)
        made = store.checkpoint("r1")
        run.answer("ask", True, "me")
        again = store.checkpoints.restore(made)
        assert again.status == "suspended"
        assert [s.path for s in again.suspended_steps] == ["ask"]

    def test_is_refused_when_a_step_in_it_changed(self, store):
        run_of(store, "a", "b")
        made = store.checkpoint("r1")
        code = {"a": "code of a", "b": "other code"}
        with pytest.raises(CheckpointDrift, match="step 'b' has other code") as caught:
            store.checkpoints.restore(made, code=code)
        assert "--allow-drift" in str(caught.value)
        with pytest.raises(CheckpointDrift, match="step 'b' is gone"):
            store.checkpoints.restore(made, code={"a": "code of a"})
        assert len(store.runs()) == 1
        assert store.checkpoints.restore(made, code=code, drift=True).steps.keys() == {"a", "b"}
        assert store.checkpoints.restore(made, code=code | {"b": "code of b", "new": "x"}).steps.keys() == {"a", "b"}

    def test_does_not_overwrite_a_run(self, store):
        run_of(store, "a")
        made = store.checkpoint("r1")
        with pytest.raises(StoreError, match="there is a run 'r1' already"):
            store.checkpoints.restore(made, run_id="r1")


class TestFinding:
    def test_by_label_id_or_its_beginning(self, store):
        run_of(store, "a")
        first, second = store.checkpoint("r1", "good"), store.checkpoint("r1", "good")
        assert store.checkpoints.find("good") == second
        assert store.checkpoints.find(first.checkpoint_id) == first
        with pytest.raises(CheckpointNotFound, match=r"'nope' is no checkpoint in .*`wf checkpoint ls` lists them"):
            store.checkpoints.find("nope")
        with pytest.raises(CheckpointNotFound, match="'' is the beginning of 2 checkpoints"):
            store.checkpoints.find("")

    def test_removed_is_gone_and_the_run_is_not(self, store):
        run = run_of(store, "a")
        store.checkpoints.remove(store.checkpoint("r1"))
        assert store.checkpoints.all() == []
        assert store.load("r1") == run.state

    def test_prune_keeps_the_newest_and_every_labelled_one(self, store):
        run_of(store, "a", "b")
        store.checkpoint("r1", "named")
        made = [store.checkpoints.create("r1", seq=n) for n in (1, 2, 3)]
        gone = store.checkpoints.prune(keep=1)
        assert {c.seq for c in gone} == {1, 2}
        assert {c.checkpoint_id for c in store.checkpoints.all()} - {made[2].checkpoint_id} == {
            store.checkpoints.find("named").checkpoint_id
        }


class TestPolicies:
    @pytest.mark.parametrize(
        ("policy", "made"),
        [
            (CheckpointPolicy(steps=1), [3, 5, 7, 9, 11]),
            (CheckpointPolicy(steps=2), [5, 9]),
            (CheckpointPolicy(steps=1, keep=2), [9, 11]),
            (CheckpointPolicy(seconds=1e-9), [3, 5, 7, 9, 11]),
            (CheckpointPolicy(seconds=3600), []),
            (CheckpointPolicy(), []),
        ],
        ids=str,
    )
    def test_say_when(self, store, policy, made):
        run = begin(store)
        auto = AutoCheckpoint(store.checkpoints, "r1", policy)
        run._on_event = auto
        for path in "abcde":
            execute(run, path)
        auto.close()
        assert [c.seq for c in store.checkpoints.all("r1")] == made
        assert {c.made_by for c in store.checkpoints.all("r1")} <= {str(policy)}

    def test_that_cannot_be_kept_to_is_one_line_in_the_log(self, store, caplog):
        run = begin(store)
        auto = AutoCheckpoint(store.checkpoints, "gone", CheckpointPolicy(steps=1))  # deleted as soon as it had ended
        run._on_event = auto
        execute(run, "a")
        auto.close()
        assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["no checkpoint of run gone at event 3"]

    def test_leave_those_made_by_hand(self, store):
        run = begin(store)
        auto = AutoCheckpoint(store.checkpoints, "r1", CheckpointPolicy(steps=1, keep=1))
        run._on_event = auto
        execute(run, "a")
        mine = store.checkpoint("r1")
        for path in "bc":
            execute(run, path)
        auto.close()
        assert [c.seq for c in store.checkpoints.all("r1") if c.checkpoint_id != mine.checkpoint_id] == [7]
        assert store.checkpoints.find(mine.checkpoint_id) == mine

    def test_nonsense_is_refused(self):
        with pytest.raises(DefinitionError, match="checkpoint policy: steps has to be above 0, not 0"):
            CheckpointPolicy(steps=0)


def test_the_tables_are_plain_sql_for_others(store):
    run_of(store, "a")
    store.checkpoint("r1", "x")
    store.close()
    with duckdb.connect(str(store.path), read_only=True) as connection:
        assert connection.execute("SELECT label, bytes > 100 FROM checkpoints").fetchall() == [("x", True)]
