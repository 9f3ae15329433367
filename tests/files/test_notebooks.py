"""Notebooks in workflow files: whole ones run headless as a step, their steps are called as functions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import nbformat
import psutil
import pytest

from wfkernel import Store, load_workflow, to_yaml
from wfkernel.engine.failures import InputInvalid
from wfkernel.plan.load import WorkflowFileInvalid

N = nbformat.v4
CELLS = [
    "%load_ext wfkernel",
    "month = 1",
    "from wfkernel import suspend\nfrom pydantic import BaseModel\nclass Approval(BaseModel):\n    approve: bool",
    "%%step load\nopen('ran', 'a').write('load ')\ndata = [month] * 3",
    "%%step total\nopen('ran', 'a').write('total ')\nif month == 13: raise ValueError('no such month')\ntotal = sum(data)",
    "%%step approve\napproved = suspend(Approval, message=f'publish {total}?').approve",
]


def notebook(path: Path, sources: list[str]) -> Path:
    cells = [N.new_code_cell(source) for source in sources]
    cells[1].metadata["tags"] = ["parameters"]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(N.new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return tmp_path


WHOLE = """\
id: monthly
inputs: {month: integer}
steps:
  - {id: book, notebook: book.ipynb, with: {month: "${{ inputs.month }}"}}
  - {id: say, map: "${{ steps.book.total }} ${{ steps.book.approved }}"}
"""


def test_a_notebook_is_a_step_that_fails_asks_its_questions_and_gives_what_its_steps_bound(folder: Path) -> None:
    notebook(folder / "book.ipynb", CELLS)
    (folder / "w.wf.yaml").write_text(WHOLE)
    with closing(Store(folder / "s.duckdb")) as store:
        workflow = load_workflow("w.wf.yaml", store=store)
        run = workflow.create_run()
        failed = run.sync.start({"month": 13})
        assert failed.status == "failed"
        assert "ValueError: no such month" in str(failed.error)

        notebook(folder / "book.ipynb", [source.replace("== 13", "== 0") for source in CELLS])
        stopped = run.sync.time_travel("book")
        assert stopped.status == "suspended", stopped
        assert (folder / "ran").read_text() == "load total total "  # it went on with what had failed
        (asked,) = run.state.suspended_steps
        assert asked.suspension is not None
        assert asked.suspension.message == "publish 39?"
        assert asked.suspension.schema["required"] == ["approve"]
        with pytest.raises(InputInvalid):
            run.sync.resume({"approve": "perhaps"})

        ended = run.sync.resume({"approve": True})
        assert (ended.status, ended.result) == ("success", "39 true"), ended
        assert (folder / "ran").read_text() == "load total total "
        assert load_workflow("w.wf.yaml") == workflow
        (folder / "again.wf.yaml").write_text(to_yaml(workflow, folder))
        assert load_workflow("again.wf.yaml") == workflow


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_notebook_goes_on_after_its_step_was_killed_with_and_without_it(folder: Path) -> None:
    waits = "\nimport os, time\nwhile not os.path.exists('go'): time.sleep(0.05)"
    notebook(folder / "book.ipynb", [cell + waits if "%%step total" in cell else cell for cell in CELLS[:-1]])
    (folder / "w.wf.yaml").write_text(WHOLE.replace(" ${{ steps.book.approved }}", ""))

    def wf(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "wfkernel", *arguments, "--store", "s.duckdb", "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def ran() -> str:
        return (folder / "ran").read_text() if (folder / "ran").exists() else ""

    first = wf("run", "w.wf.yaml", "-p", "month=4", "--run-id", "monthly-1")
    until(lambda: ran() == "load total ")
    children = psutil.Process(first.pid).children(recursive=True)
    for process in [first, *children]:  # the workflow, and the notebook with it
        process.kill()
    first.communicate()
    psutil.wait_procs(children)

    second = wf("resume", "monthly-1")
    until(lambda: ran() == "load total total ")  # `load` had ended
    second.kill()  # the notebook lives on
    second.communicate()

    third = wf("resume", "monthly-1")
    (folder / "go").touch()
    ended = json.loads(third.communicate()[0])
    assert ended["status"] == "success", ended
    assert ran() == "load total total "


STEPS = """\
id: parts
steps:
  - {id: load, uses: "book.ipynb#load", with: {month: 5}}
  - {id: total, notebook: "book.ipynb#total", with: {data: "${{ steps.load }}", month: 5}, worker: processes}
"""


def test_a_step_of_a_notebook_is_a_function_of_what_it_reads(folder: Path) -> None:
    notebook(folder / "book.ipynb", [*CELLS[:-1], "print(total)"])
    (folder / "w.wf.yaml").write_text(STEPS)
    with closing(Store(folder / "s.duckdb")) as store:
        workflow = load_workflow("w.wf.yaml", store=store)
        ended = workflow.create_run().sync.start()
        assert (ended.status, ended.result) == ("success", 15), ended
        assert "book.ipynb#load" in to_yaml(workflow, folder)


def test_what_is_wrong_with_a_notebook_is_told_where_it_is_named(folder: Path) -> None:
    notebook(folder / "book.ipynb", [*CELLS, "%%step list\nfiles = !ls"])
    (folder / "w.wf.yaml").write_text(STEPS.replace("month: 5", "mouth: 5", 1))
    with pytest.raises(WorkflowFileInvalid, match=r"w.wf.yaml:3:\d+: .*cell 7"):
        load_workflow("w.wf.yaml")
    notebook(folder / "book.ipynb", CELLS)
    (folder / "w.wf.yaml").write_text(STEPS.replace("#total", "#totl"))
    with pytest.raises(WorkflowFileInvalid, match=r"w.wf.yaml:4:\d+: .*has no step 'totl' \(did you mean 'total'\?\)"):
        load_workflow("w.wf.yaml")
