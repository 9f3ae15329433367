"""What a picture of a run holds, and how it reads as HTML and as text."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfkernel.engine.state import RunState, RunStatus, StepState, StepStatus, Suspension
from wfkernel.notebook import view as view_module
from wfkernel.notebook.view import ICONS, render_html, render_text, seconds, view_of

SCHEMA = {
    "title": "Approve",
    "type": "object",
    "properties": {"decision": {"type": "string"}, "note": {"type": "string", "default": ""}},
    "required": ["decision"],
}


def a_run(**changes: Any) -> RunState:
    """A run with a step in every state a person may meet."""
    run = RunState("run-1", "suspended", workflow="etl", started_at=100.0, params={"day": "2026-11-20"})
    run.steps = {
        "load": StepState("load", "success", 1, 1, duration=12.3, restored=True, restored_in=0.25, binds=["rows"]),
        "clean": StepState("clean", "success", 2, 2, duration=0.4, reads=["rows"], binds=["tidy"]),
        "fetch": StepState("fetch", "running", 1, 1, started_at=150.0),
        "train": StepState("train", "failed", 3, 3, duration=4.0),
        "approve": StepState("approve", "suspended", 1, 1, started_at=160.0, ended_at=161.0, binds=["answer"]),
        "publish": StepState("publish", reads=["answer", "tidy"]),
    }
    run.steps["fetch"].progress = {"done": 30, "total": 120, "label": "files"}
    run.steps["train"].error = {
        "type": "ValueError",
        "message": "not a number",
        "traceback": "File secret.py",
    }
    run.steps["train"].log = ["epoch 1", "epoch 2"]
    run.steps["approve"].suspension = Suspension(
        0, "Release?", SCHEMA, {"rows": 97}, [["note", "too short"], ["", "does not fit together"]]
    )
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def step_of(run: RunState, path: str, now: float = 200.0) -> dict[str, Any]:
    return next(step for step in view_of(run, now=now)["steps"] if step["path"] == path)


class Reader(HTMLParser):
    """HTML as somebody reads it whose browser knows tables and nothing else."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


# -- view_of ---------------------------------------------------------------------------------------------------


def test_a_view_holds_what_a_person_needs_and_no_traceback():
    view = view_of(a_run(), now=200.0)
    assert view["workflow"] == "etl"
    assert view["status"] == "suspended"
    assert view["params"] == {"day": "2026-11-20"}
    assert [step["path"] for step in view["steps"]] == [
        "load",
        "clean",
        "fetch",
        "train",
        "approve",
        "publish",
    ]
    assert step_of(a_run(), "train")["error"] == {"type": "ValueError", "message": "not a number", "hint": ""}
    assert "secret.py" not in json.dumps(view)


def test_a_run_without_a_workflow_name_is_called_after_its_notebook():
    assert view_of(RunState("r", notebook="/home/me/sales report.ipynb"), now=0)["workflow"] == "sales report"
    assert view_of(RunState("r"), now=0)["workflow"] == "run"


def test_a_pending_step_waits_for_the_last_unfinished_step_that_binds_what_it_reads():
    run = a_run()
    assert step_of(run, "publish")["waits_for"] == ["approve"]
    run.steps["clean"].status = "failed"
    assert step_of(run, "publish")["waits_for"] == ["approve", "clean"]
    run.steps["approve"].status = run.steps["clean"].status = "success"
    assert step_of(run, "publish")["waits_for"] == []


def test_a_running_step_and_run_last_until_now_and_a_suspended_one_until_it_stopped():
    assert step_of(a_run(), "fetch", now=200.0)["duration"] == 50.0
    assert step_of(a_run(), "approve", now=999.0)["duration"] == 1.0
    assert view_of(a_run(), now=999.0)["duration"] == 61.0
    assert view_of(a_run(status="running"), now=200.0)["duration"] == 100.0
    assert view_of(a_run(ended_at=130.0), now=999.0)["duration"] == 30.0


def test_the_log_is_its_last_lines_without_terminal_codes():
    run = a_run()
    log = run.steps["train"].log
    log.extend(f"line {i}" for i in range(100))
    log.append("\x1b[31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x07\r\nhalf 10 %\rfull 100 %\n" + "x" * 5000)
    lines = step_of(run, "train")["log"]
    assert len(lines) == view_module.LOG_TAIL
    assert lines[-3:-1] == ["red link", "full 100 %"]
    assert len(lines[-1]) == view_module.LINE_LENGTH
    assert lines[-1].endswith("…")


@pytest.mark.parametrize(
    "progress", [{"done": 1, "total": math.inf}, {"done": math.nan, "total": 3}, {"done": 1, "total": 0}]
)
def test_progress_towards_nothing_finite_makes_no_bar(progress: dict[str, float]):
    run = a_run()
    run.steps["fetch"].progress = progress
    assert step_of(run, "fetch")["progress"]["total"] is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
)


@given(
    text=st.text(st.characters()),
    value=anything,
    schema=st.dictionaries(st.text(st.characters()), anything, max_size=3),
)
def test_whatever_a_run_contains_its_view_is_json_a_browser_can_parse(text: str, value: Any, schema: dict[str, Any]):
    run = a_run(workflow=text, params={text: value}, error={"type": text, "message": text})
    step = run.steps[text] = StepState(text)
    step.log = [*step.log, text]
    step.error = {"type": text, "message": text}
    step.suspension = Suspension(0, text, {"default": schema}, value, [[text, text]])
    view = view_of(run, now=200.0)
    assert json.loads(json.dumps(view, allow_nan=False, ensure_ascii=False).encode("utf-8")) == view


# -- HTML ------------------------------------------------------------------------------------------------------


def test_html_is_a_table_that_reads_without_any_style():
    rows = Reader(render_html(view_of(a_run(), now=200.0))).rows
    assert [cell.strip() for cell in rows[0]] == ["Step", "Status", "Time", "Executions", ""]
    read = {row[0]: row[1:] for row in rows[1:]}
    assert read["load"][:3] == ["↺ restored", "0.25 s", "1"]
    assert read["clean"][:3] == ["✓ success", "0.40 s", "2"]
    assert read["fetch"][:2] == ["● running", "50 s"]
    assert "30 / 120 files" in read["fetch"][3]
    assert read["train"][3] == "ValueError: not a numberlog (2)epoch 1\nepoch 2"
    assert "waits for approve" in read["publish"][3]
    for words in (
        "Release?",
        '"rows": 97',
        "asks for: decision; optional: note",
        "note: too short",
        "wf resume",
    ):
        assert words in read["approve"][3]


def test_html_of_one_step_is_that_step_alone():
    text = Reader(render_html(view_of(a_run(), now=200.0), step="train")).text
    assert text.startswith("✗ train")
    assert "failed · 4.0 s · attempt 3" in text
    assert "not a number" in text
    assert "load" not in text


def test_a_step_the_run_has_not_heard_of_is_pending():
    view = view_of(a_run(), now=200.0)
    assert "new" in render_html(view, step="new")
    assert "pending" in render_html(view, step="new")
    assert render_text(view, step="new") == "○  new  pending"


def test_html_is_self_contained():
    html = render_html(view_of(a_run(), now=200.0))
    assert not {"script", "style", "link", "img", "iframe"} & set(Reader(html).tags)
    assert Reader(html).attributes <= {"style", "scope", "open", "aria-hidden"}
    assert not re.search(r"url\(|https?:|@import", html)


def test_every_colour_of_the_theme_has_a_fallback():
    html = render_html(view_of(a_run(), now=200.0))
    assert re.findall(r"var\(--jp-[a-z0-9-]+\)", html) == []
    assert "var(--jp-error-color1,#d32f2f)" in html


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_nothing_of_a_run_becomes_markup(text: str):
    plain = Reader(render_html(view_of(_run_saying("word"), now=200.0)))
    evil = f"<script>alert(1)</script><b onclick='x'>&lt;\"{text}"
    html = render_html(view_of(_run_saying(evil), now=200.0))
    shown = Reader(html)
    assert (shown.tags, shown.attributes) == (plain.tags, plain.attributes)
    assert shown.text.count("<script>alert(1)</script>") == plain.text.count("word") == 10


def _run_saying(text: str) -> RunState:
    run = RunState("r", "failed", workflow=text, params={"p": text})
    step = run.steps[text] = StepState(text, "failed")
    step.log = [*step.log, text]
    step.error = {"type": "Error", "message": text}
    step.progress = {"done": 1, "label": text}
    step.suspension = Suspension(0, text, {"properties": {text: {}}}, None, [["f", text]])
    return run


@pytest.mark.parametrize("status", get_args(RunStatus))
def test_every_status_of_a_run_is_shown_as_word_and_sign(status: RunStatus):
    view = view_of(RunState("r", status), now=0)
    assert f"{ICONS[status]} run: {status}" in render_text(view)
    assert ICONS[status] in render_html(view)
    assert status in Reader(render_html(view)).text


@pytest.mark.parametrize("status", get_args(StepStatus))
def test_every_status_of_a_step_is_shown_as_word_and_sign(status: StepStatus):
    run = RunState("r", "running", steps={"s": StepState("s", status)})
    assert render_text(view_of(run, now=0), step="s") == f"{ICONS[status]:<2} s  {status}"
    assert f"{ICONS[status]} s" in Reader(render_html(view_of(run, now=0), step="s")).text


def test_an_error_of_the_run_itself_is_shown_when_no_step_has_one():
    run = RunState("r", "failed", error={"type": "StoreLocked", "message": "kernel 12 keeps it"})
    assert "StoreLocked: kernel 12 keeps it" in render_text(view_of(run, now=0))
    assert "StoreLocked: kernel 12 keeps it" in render_html(view_of(run, now=0))


# -- text ------------------------------------------------------------------------------------------------------


def test_a_step_that_was_compensated_for_is_undone():
    run = a_run(
        steps={"book": StepState("book", "success", undone=True), "pay": StepState("pay", "failed", undone=True)}
    )
    assert [line.split()[:3] for line in render_text(view_of(run, now=0)).splitlines()[1:3]] == [
        ["↶", "book", "undone"], ["✗", "pay", "failed"],
    ]  # fmt: skip


def test_text_reads_like_this():
    assert render_text(view_of(a_run(), now=200.0)).splitlines() == [
        "❚❚ etl: suspended, 2 of 6 steps done",
        "  ↺  load     restored",
        "  ✓  clean    success, attempt 2",
        "  ●  fetch    running",
        "  ✗  train    failed, attempt 3",
        "     │ epoch 1",
        "     │ epoch 2",
        "     ValueError: not a number",
        "  ❚❚ approve  suspended",
        "     Release?",
        "     {",
        '       "rows": 97',
        "     }",
        "     asks for: decision; optional: note",
        "     refused: note: too short",
        "     refused: answer: does not fit together",
        "     to go on, fill in the form (running the cell shows it), use `wf resume`, or run in a cell:",
        '     %workflow resume --step approve --data \'{"decision": "..."}\'',
        "  ○  publish  pending, waits for approve",
    ]


@given(shift=st.floats(0, 1e9), run_id=st.text(min_size=1), done=st.integers(0, 120))
def test_text_is_the_same_whenever_and_however_fast_a_run_was(shift: float, run_id: str, done: int):
    other = a_run(run_id=run_id, started_at=100.0 + shift)
    for step in other.steps.values():
        step.duration = shift
        step.executions += 1
    other.steps["fetch"].progress = {"done": done, "total": 120, "label": "files"}
    assert render_text(view_of(other, now=200.0 + 2 * shift)) == render_text(view_of(a_run(), now=200.0))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        (0.0, "0.00 s"),
        (0.254, "0.25 s"),
        (4.2, "4.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_said_the_way_people_do(value: float | None, said: str):
    assert seconds(value) == said


# -- the widget's source ---------------------------------------------------------------------------------------


def test_the_widget_is_small_because_it_is_saved_into_every_notebook():
    from wfkernel.notebook.runview import RunView

    assert len(str(RunView._esm).encode()) < 60_000


def test_the_widget_loads_nothing_from_elsewhere():
    from wfkernel.notebook.runview import RunView

    source = f"{RunView._esm}{RunView._css}".replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|\bimport\b|url\((?!#)", source)


def test_the_widget_and_the_still_picture_use_the_same_signs():
    source = Path(view_module.__file__).with_name("page").joinpath("run.js").read_text("utf-8")
    assert dict(re.findall(r'(\w+): "(\S{1,2})"', source.partition("ICONS = {")[2].partition("}")[0])) == ICONS


def test_a_command_of_the_page_gets_the_reply_of_the_callback():
    from wfkernel.notebook.runview import RunView

    got: list[Any] = []
    sent: list[Any] = []
    widget = RunView(dict, lambda command: got.append(command) or {"ok": True, "message": "thanks"})
    widget.send = sent.append
    command = {"op": "resume", "step": "approve", "data": {"decision": "yes"}}
    widget._handle_custom_msg({"id": "7", "command": command}, [])
    assert got == [command]
    assert sent == [{"id": "7", "reply": {"ok": True, "message": "thanks"}}]


def test_a_defect_behind_a_command_is_told_to_the_page():
    from wfkernel.notebook.runview import RunView

    def broken(command: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("oh")

    sent: list[Any] = []
    widget = RunView(dict, broken)
    widget.send = sent.append
    with pytest.raises(ZeroDivisionError):
        widget._receive(widget, {"id": "7", "command": {}}, [])
    assert sent == [{"id": "7", "reply": {"ok": False, "problems": [["", "ZeroDivisionError('oh')"]]}}]
