"""The JupyterLab extension: a Suspend button that works while a cell runs, and the list of runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import REPOSITORY, TIMEOUT

pytestmark = pytest.mark.browser
in_both = pytest.mark.parametrize("app", ["lab/tree", "notebooks"], ids=["JupyterLab", "Notebook 7"])

SLOW = (
    "%%step slow\nimport time\nfrom pathlib import Path\nPath(f'begun-{here}').touch()\n"
    "while not Path(f'go-{here}').exists():\n    time.sleep(0.02)\nslow = 1"
)
ASK = (
    "%%step ask\nfrom pydantic import BaseModel\nfrom wfkernel import suspend\n"
    "class Approval(BaseModel):\n    approve: bool\n    note: str = ''\n"
    "answer = suspend(Approval, 'publish?')"
)


def cells(name: str) -> list[str]:
    return [
        f"%load_ext wfkernel\nhere = {name!r}",
        "%%step first\none = 1",
        SLOW,
        "%%step last\nprint('the end', slow)",
    ]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def suspend_button(page: Page) -> Locator:
    return page.locator("[data-jp-item-name='wfkernel-suspend'] jp-button").first


def panel(page: Page) -> Locator:
    page.evaluate("() => window.jupyterapp.commands.execute('wfkernel:show-runs')")
    shown = page.locator("#wfkernel-runs")
    expect(shown).to_be_visible()
    return shown


def test_what_is_built_is_built_from_the_sources_that_are_there():
    subprocess.run([sys.executable, REPOSITORY / "labextension" / "build.py", "--check"], check=True)
    built = REPOSITORY / "labextension" / "built" / "static"
    assert sum(file.stat().st_size for file in built.glob("*.js")) < 60_000


@in_both
def test_the_toolbar_button_suspends_a_busy_cell(lab, app, tmp_path):
    name = app.replace("/", "-")
    notebook = lab.open(cells(name), app)
    button = suspend_button(notebook.page)
    expect(button).to_have_attribute("aria-disabled", "true")
    notebook.start()
    wait_for(lab.server.notebooks / f"begun-{name}")
    expect(button).not_to_have_attribute("aria-disabled", "true")
    button.click()
    notebook.wait_output(2, "suspended at step 'slow' (toolbar)")
    notebook.wait_idle()
    assert notebook.prompts()[3] is None
    expect(button).to_have_attribute("aria-disabled", "true")
    notebook.page.screenshot(path=tmp_path / "suspended.png")


@in_both
def test_a_graph_run_shows_each_step_under_its_own_cell(lab, app, tmp_path):
    where = app.replace("/", "-")
    step = (
        "%%step {0} --always\nfrom pathlib import Path\nruns = Path('{0}-{1}')\n"
        "with runs.open('a') as f:\n    f.write('x')\nprint('{0} printed', len(runs.read_text()))"
    )
    cells = ["%load_ext wfkernel", step.format("one", where), step.format("two", where), "%workflow run"]
    notebook = lab.open(cells, app)
    notebook.run_all()
    for index, name in ((1, "one"), (2, "two")):
        notebook.wait_output(index, f"{name} printed 2")
        assert notebook.output(index).count("printed") == 1
    assert "printed" not in notebook.output(3)
    notebook.page.screenshot(path=tmp_path / "graph.png")


@in_both
def test_the_panel_lists_runs_and_resumes_the_stopped_one(lab, app, tmp_path):
    name = f"panel-{app.replace('/', '-')}"
    notebook = lab.open(cells(name), app)
    notebook.start()
    wait_for(lab.server.notebooks / f"begun-{name}")
    runs = panel(notebook.page)
    run = runs.locator("[aria-current='true']")
    expect(run.locator(".wf-Runs-chip")).to_have_text("running")
    expect(run).to_contain_text("1 of 3 steps")
    run.get_by_role("button", name="Suspend").click()
    expect(run.locator(".wf-Runs-chip")).to_have_text("suspended")
    notebook.page.screenshot(path=tmp_path / "panel.png")
    (lab.server.notebooks / f"go-{name}").touch()
    run.get_by_role("button", name="Resume").click()
    notebook.wait_output(3, "the end 1")
    expect(run.locator(".wf-Runs-chip")).to_have_text("success")


@in_both
def test_answering_goes_to_the_form_and_canceling_ends_the_run(lab, app):
    notebook = lab.open(["%load_ext wfkernel", ASK], app)
    notebook.run_all()
    run = panel(notebook.page).locator("[aria-current='true']")
    expect(run).to_contain_text("ask asks: publish?")
    run.get_by_role("button", name="Answer…").click()
    expect(notebook.cell(1).locator("form :focus")).to_have_count(1)
    run.get_by_role("button", name="Cancel").click()
    expect(run.locator(".wf-Runs-chip")).to_have_text("canceled")


BESIDE = """%load_ext wfkernel
import asyncio
from wfkernel import Workflow, open_store, step

gate = asyncio.Event()

def make(n):
    @step(id=f"task_{n}")
    async def task(x):
        if n == 30:
            await gate.wait()
        return n
    return task

workflow = Workflow("beside-NAME", store=open_store())
for n in range(40):
    workflow.then(make(n))
run = workflow.commit().create_run()
task = asyncio.ensure_future(run.start(1))
while len(run.state.steps) < 31:
    await asyncio.sleep(0.02)
run
"""


def wait_in_sight(view: Locator, box: str) -> None:
    """Wait until a box of the graph stands in what the graph's window shows; a view that draws anew has none for a moment."""
    canvas, node = view.locator(".wf-canvas"), view.get_by_role("button", name=box)
    deadline = time.monotonic() + 60
    while True:
        node.wait_for()
        shown, window = node.bounding_box(), canvas.bounding_box()
        if shown is not None and window is not None:
            height = min(window["height"], view.page.viewport_size["height"] - window["y"])
            across = window["x"] <= shown["x"] <= window["x"] + window["width"] - shown["width"]
            if across and window["y"] <= shown["y"] <= window["y"] + height - shown["height"]:
                return
        assert time.monotonic() < deadline, f"{box}: {shown} is not in {window}"
        view.page.wait_for_timeout(50)


@in_both
def test_a_workflow_beside_the_notebook_is_opened_at_its_present_step_and_stopped_from_the_list(lab, app, tmp_path):
    name = app.replace("/", "-")
    notebook = lab.open([BESIDE.replace("NAME", name)], app)
    notebook.run_all()
    inline = notebook.cell(0).locator(".wf-run")
    inline.scroll_into_view_if_needed()
    wait_in_sight(inline, "step task_30, running")
    run = panel(notebook.page).get_by_role("listitem").filter(has_text=f"beside-{name}")
    expect(run.locator(".wf-Runs-chip")).to_have_text("running")
    run.get_by_role("button", name=f"beside-{name}").click()
    opened = notebook.page.locator(".wf-Runs-view .wf-run")
    opened.wait_for()
    wait_in_sight(opened, "step task_30, running")
    notebook.page.screenshot(path=tmp_path / "beside.png")
    expect(run.get_by_role("button", name="Suspend")).to_be_visible()
    run.get_by_role("button", name="Cancel").click()
    expect(run.locator(".wf-Runs-chip")).to_have_text("canceled")
    expect(opened.get_by_role("status").first).to_contain_text("canceled")


def test_a_click_on_a_run_opens_its_view_and_another_on_its_notebook(lab, tmp_path):
    other = lab.open(["%load_ext wfkernel", "%%step only\nx = 1", "%%step bad\ny = x / 0"])
    other.run_all()
    notebook = lab.open(cells("busy"))
    notebook.start()
    wait_for(lab.server.notebooks / "begun-busy")
    runs = panel(notebook.page)

    # The run of this kernel, while its cell is busy: the view follows it.
    runs.get_by_role("button", name=notebook.path.stem).click()
    view = notebook.page.locator(".wf-Runs-view .wf-run")
    expect(view.get_by_role("button", name="step slow, running")).to_be_visible()
    (lab.server.notebooks / "go-busy").touch()
    expect(view.get_by_role("status").first).to_contain_text("3 of 3", timeout=TIMEOUT)
    notebook.page.screenshot(path=tmp_path / "view.png")
    notebook.page.get_by_role("main").locator(".lm-TabBar-tab.lm-mod-current .lm-TabBar-tabCloseIcon").click()
    expect(view).to_have_count(0)

    # A run of the past, from the store; a second click shows the same tab.
    for _ in range(2):
        runs.get_by_role("button", name=other.path.stem).click()
        expect(view).to_have_count(1)
    expect(view.get_by_role("alert").first).to_contain_text("bad: ZeroDivisionError")

    run = runs.get_by_role("listitem").filter(has_text=other.path.stem)
    run.get_by_role("button", name="notebook", exact=True).click()
    expect(notebook.page.locator(f".lm-TabBar-tabLabel:has-text('{other.path.name}')").first).to_be_visible()


def test_without_a_notebook_that_uses_wfkernel_the_panel_says_where_the_list_comes_from(lab):
    notebook = lab.open(["1 + 1"])
    notebook.run_all()
    expect(panel(notebook.page)).to_contain_text("open a notebook that uses wfkernel")
    expect(suspend_button(notebook.page)).to_have_attribute("aria-disabled", "true")
