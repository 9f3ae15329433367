"""Runs followed in the notebook: graph, timeline, log, one step in full, what the buttons do, and what the file keeps.

Screenshots are left in build/screenshots, for people.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import REPOSITORY, TIMEOUT

pytestmark = pytest.mark.browser
APPS = {"argvalues": ["lab/tree", "notebooks"], "ids": ["JupyterLab", "Notebook 7"]}

SCREENSHOTS = REPOSITORY / "build" / "screenshots"

STEPS = """
%load_ext wfkernel
import asyncio
from IPython.display import Markdown
from wfkernel import Workflow, open_store, step, write

gate = asyncio.Event()
broken = True

@step
def load(x: int) -> list[int]:
    for part in range(30):
        write(f"reading part {part}")
    write(Markdown("**97** rows"))
    return [1, 2, 3]

@step
async def chat(x) -> str:
    for token in ["10%", "\\r50%\\r", "all ", "is ", "well"]:
        write(token, end="")
        await asyncio.sleep(0.01)
    return "ok"

@step
async def double(x: int) -> int:
    return 2 * x

@step
async def hold(x) -> int:
    while not gate.is_set():
        await asyncio.sleep(0.02)
    return 1

@step
def publish(x) -> int:
    if broken:
        raise ConnectionError("nobody is there")
    return x

inner = Workflow("check").then(hold).commit()
nightly = (
    Workflow("nightly", store=open_store()).then(load).parallel(double_all := Workflow("all").foreach(double).commit(), chat)
    .then(inner).branch((lambda v: True, publish), (lambda v: False, double)).commit()
)
run = nightly.create_run()
"""
START = "task = asyncio.ensure_future(run.start(1))"


def shot(view: Locator, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    view.screenshot(path=SCREENSHOTS / f"{name}.png")


def box(view: Locator, name: str) -> Locator:
    return view.get_by_role("button", name=name)


@pytest.fixture
def nightly(lab: Any, request: Any) -> Any:
    """A run that waits in a nested workflow."""
    notebook = lab.open([STEPS, "run", START, "gate.set()"], getattr(request, "param", "lab/tree"))
    for index in (0, 1, 2):
        notebook.page.evaluate(
            """index => { const panel = window.jupyterapp.shell.currentWidget;
                 panel.content.activeCellIndex = index;
                 return window.jupyterapp.commands.execute('notebook:run-cell').then(() => null) }""",
            index,
        )
    notebook.view = notebook.cell(1).locator(".wf-run")
    box(notebook.view, "workflow check, running").wait_for(timeout=TIMEOUT)
    return notebook


def go_on(notebook: Any) -> None:
    notebook.page.evaluate(
        """() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 3;
             window.jupyterapp.commands.execute('notebook:run-cell') }"""
    )


@pytest.mark.parametrize("nightly", indirect=True, **APPS)
def test_a_run_is_followed_from_graph_to_traceback(nightly):
    view = nightly.view
    expect(box(view, "step load, success")).to_be_visible()
    expect(box(view, "branch branch")).to_have_attribute("data-status", "pending")
    shot(view, "running")

    # A nested workflow opens, and closes again.
    box(view, "workflow check, running").click()
    view.get_by_role("button", name="Open", exact=True).click()
    expect(box(view, "step hold, running")).to_be_visible()
    view.get_by_role("button", name="nightly").click()

    # One step in full.
    box(view, "step load").click()
    step = view.get_by_role("region", name="Step load")
    expect(step).to_contain_text("reading part")
    expect(step.locator("strong")).to_have_text("97")
    shot(view, "step")
    step.get_by_role("button", name="Close").click()

    view.get_by_role("tab", name="Log").click()
    expect(view.get_by_role("log").first).to_contain_text("all is well")
    expect(view.get_by_role("log").first).not_to_contain_text("%")
    search = view.get_by_role("searchbox").first
    search.fill("part 2")
    expect(view.get_by_role("tabpanel", name="Log")).to_contain_text("1 of 11")
    search.press("Enter")
    expect(view.locator("mark.wf-hit")).to_have_text("part 2")

    go_on(nightly)
    expect(view.get_by_role("alert").first).to_contain_text(
        "publish: ConnectionError: nobody is there", timeout=TIMEOUT
    )
    expect(view.get_by_text("is the address right").first).to_be_visible()
    view.get_by_text("Traceback").first.click()
    expect(view.get_by_label("Traceback").first).to_contain_text('raise ConnectionError("nobody is there")')
    view.get_by_role("tab", name="Timeline").click()
    expect(view.get_by_role("listitem").filter(has_text="all.double[2]")).to_be_visible()
    shot(view, "timeline")
    view.get_by_role("tab", name="Graph").click()
    expect(box(view, "step double, skipped")).to_be_visible()
    shot(view, "failed")


def test_what_the_file_keeps_of_a_run_at_rest_is_a_picture_and_the_page_stays_live(nightly):
    go_on(nightly)
    nightly.view.get_by_role("alert").first.wait_for()
    nightly.page.wait_for_function(
        "() => [...window.jupyterapp.shell.currentWidget.context.model.cells][1].sharedModel.wfkernelStill"
    )
    nightly.wait_idle()
    [output] = nightly.save().cells[1].outputs
    assert set(output.data) == {"text/html", "text/plain"}
    assert "nobody is there" in output.data["text/html"]
    expect(nightly.view).to_be_visible()


@pytest.mark.parametrize("nightly", indirect=True, **APPS)
def test_a_page_that_is_reloaded_shows_the_truth(lab, nightly):
    nightly.save()
    go_on(nightly)
    nightly.view.get_by_role("alert").first.wait_for()
    again = lab.reopen(nightly.path, nightly.app)
    view = again.cell(1).locator(".wf-run")
    expect(view.get_by_role("alert").first).to_contain_text("nobody is there", timeout=TIMEOUT)
    view.get_by_role("tab", name="Log").click()
    expect(view.get_by_role("log").first).to_contain_text("reading part 29")


def test_a_failed_step_is_tried_again_from_its_box(nightly):
    go_on(nightly)
    view = nightly.view
    view.get_by_role("alert").first.wait_for()
    nightly.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
        ".requestExecute({code: 'broken = False'}).done.then(() => null)"
    )
    box(view, "step publish").click()
    view.get_by_role("button", name="Retry from here").click()
    expect(view.get_by_role("status").first).to_contain_text("success", timeout=TIMEOUT)
    expect(view.get_by_role("alert").first).to_be_hidden()


def test_the_graph_is_walked_with_the_keyboard(nightly):
    view = nightly.view
    box(view, "step load").press("ArrowRight")
    expect(box(view, "workflow all")).to_be_focused()
    box(view, "workflow check, running").press("o")
    expect(box(view, "step hold, running")).to_be_focused()
    nightly.page.keyboard.press("Escape")
    box(view, "step load").press("Enter")
    expect(view.get_by_role("region", name="Step load")).to_be_visible()


def test_a_run_is_canceled(nightly):
    nightly.view.get_by_role("button", name="Cancel").click()
    expect(nightly.view.get_by_role("status").first).to_contain_text("canceled", timeout=TIMEOUT)


ASK = """%%step ask
from pydantic import BaseModel
from wfkernel import suspend
class Approval(BaseModel):
    approve: bool
answer = suspend(Approval, "publish?")"""


def test_a_step_that_asks_shows_one_thing_and_the_file_keeps_a_picture(lab):
    notebook = lab.open(["%load_ext wfkernel", ASK, "%%step last\nprint('the end', answer.approve)"])
    notebook.run_all()
    form = notebook.cell(1).locator("form")
    form.wait_for()
    shown = notebook.cell(1).locator(".jp-OutputArea-output").filter(has_text="publish?")
    assert shown.count() == 1
    shot(notebook.cell(1), "question")
    notebook.page.wait_for_function(
        "() => [...window.jupyterapp.shell.currentWidget.context.model.cells][1].sharedModel.wfkernelStill"
    )
    kept = [o.data for o in notebook.save().cells[1].outputs if "data" in o]
    assert [set(data) for data in kept] == [{"text/html", "text/plain"}]
    form.get_by_label("Approve").check()
    form.get_by_role("button", name="Resume").click()
    notebook.wait_output(2, "the end True")


MANY = """
from random import Random
chance = Random(3)
def make(number):
    @step(id=f"task_{number}")
    async def task(x):
        for line in range(34):
            write(f"task {number} writes line {line} of its log")
        return number
    return task
graph = Workflow("three hundred")
for number in range(300):
    needs = {f"task_{chance.randrange(max(0, number - 12), number)}" for _ in range(2)} if number > 3 else set()
    graph.add(make(number), needs=sorted(needs))
large = graph.commit().create_run()
large
"""


@pytest.mark.parametrize("app", **APPS)
def test_three_hundred_steps_and_ten_thousand_lines_stay_light(lab, app):
    notebook = lab.open([STEPS, MANY, "await large.start(1)\nprint('over')"], app)
    notebook.run_all()
    notebook.wait_output(2, "over")
    view = notebook.cell(1).locator(".wf-run")
    view.scroll_into_view_if_needed()
    expect(view.get_by_role("status").first).to_contain_text("300 of 300", timeout=TIMEOUT)
    expect(view.locator(".wf-box")).to_have_count(300)
    view.get_by_role("button", name="Fit").click()
    lab.theme("JupyterLab Dark")
    shot(view, "many-dark")
    view.get_by_role("tab", name="Log").click()
    search = view.get_by_role("searchbox").first
    search.fill("task 299 writes line 33")
    expect(view.get_by_role("log").first).to_contain_text("task 299 writes line 33")
    # All it followed, or the newest it was given at the end where it could not follow.
    expect(view.get_by_role("tab", name="Log")).to_have_text(re.compile("Log (10200|10000)$"))
    assert view.locator(".wf-row-log").count() < 100
    view.get_by_role("tab", name="Timeline").click()
    assert view.get_by_role("listitem").count() < 100
    shot(view, "many-timeline-dark")
