"""Step cells in JupyterLab: Python to the editor; `%%workflow` draws their graph, and its Run button runs it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import TIMEOUT

pytestmark = pytest.mark.browser


def test_the_run_button_runs_the_composed_steps(lab, tmp_path):
    cells = [
        "%load_ext wfkernel",
        "%%step load\ndata = [3, 1, 2]",
        "%%step total\nsum_of = sum(data)",
        "%workflow new",
        "%%workflow nightly\nthen(load).then(total)",
        "print('sum is', sum_of)",
    ]
    notebook = lab.open(cells)
    notebook.run_all()
    composed = notebook.cell(4)
    composed.locator(".jp-RenderedSVG img").wait_for()
    composed.get_by_role("button", name="Run nightly").click()
    notebook.wait_output(4, "done")
    expect(composed.locator(".wf-run")).to_contain_text("2 of 2 steps done")
    composed.scroll_into_view_if_needed()
    lab.page.screenshot(path=str(tmp_path / "composed.png"))


COLOURS = """cell => {
    const wanted = document.createElement('span');
    wanted.style.color = 'var(--jp-mirror-editor-keyword-color)';
    cell.append(wanted);
    const keyword = getComputedStyle(wanted).color;
    wanted.remove();
    return [...cell.querySelectorAll('.cm-line span')]
        .filter(one => getComputedStyle(one).color === keyword).map(one => one.textContent);
}"""


def test_below_its_first_line_a_step_cell_is_python_highlighted_and_completed(lab):
    step = "%%step use --retries 1\nimport math\nfor each in [1]:\n    text = 'in'"
    notebook = lab.open(["%load_ext wfkernel", "%%step load\nmeasurements = [3, 1, 2]", step])
    notebook.run_all()
    assert notebook.cell(2).evaluate(COLOURS) == ["import", "for", "in"]

    editor = notebook.cell(2).locator(".cm-content")
    editor.click()
    notebook.page.keyboard.press("Control+End")
    notebook.page.keyboard.type("\nmeasu")
    notebook.page.keyboard.press("Tab")
    offered = notebook.page.locator(".jp-Completer-item").filter(has_text="measurements")
    expect(offered).to_be_visible(timeout=TIMEOUT)
    notebook.page.keyboard.press("Enter")
    expect(editor).to_contain_text("measurements")
