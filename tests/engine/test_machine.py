"""The life of a run: 14 phases, 30 signals, no way between them but the table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wfkernel
from tests.engine.conftest import go
from wfkernel import Workflow, step
from wfkernel.engine import machine
from wfkernel.engine.events import Event
from wfkernel.engine.life import lead_on
from wfkernel.engine.machine import (
    IDLE,
    PAUSABLE,
    TABLE,
    TERMINAL,
    Facts,
    IllegalTransition,
    Phase,
    Position,
    Signal,
    advance,
    diagram,
    parse_phase,
    status_of,
    walk,
)
from wfkernel.engine.state import RunState

FACTS = st.builds(Facts, st.booleans(), st.booleans(), st.booleans(), st.booleans())
WORDS = st.lists(st.tuples(st.sampled_from(Signal), FACTS), max_size=40)
TO_WORK = (
    Signal.INITIATE_WORKFLOW, Signal.WORKFLOW_PARSED, Signal.WORKFLOW_VALID, Signal.GRAPH_BUILT, Signal.STEPS_SCHEDULED,
)  # fmt: skip
AT_WORK = walk(IDLE, TO_WORK)


def wander(word: list[tuple[Signal, Facts]], position: Position = IDLE) -> list[Position]:
    """The positions a run comes through; what is refused changes nothing."""
    found = [position]
    for signal, facts in word:
        try:
            position = advance(position, signal, facts)
        except IllegalTransition:
            continue
        found.append(position)
    return found


def test_there_are_14_phases_and_30_signals() -> None:
    assert (len(Phase), len(Signal)) == (14, 30)
    assert {signal for _, signal in TABLE} == set(Signal)  # each means something somewhere
    assert {phase for phase, _ in TABLE} == set(Phase)


def test_phases_are_read_from_their_names() -> None:
    assert parse_phase("restoring_from_checkpoint") is Phase.RESTORING_FROM_CHECKPOINT
    assert parse_phase("elsewhere") is None


@given(WORDS)
def test_no_signals_lead_to_a_phase_or_status_that_is_not_declared(word: list[tuple[Signal, Facts]]) -> None:
    for position in wander(word):
        assert isinstance(position.phase, Phase)
        assert status_of(position) in machine.RunStatus.__args__
        assert (position.back_to is not None) == (position.phase is Phase.CREATING_CHECKPOINT)
        if position.phase is Phase.PAUSED:
            assert position.resume_to in PAUSABLE


@given(WORDS, st.sampled_from(sorted(TERMINAL)))
def test_a_terminal_phase_is_left_by_reset_alone(word: list[tuple[Signal, Facts]], phase: Phase) -> None:
    without = [(signal, facts) for signal, facts in word if signal is not Signal.RESET]
    assert wander(without, Position(phase))[-1] == Position(phase)
    assert advance(Position(phase), Signal.RESET) == IDLE


@given(
    st.sampled_from(sorted(PAUSABLE)),
    st.sampled_from([Signal.PAUSE_WORKFLOW, Signal.SUSPEND_WORKFLOW]),
    st.integers(0, 3),
)
def test_pause_checkpoint_resume_leads_back_to_where_the_run_was(phase: Phase, stop: Signal, checkpoints: int) -> None:
    position = advance(Position(phase), stop)
    for _ in range(checkpoints):
        position = walk(position, (Signal.CREATE_CHECKPOINT, Signal.CHECKPOINT_CREATED))
        assert position.phase is Phase.PAUSED
    assert advance(position, Signal.RESUME_WORKFLOW) == Position(phase)


@given(st.sampled_from(Phase))
def test_what_can_be_paused_and_checkpointed(phase: Phase) -> None:
    assert machine.can_pause(phase) == ((phase, Signal.PAUSE_WORKFLOW) in TABLE)
    assert machine.can_checkpoint(phase) == ((phase, Signal.CREATE_CHECKPOINT) in TABLE)
    assert machine.is_terminal(phase) == (phase in {"completed", "failed", "cancelled"})


@pytest.mark.parametrize(
    ("position", "signal", "facts", "told"),
    [
        (Position(Phase.VALIDATING_WORKFLOW), Signal.WORKFLOW_VALID, Facts(steps=False), "it has no steps"),
        (Position(Phase.SCHEDULING_STEPS), Signal.STEPS_SCHEDULED, Facts(graph=False), "its graph is not built"),
        (Position(Phase.AWAITING_COMPLETION), Signal.BATCH_COMPLETED, Facts(running=True), "still being executed"),
        (Position(Phase.AWAITING_COMPLETION), Signal.ALL_STEPS_COMPLETED, Facts(failed=True), "or failed"),
        (IDLE, Signal.PAUSE_WORKFLOW, Facts(), "means nothing to a run that is idle"),
    ],
)
def test_guards_say_why_they_do_not_let_on(position: Position, signal: Signal, facts: Facts, told: str) -> None:
    with pytest.raises(IllegalTransition, match=told):
        advance(position, signal, facts)


def test_a_run_comes_through_its_phases_in_order() -> None:
    run = Workflow("w").then(_one).sleep("10ms").then(_ask).commit().create_run()
    seen = []
    run.watch(lambda event: seen.append((run.state.phase.value, run.state.status)))
    assert go(run.start(1)).status == "suspended"
    assert go(run.resume(5)).status == "success"
    told = [now for before, now in zip([None, *seen], seen, strict=False) if before != now]
    assert told[:3] == [
        ("executing_steps", "running"),
        ("awaiting_completion", "running"),
        ("executing_steps", "running"),
    ]
    assert ("awaiting_completion", "waiting") in told
    assert ("paused", "suspended") in told
    assert told[-1] == ("completed", "success")
    assert not run.state.refused


def test_an_event_that_cannot_happen_changes_nothing_and_is_told() -> None:
    state = RunState("r")
    state.apply(Event("r", 1, 0.0, "run.start", "", 0, {"status": "running"}))
    state.apply(Event("r", 2, 0.0, "run.finish", "", 0, {"status": "success"}))
    state.apply(Event("r", 3, 0.0, "run.suspended", "", 0, {"status": "suspended"}))
    assert (state.status, state.phase) == ("success", Phase.COMPLETED)
    assert state.refused == ["event 3, run.suspended: 'suspend_workflow' means nothing to a run that is completed"]


def test_a_run_that_is_over_goes_on_as_a_new_life() -> None:
    ended = lead_on(AT_WORK, "run.finish", "failed", Facts())
    assert lead_on(ended, "run.restart", None, Facts()) == Position(Phase.EXECUTING_STEPS)


def test_only_the_fold_moves_a_run_and_only_through_the_machine() -> None:
    """`position` and the status of a run are assigned in one function."""
    places = []
    for file in Path(wfkernel.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                targets = node.targets if isinstance(node, ast.Assign) else []
                for target in targets:
                    if isinstance(target, ast.Attribute) and target.attr == "position" and file.parent.name == "engine":
                        places.append(f"{file.name}:{function.name}")
    assert places == ["state.py:_move"]


def test_the_diagram_is_made_of_the_table() -> None:
    text = diagram()
    assert "    idle --> parsing: initiate_workflow" in text
    assert "    awaiting_completion --> executing_steps: batch_completed [idle hands]" in text
    assert text.count("-->") == 1 + len(TERMINAL) + sum(
        1 if move.target else len(PAUSABLE) if phase is Phase.PAUSED else 3 for (phase, _), move in TABLE.items()
    )


@step(worker="inline")
def _one(x: int) -> int:
    return x


@step(worker="inline")
def _ask(x: int, ctx: object) -> object:
    return ctx.suspend(None, "go on?")  # type: ignore[attr-defined]
