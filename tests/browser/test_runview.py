"""The live run view in JupyterLab: what a person sees, types and gets."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

MODEL = '''
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Optional
from pydantic import BaseModel, Field, SecretStr, model_validator

class Size(Enum):
    small = "small"
    large = "large"

class Where(BaseModel):
    path: str = Field("/data", min_length=2)
    deep: bool = False

class Node(BaseModel):
    name: str
    child: Optional["Node"] = None

class Approve(BaseModel):
    """Everything a release needs."""
    decision: Literal["approve", "reject"] = Field(description="what shall happen")
    kind: Literal["release"] = "release"
    note: str = Field("", min_length=3, title="Reason")
    text: str = Field("two\\nlines", json_schema_extra={"format": "multi-line"})
    limit: int = Field(5, ge=1, le=10)
    rate: float = Field(gt=0, lt=1)
    amount: Decimal = Decimal("1.50")
    size: Size = Size.small
    urgent: bool = True
    sure: Optional[bool] = None
    day: date
    at: Optional[datetime] = None
    clock: time = time(9, 30)
    who: Optional[str] = None
    where: Where = Where()
    fallback: Optional[Where] = None
    tags: list[str] = Field(["a"], max_length=3)
    places: list[Where] = []
    weights: dict[str, float] = {}
    anything: Any = None
    tree: Node = Node(name="root")
    secret: SecretStr = SecretStr("hidden")

    @model_validator(mode="after")
    def _large_is_not_urgent(self):
        if self.size is Size.large and self.urgent:
            raise ValueError("a large release is never urgent")
        return self
'''

RUN = """
import time as clock
from pydantic import ValidationError
from wfkernel.engine.state import RunState, StepState, Suspension
from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.notebook.feed import Feed
from wfkernel.notebook.runview import RunView
from wfkernel.notebook.view import render_html, render_text, view_of

run = RunState("r1", "suspended", workflow="release", started_at=clock.time() - 75)
run.params = {"version": "1.2"}
run.steps["load"] = StepState("load", "success", 1, 1, duration=12.3, restored=True, restored_in=0.25, binds=["rows"])
run.steps["clean"] = StepState("clean", "success", 2, 2, duration=0.4, binds=["rows"])
run.steps["clean"].log = ["dropped 3 rows", "<b>kept</b> 97"]
run.steps["approve"] = StepState("approve", "suspended", 1, 1, reads=["rows"], binds=["answer"])
run.steps["approve"].suspension = Suspension(
    0, "Release 1.2 to production?", Approve.model_json_schema(), {"rows": 97, "checks": "passed"}
)
run.steps["publish"] = StepState("publish", reads=["answer"])
commands, answers = [], []
feed = Feed(lambda: run)

def on_command(command):
    if command["op"] == "still":
        view = view_of(run, now=clock.time())
        still = {"html": render_html(view), "text": render_text(view)}
        return {"ok": True, "still": still, "widget": widget.model_id}
    if command["op"] == "kept":
        return {"ok": True}
    commands.append(command)
    if command["op"] == "continue":
        return {"ok": True, "message": "The kernel goes on by itself."}
    try:
        answers.append(Approve.model_validate(command["data"]))
    except ValidationError as error:
        return {"ok": False, "problems": [[".".join(map(str, e["loc"])), e["msg"]] for e in error.errors()]}
    run.steps["approve"].suspension = None
    run.steps["approve"].status = "pending"
    feed.heard(Event("r1", 2, clock.time(), ev.STEP_RESUMED, "approve", 0, {}))
    widget.tell(feed.take())
    return {"ok": True}
"""

STEP = """
if not answers:
    cell_id = get_ipython().kernel.get_parent("shell")["metadata"]["cellId"]
    widget = RunView(feed.picture, on_command, focus=FOCUS, cell_id=cell_id)
    display(widget)
    raise RuntimeError("suspended")
print("answer:", answers[-1].model_dump(mode="json"))
print("secret:", getattr(answers[-1], "secret", SecretStr("")).get_secret_value())
"""


def notebook_cells(focus: str = "") -> list[str]:
    return [MODEL, RUN, STEP.replace("FOCUS", repr(focus)), "print('published', answers[-1].note)"]


def field(form: Locator, label: str) -> Locator:
    return form.get_by_label(label, exact=True)


def problem_of(control: Locator) -> str:
    """The error that is tied to the control, as a screen reader would find it."""
    ids = (control.get_attribute("aria-describedby") or "").split()
    return control.page.locator(f"#{ids[-1]}[role=alert]").inner_text()


@pytest.fixture
def suspended(lab, request):
    """A notebook that ran up to its suspended step."""
    notebook = lab.open(notebook_cells(), getattr(request, "param", "lab/tree"))
    notebook.run_all()
    notebook.form = notebook.cell(2).locator("form")
    notebook.form.wait_for()
    return notebook


def fill_in(form: Locator) -> None:
    """An answer that fits."""
    form.get_by_label("Decision").select_option("approve")
    form.get_by_label("Reason").fill("looks fine")
    form.get_by_label("Rate").fill("0.25")
    form.get_by_label("Day").fill("2026-11-21")


def test_a_run_is_shown_with_its_steps(suspended):
    view = suspended.cell(2).locator(".wf-run")
    view.get_by_role("tab", name="Timeline").click()
    shown = view.inner_text()
    assert "release" in shown
    assert 'version = "1.2"' in shown
    assert "suspended, 2 of 4 steps done" in shown
    assert "restored" in shown
    assert "0.25 s" in shown
    assert "success, attempt 2" in shown
    assert "0.40 s" in shown
    assert "waits for approve" in shown
    assert "Release 1.2 to production?" in shown
    assert "97" in shown


def test_an_accepted_answer_runs_the_step_and_the_cells_below(suspended):
    assert suspended.prompts() == [1, 2, 3, None]
    fill_in(suspended.form)
    suspended.form.get_by_role("button", name="Resume").click()
    suspended.wait_output(3, "published looks fine")
    suspended.wait_idle()
    assert suspended.prompts() == [1, 2, 4, 5]
    output = suspended.output(2)
    assert "'decision': 'approve'" in output
    assert "'rate': 0.25" in output
    assert "'amount': '1.50'" in output
    assert "'day': '2026-11-21'" in output
    assert "'clock': '09:30:00'" in output
    assert "'at': None" in output
    assert "'who': None" in output
    assert "'fallback': None" in output
    assert "'text': 'two\\nlines'" in output
    assert "'tags': ['a']" in output
    assert "'child': None" in output
    assert "secret: hidden" in output
    saved = suspended.save()
    assert "published looks fine" in saved.cells[3].outputs[0]["text"]


def test_notebook_7_runs_on_after_an_answer_too(lab):
    notebook = lab.open(notebook_cells(), app="notebooks")
    notebook.run_all()
    form = notebook.cell(2).locator("form")
    fill_in(form)
    form.get_by_role("button", name="Resume").click()
    notebook.wait_output(3, "published looks fine")
    assert notebook.prompts() == [1, 2, 4, 5]


@pytest.mark.parametrize("suspended", ["lab/tree", "notebooks"], indirect=True, ids=["JupyterLab", "Notebook 7"])
def test_problems_stand_at_their_fields_and_the_rest_stays(suspended):
    form = suspended.form
    form.get_by_label("Reason").fill("x")
    form.get_by_label("Limit").fill("eleven")
    form.get_by_label("Rate").fill("1")
    form.get_by_label("Path", exact=True).first.fill("/")
    form.get_by_role("button", name="Add to Tags").click()
    field(form, "Tags 2").fill("b")
    form.get_by_label("Weights").fill('{"a": "heavy"}')
    form.get_by_role("button", name="Resume").click()

    decision = form.get_by_label("Decision")
    expect(decision).to_be_focused()
    assert problem_of(decision) == "Field required"
    assert "at least 3 characters" in problem_of(form.get_by_label("Reason"))
    assert "valid integer" in problem_of(form.get_by_label("Limit"))
    assert "less than 1" in problem_of(form.get_by_label("Rate"))
    assert "at least 2 characters" in problem_of(form.get_by_label("Path", exact=True).first)
    assert problem_of(form.get_by_label("Weights")).startswith("a: Input should be a valid number")
    assert form.get_by_label("Limit").input_value() == "eleven"
    assert field(form, "Tags 2").input_value() == "b"

    fill_in(form)
    form.get_by_label("Limit").fill("10")
    form.get_by_label("Path", exact=True).first.fill("/srv")
    form.get_by_label("Weights").fill('{"a": 1.5}')
    form.get_by_role("button", name="Resume").click()
    suspended.wait_output(3, "published looks fine")
    output = suspended.output(2)
    assert "'limit': 10" in output
    assert "'weights': {'a': 1.5}" in output
    assert "'tags': ['a', 'b']" in output
    assert "'path': '/srv'" in output


def test_json_that_cannot_be_read_is_said_beside_the_field_and_not_sent(suspended):
    fill_in(suspended.form)
    anything = suspended.form.get_by_label("Anything")
    anything.fill("{oops")
    anything.press("Tab")
    expect(anything).to_have_attribute("aria-invalid", "true")
    suspended.form.get_by_role("button", name="Resume").click()
    expect(anything).to_be_focused()
    assert problem_of(anything).startswith("not valid JSON")
    anything.fill("[1, null]")
    suspended.form.get_by_role("button", name="Resume").click()
    suspended.wait_output(3, "published")
    assert "'anything': [1, None]" in suspended.output(2)


def test_a_problem_of_the_whole_answer_stands_above_the_form(suspended):
    fill_in(suspended.form)
    suspended.form.get_by_label("Size").select_option("large")
    suspended.form.get_by_role("button", name="Resume").click()
    alert = suspended.form.get_by_role("alert").filter(has_text="a large release is never urgent")
    expect(alert).to_be_focused()


def test_nested_models_and_rows_are_added_and_removed_with_the_keyboard(suspended):
    form = suspended.form
    fill_in(form)
    form.get_by_role("button", name="Add Fallback").press("Enter")
    expect(form.locator("fieldset.wf-optional").first.get_by_label("Path")).to_be_focused()
    form.page.keyboard.type("x")
    for _ in range(2):
        form.get_by_role("button", name="Add to Places").press("Enter")
    form.get_by_role("group", name="Places 2").get_by_label("Path").fill("/second")
    form.get_by_role("button", name="Remove Places 1").press("Enter")
    expect(form.get_by_role("button", name="Add to Places")).to_be_focused()
    form.get_by_role("button", name="Add Child").press("Enter")
    form.get_by_role("button", name="Resume").press("Enter")
    child = form.get_by_role("group", name="Child").get_by_label("Name").last
    expect(child).to_be_focused()
    child.fill("leaf")
    form.get_by_label("At", exact=True).fill("2026-11-21T10:15")
    form.get_by_label("Time zone of At").select_option("UTC")
    form.get_by_label("Secret").fill("open sesame")
    form.get_by_role("button", name="Resume").press("Enter")
    suspended.wait_output(3, "published")
    output = suspended.output(2)
    assert "'fallback': {'path': '/datax', 'deep': False}" in output
    assert "'places': [{'path': '/second', 'deep': False}]" in output
    assert "'child': {'name': 'leaf', 'child': None}" in output
    assert "'at': '2026-11-21T10:15:00Z'" in output
    assert "secret: open sesame" in output


ODD = """
import uuid
from datetime import timedelta
from pydantic import AwareDatetime

class Approve(BaseModel):
    mark: Optional[Literal["x"]] = None
    level: Literal[1, 2, None] = 2
    when: AwareDatetime
    ratio: int | float
    key: uuid.UUID
    pause: timedelta = timedelta(days=1)
    pair: tuple[int, str] = (1, "a")
    kinds: set[Literal["p", "q"]] = Field(min_length=1)
    loose: int | str | None = 3
    big: int = 0
    agreed: bool
    made: list[str] = Field(default_factory=lambda: ["by", "factory"])
    nested: list[list[int]] = [[]]
    node: Node = Field(default_factory=lambda: Node(name="made"))
    numbers: list[int] = [7]
    note: str = "unused"
"""


def test_less_common_types_travel_unchanged(lab):
    cells = notebook_cells()
    cells[0] += ODD
    notebook = lab.open(cells[:3])
    notebook.run_all()
    form = notebook.cell(2).locator("form")
    resume = form.get_by_role("button", name="Resume")
    when = field(form, "When *")
    when.fill("2026-11-21T10:15")
    form.get_by_label("Ratio").fill("2.5")
    form.get_by_label("Key").fill("12345678-1234-5678-1234-567812345678")
    form.get_by_label("Big").fill("12345678901234567890")
    form.get_by_label("Loose").fill("17")
    form.get_by_label("Mark").select_option("x")
    form.get_by_label("Level").select_option("none")
    form.get_by_label("Note").fill("")
    field(form, "Numbers 1").fill("")
    field(form, "Kinds 1").select_option("q")
    resume.click()
    expect(when).to_be_focused()
    assert "timezone" in problem_of(when)
    assert "valid integer" in problem_of(field(form, "Numbers 1"))
    form.get_by_label("Time zone of When").select_option("local time")
    field(form, "Numbers 1").fill("8")
    resume.click()
    notebook.wait_output(2, "'mark': 'x'")
    output = notebook.output(2)
    expected = [
        "'mark': 'x', 'level': None, 'when': '2026-11-21T10:15:00",
        "'ratio': 2.5, 'key': '12345678-1234-5678-1234-567812345678', 'pause': 'P1D', 'pair': [1, 'a']",
        "'kinds': ['q'], 'loose': 17, 'big': 12345678901234567890, 'agreed': False",
        "'made': ['by', 'factory'], 'nested': [[]], 'node': {'name': 'made', 'child': None}",
        "'numbers': [8], 'note': ''",
    ]
    assert [part for part in expected if part not in output] == []


def test_a_step_that_asks_for_no_model_takes_any_json_or_nothing(lab):
    cells = notebook_cells()
    cells[1] = (
        cells[1]
        .replace("Approve.model_json_schema()", "{}")
        .replace('Approve.model_validate(command["data"])', '[command["data"]]')
    )
    cells[2] = cells[2].partition("print(")[0] + "print('answer:', answers[-1])"
    notebook = lab.open(cells[:3])
    notebook.run_all()
    form = notebook.cell(2).locator("form")
    form.get_by_role("button", name="Resume").click()
    notebook.wait_output(2, "answer: [None]")
    notebook.run_all()
    form.get_by_label("Answer").fill('{"go": true}')
    form.get_by_role("button", name="Resume").click()
    notebook.wait_output(2, "answer: [{'go': True}]")


def test_an_update_leaves_alone_what_somebody_is_typing(lab):
    tick = """
import threading
def tick():
    for i in range(30):
        feed.heard(Event("r1", 3 + i, clock.time(), ev.STEP_OUTPUT, "clean", 1, {"text": f"late line {i}"}))
        widget.tell(feed.take())
        clock.sleep(0.05)
threading.Thread(target=tick).start()
"""
    notebook = lab.open([*notebook_cells()[:3], tick])
    notebook.run_all()
    reason = notebook.cell(2).get_by_label("Reason")
    reason.focus()
    notebook.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-below') }")
    reason.focus()
    typed = "a reason of some length, typed while the run goes on"
    reason.press_sequentially(typed, delay=25)
    notebook.wait_idle()
    expect(reason).to_be_focused()
    assert reason.input_value() == typed


def test_keys_pressed_in_the_form_are_no_notebook_shortcuts(suspended):
    suspended.form.get_by_label("Decision").focus()
    for key in "ddxab":
        suspended.page.keyboard.press(key)
    expect(suspended.page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)


def test_one_step_alone_is_shown_under_its_cell(lab):
    notebook = lab.open(notebook_cells(focus="approve"))
    notebook.run_all()
    steps = notebook.cell(2).locator(".wf-step")
    expect(steps).to_have_count(1)
    expect(steps.locator(".wf-name")).to_have_text("approve")
    expect(notebook.cell(2).locator("header")).to_be_hidden()


def test_without_a_notebook_to_run_the_kernel_is_asked_to_go_on(lab):
    cells = notebook_cells()
    cells[2] = cells[2].replace("cell_id=cell_id", 'cell_id="no such cell"')
    notebook = lab.open([*cells[:3], "print(commands[-1])"])
    notebook.run_all()
    form = notebook.cell(2).locator("form")
    fill_in(form)
    form.get_by_role("button", name="Resume").click()
    notebook.wait_output(2, "The kernel goes on by itself.")


def test_the_run_stops_at_the_first_error_below(lab):
    broken = (
        "from pathlib import Path\nwhile not Path('all sent').exists(): clock.sleep(0.1)\nraise ValueError('broken')"
    )
    notebook = lab.open([*notebook_cells()[:3], broken, "print('never')"])
    notebook.run_all()
    form = notebook.cell(2).locator("form")
    fill_in(form)
    form.get_by_role("button", name="Resume").click()
    # A kernel drops the cells that are queued when one fails, so the last one has to be there by then.
    expect(notebook.cell(4).locator(".jp-InputPrompt")).to_have_text("[*]:")
    notebook.path.with_name("all sent").touch()
    notebook.wait_output(3, "broken")
    notebook.wait_idle()
    assert notebook.prompts()[-1] is None
    assert "never" not in notebook.output(4)


def test_the_saved_notebook_holds_a_readable_picture(suspended):
    suspended.page.wait_for_function(
        "() => [...window.jupyterapp.shell.currentWidget.context.model.cells][2].sharedModel.wfkernelStill"
    )
    bundle = suspended.save().cells[2].outputs[0]["data"]
    assert set(bundle) == {"text/html", "text/plain"}
    assert "❚❚ approve" in bundle["text/plain"]
    assert "<table" in bundle["text/html"]
    assert "Release 1.2 to production?" in bundle["text/html"]
