"""A notebook whose cells are busy, in each front end: its buttons stop them, and what steps put out lands under them.

One page for all tests of a front end; each begins a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.browser.conftest import Lab, LabServer, Notebook
from tests.browser.test_labextension import suspend_button, wait_for

pytestmark = pytest.mark.browser

LOAD = "%load_ext wfkernel\nimport asyncio, threading, time\nfrom pathlib import Path"
WAIT = "while not Path({!r}).exists(): time.sleep(0.01)"


class Page:
    """A notebook of four cells: the extension, the run view, and two for steps."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.folder = notebook.path.parent
        self.view = notebook.cell(1).locator(".wf-run")
        self.status = self.view.get_by_role("status").first

    def busy(self, body: str, name: str = "busy", options: str = "") -> Locator:
        """Begin a run, show it, and run a step with this body; returns the cell once the step executes."""
        self.notebook.run(1, "%workflow new\n%workflow")
        self.notebook.wait_idle()
        cell = self.notebook.run(2, f"%%step {name} {options}\n{body}")
        expect(self.box(name)).to_have_attribute("data-status", "running")
        return cell

    def box(self, name: str) -> Locator:
        return self.view.get_by_role("button", name=f"step {name},")

    def click(self, button: str) -> None:
        self.view.get_by_role("button", name=button, exact=True).click()

    def interrupt(self) -> None:
        """The square button."""
        self.notebook.page.locator("[data-jp-item-name='interrupt'] jp-button").first.click()


@pytest.fixture(scope="module", params=["lab/tree", "notebooks"], ids=["JupyterLab", "Notebook 7"])
def page(request: pytest.FixtureRequest, lab_server: LabServer, chromium: BrowserContext) -> Iterator[Page]:
    opened = chromium.new_page()
    notebook = Lab(lab_server, opened).open([LOAD, "", "", ""], request.param)
    one = Page(notebook)
    one.notebook.run(0, LOAD)
    notebook.wait_idle()
    yield one
    opened.close()


@pytest.mark.parametrize("subshells", ["perCommTarget", "disabled"])
@pytest.mark.parametrize("body", ["time.sleep(60)", "while True: pass"], ids=["sleep", "loop"])
def test_the_buttons_of_the_run_view_stop_a_busy_cell(page, body, subshells):
    page.notebook.page.evaluate(
        "how => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.commsOverSubshells = how }",
        subshells,
    )
    for button, status in (("Suspend", "suspended"), ("Cancel", "canceled")):
        cell = page.busy(body)
        page.click(button)
        expect(page.status).to_contain_text(status)
        expect(cell).to_contain_text(f"{status} at step 'busy' (run view)")
        page.notebook.wait_idle()


@pytest.mark.parametrize("options", ["--worker processes", "--worker threads"])
def test_the_suspend_button_stops_workers(page, options):
    cell = page.busy("import time\nfor _ in range(600): time.sleep(0.02)", "worked", options)
    page.click("Suspend")
    expect(page.status).to_contain_text("suspended")
    expect(cell).to_contain_text("suspended at step 'worked'")


def test_the_suspend_button_of_the_toolbar_stops_a_graph_of_steps(page):
    go, begun = (page.folder / f"{name}-{id(page)}" for name in ("graph", "graph-begun"))
    body = (
        f"import time\nfrom pathlib import Path\nif Path({str(go)!r}).exists():\n    Path({str(begun)!r}).touch()\n"
        "    for _ in range(3000): time.sleep(0.02)"
    )
    for index, name in ((2, "left"), (3, "right")):
        page.notebook.run(index, f"%%step {name} --worker processes\n{body}")
    page.notebook.wait_idle()
    go.touch()
    page.notebook.run(1, "%workflow new\n%workflow run")
    wait_for(begun)
    button = suspend_button(page.notebook.page)
    expect(button).not_to_have_attribute("aria-disabled", "true")
    button.click()
    expect(page.notebook.cell(1).locator(".jp-Cell-outputArea")).to_contain_text("suspended")
    page.notebook.wait_idle()


def test_the_square_button_suspends_and_the_step_runs_again(page):
    again = f"with open('{id(page)}', 'a') as f: f.write('x')\n{WAIT.format(f'go-{id(page)}')}\ndone = 1"
    cell = page.busy(again, "slow")
    page.interrupt()
    expect(page.status).to_contain_text("suspended")
    expect(cell).to_contain_text("suspended at step 'slow' (Interrupt)")
    page.notebook.wait_idle()
    (page.folder / f"go-{id(page)}").touch()
    page.notebook.run(2, f"%%step slow\n{again}")
    expect(page.box("slow")).to_have_attribute("data-status", "success")
    assert (page.folder / str(id(page))).read_text() == "xx"


def test_the_square_button_pressed_twice_cancels(page):
    page.busy("while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass")
    page.interrupt()
    page.interrupt()
    expect(page.status).to_contain_text("canceled")
    page.notebook.wait_idle()


def test_workers_and_threads_write_under_their_cell_while_they_run(page):
    go, late = (page.folder / f"{name}-{id(page)}" for name in ("told", "late"))
    body = (
        "from pathlib import Path\nimport time\nimport matplotlib.pyplot as plt\n"
        f"print('from a process', flush=True)\n{WAIT.format(str(go))}\nplt.plot([1, 2])\nplt.show()"
    )
    cell = page.busy(body, "worked", "--worker processes")
    expect(cell).to_contain_text("from a process")
    go.touch()
    expect(cell.locator(".jp-OutputArea-output img")).to_be_visible()
    page.notebook.wait_idle()

    thread = (
        f"def tell():\n    {WAIT.format(str(late))}\n    print('from a thread')\nthreading.Thread(target=tell).start()"
    )
    cell = page.notebook.run(2, f"%%step threaded\n{thread}")
    page.notebook.wait_idle()
    other = page.notebook.run(3, f"Path({str(late)!r}).touch()\ntime.sleep(0.5)")
    expect(cell).to_contain_text("from a thread")
    expect(other.locator(".jp-Cell-outputArea")).not_to_contain_text("from a thread")
    page.notebook.run(3, "")


def test_a_restored_step_shows_again_what_it_showed(page):
    source = "print('shown', flush=True)\nfrom IPython.display import Markdown\nMarkdown('**bold**')"
    page.notebook.run(2, "%workflow new")
    page.notebook.run(2, f"%%step shows\n{source}")
    page.notebook.wait_idle()
    cell = page.notebook.run(2, f"%%step shows\n{source}")
    expect(cell).to_contain_text("restored")
    expect(cell.locator(".jp-Cell-outputArea")).to_contain_text("shown")
    expect(cell.locator(".jp-Cell-outputArea strong").filter(has_text="bold")).to_be_visible()


def test_a_page_opened_again_shows_a_busy_run_live_and_one_whose_kernel_is_gone_as_a_picture(page, lab_server):
    browser, lab = page.notebook.page, Lab(lab_server, page.notebook.page)
    page.busy("while True: time.sleep(0.01)")
    page.notebook.save()
    lab.visit(page.notebook.path, page.notebook.app)
    expect(page.box("busy")).to_have_attribute("data-status", "running")
    page.click("Suspend")
    expect(page.status).to_contain_text("suspended")
    page.notebook.wait_idle()

    page.busy("while True: time.sleep(0.01)")
    page.notebook.save()
    browser.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    lab.visit(page.notebook.path, page.notebook.app)
    expect(page.notebook.cell(1)).to_contain_text("run the cell again to see how it is")
    assert "model not found" not in browser.locator("body").inner_text()
