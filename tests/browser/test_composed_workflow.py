"""`%%workflow` in JupyterLab: the graph is drawn and the Run button runs it, with a live view."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

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
    composed.locator(".jp-RenderedMermaid").wait_for()
    composed.get_by_role("button", name="Run nightly").click()
    notebook.wait_output(4, "done")
    expect(composed.locator(".wf-run")).to_contain_text("2 of 2 steps done")
    composed.scroll_into_view_if_needed()
    lab.page.screenshot(path=str(tmp_path / "composed.png"))
