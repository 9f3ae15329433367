"""The demo notebook in JupyterLab, as a person uses it: run all, answer the form, see success; restart, run all again."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

FLIGHTS = Path(__file__).parents[2] / "notebooks" / "flights.ipynb"


def position(cell_id: str) -> int:
    return [cell.id for cell in nbformat.read(FLIGHTS, as_version=4).cells].index(cell_id)


def test_run_all_answer_resume_and_restart(lab, tmp_path):
    copy = lab.server.notebooks / "flights.ipynb"
    shutil.copy(FLIGHTS, copy)
    notebook = lab.reopen(copy)

    notebook.run_all()
    approve = notebook.cell(position("approve"))
    notebook.wait_output(position("approve"), "Publish?")
    assert "suspended" in notebook.output(position("approve"))
    assert notebook.prompts()[-1] is None  # publish has not run

    approve.scroll_into_view_if_needed()
    approve.get_by_role("checkbox").check()
    approve.get_by_role("textbox", name="Note").fill("looks right")
    lab.page.screenshot(path=str(tmp_path / "suspended.png"))
    approve.get_by_role("button", name="Resume").click()

    notebook.wait_output(position("approve"), "approved")
    notebook.wait_output(position("publish"), "published: reports/flights-2013-01.html")
    notebook.wait_idle()
    assert "looks right" in (lab.server.notebooks / "reports" / "flights-2013-01.html").read_text()
    notebook.cell(position("publish")).scroll_into_view_if_needed()
    lab.page.screenshot(path=str(tmp_path / "finished.png"))
    assert "success" in notebook.output(position("publish"))

    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.wait_idle()
    notebook.run_all()
    for cell_id in ("load", "train", "approve", "publish"):
        notebook.wait_output(position(cell_id), "restored")
    notebook.cell(position("train")).scroll_into_view_if_needed()
    lab.page.screenshot(path=str(tmp_path / "restored.png"))
