"""What the page of a run is told: a whole picture, then only what changed."""

from __future__ import annotations

import json
from typing import Any

from wfkernel import Workflow, step
from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.state import RunState, fold
from wfkernel.notebook.feed import BURST, Feed


class Run:
    """A run whose events are written by hand."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.state = RunState("r")
        self.feed = Feed(lambda: self.state)
        self.emit(ev.RUN_START, {"status": "running", "workflow": "w", "mode": "interactive"})

    def emit(self, type_: str, payload: dict[str, Any], path: str = "", attempt: int = 0) -> None:
        event = Event("r", len(self.events) + 1, 100.0 + len(self.events), type_, path, attempt, payload)
        self.events.append(event)
        self.state.apply(event)
        self.feed.heard(event)

    def plan(self, *steps: tuple[str, list[str], list[str]]) -> None:
        self.emit(ev.STEP_PLANNED, {"steps": [{"path": p, "reads": r, "binds": b} for p, r, b in steps]})


def test_only_what_an_event_touched_is_told_again():
    run = Run()
    run.plan(("load", [], ["x"]), ("clean", ["x"], ["y"]))
    assert run.feed.take()["chart"][""]["arrows"] == [[0, 1]]
    run.emit(ev.STEP_START, {"reads": [], "binds": ["x"]}, "load", 1)
    told = run.feed.take()
    assert [(s["path"], s["status"]) for s in told["steps"]] == [("load", "running")]
    assert told["after"] == told["number"] - 1
    assert "chart" not in told
    assert run.feed.take() is None


def test_a_step_is_told_when_what_it_waits_for_changes():
    run = Run()
    run.plan(("load", [], ["x"]), ("clean", ["x"], []))
    run.feed.take()
    run.emit(ev.STEP_START, {"reads": [], "binds": ["x"]}, "load", 1)
    run.emit(ev.STEP_RESULT, {"status": "success", "duration": 1.0}, "load", 1)
    told = {s["path"]: s["waits_for"] for s in run.feed.take()["steps"]}
    assert told["clean"] == []


def test_every_attempt_has_its_span():
    run = Run()
    run.emit(ev.STEP_START, {}, "load", 1)
    run.emit(ev.STEP_RETRY, {"error": {"type": "E", "message": "no"}, "delay": 0}, "load", 1)
    run.emit(ev.STEP_START, {}, "load", 2)
    assert run.feed.picture()["attempts"] == [["load", 1, 101.0, 102.0, "failed"], ["load", 2, 103.0, None, "running"]]
    run.emit(ev.RUN_FINISH, {"status": "canceled"})
    assert run.feed.picture()["attempts"][1] == ["load", 2, 103.0, 104.0, "canceled"]


def test_text_that_comes_in_pieces_is_one_line_in_the_state_and_marked_for_the_page():
    run = Run()
    run.emit(ev.STEP_START, {}, "chat", 1)
    for token in ("to", "ken", "s"):
        run.emit(ev.STEP_OUTPUT, {"text": token, "end": ""}, "chat", 1)
    run.emit(ev.STEP_OUTPUT, {"text": "."}, "chat", 1)
    run.emit(ev.STEP_OUTPUT, {"text": "next"}, "chat", 1)
    assert list(run.state.step("chat").log) == ["tokens.", "next"]
    log = run.feed.picture()["log"]
    assert log == [["chat", "to", 1], ["chat", "ken", 1], ["chat", "s", 1], ["chat", "."], ["chat", "next"]]


def test_a_piece_that_goes_back_to_the_start_of_its_line_says_so():
    run = Run()
    for piece in ("\r 20%", "\x1b[32m40%\x1b[0m\r", "a\r\nb", "10\r20"):
        run.emit(ev.STEP_OUTPUT, {"text": piece, "end": ""}, "bar", 1)
    assert [text for _, text, _ in run.feed.picture()["log"]] == ["\r 20%", "40%\r", "a\nb", "\r20"]


def test_of_a_burst_the_newest_lines_are_told_and_how_many_came_before_them():
    run = Run()
    run.feed.take()
    for n in range(BURST + 5):
        run.emit(ev.STEP_OUTPUT, {"text": str(n)}, "s", 1)
    told = run.feed.take()
    assert [text for _, text in told["log"]] == [str(n) for n in range(5, BURST + 5)]
    assert (told["at"], told["left_out"]) == (0, 5)
    assert len(run.feed.picture()["log"]) == BURST + 5


def test_the_past_is_read_from_the_events_and_nothing_heard_meanwhile_is_lost_or_doubled():
    run = Run()
    for n in range(600):  # more than the state keeps
        run.emit(ev.STEP_OUTPUT, {"text": str(n)}, "s", 1)
    late = Feed(lambda: run.state)
    assert len(late.picture()["log"]) == 500

    def past() -> list[Event]:
        read = list(run.events)
        run.emit(ev.STEP_OUTPUT, {"text": "meanwhile"}, "s", 1)
        late.heard(run.events[-1])
        return read

    late.relive(past)
    assert [text for _, text in late.picture()["log"]] == [*map(str, range(600)), "meanwhile"]


def test_a_picture_and_the_news_after_it_overlap_without_harm():
    run = Run()
    run.feed.take()
    run.emit(ev.STEP_OUTPUT, {"text": "one"}, "s", 1)
    picture = run.feed.picture()
    told = run.feed.take()
    assert told["after"] == picture["number"]
    assert picture["at"] + len(picture["log"]) == told["at"] + len(told["log"])  # the page passes over what it has


def test_a_run_of_the_engine_is_drawn_from_its_plan_also_when_it_comes_from_the_store(tmp_path):
    from wfkernel.store.store import Store

    @step
    def double(x: int) -> int:
        return 2 * x

    store = Store(tmp_path / "s.duckdb")
    workflow = Workflow("w", store=store).then(Workflow("inner").then(double).commit()).commit()
    run = workflow.create_run()
    run.sync.start(2)
    stored = Feed(lambda: fold(store.events(run.run_id))).picture()
    assert stored["chart"].keys() == {"", "inner."}
    assert json.loads(json.dumps(stored, allow_nan=False)) == stored
    store.close()
