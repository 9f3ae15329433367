"""``wf checkpoint`` with a real notebook: go back to a point, and not into a definition that changed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

CELLS = [
    "%load_ext wfkernel",
    "%%step load\nrows = [1, 2, 3]",
    "%%step ask\nfrom wfkernel import suspend\nanswer = suspend(message='Go on?')\ntotal = sum(rows)",
]


def wf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wfkernel", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def write(path: Path, cells: list[str]) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "book.ipynb"
    write(path, CELLS)
    return path


def test_create_list_show_restore_remove(notebook, tmp_path):
    started = wf("run", str(notebook), "-o", str(tmp_path / "out.ipynb"), "--json")
    assert started.returncode == 75, started.stderr
    run_id = json.loads(started.stdout)["run_id"]

    made = json.loads(wf("checkpoint", "create", "latest", "--label", "before the answer", "--json").stdout)
    assert made["run_id"] == run_id
    assert [c["label"] for c in json.loads(wf("checkpoint", "ls", "--json").stdout)] == ["before the answer"]
    assert "before the answer" in wf("checkpoint", "ls").stdout
    shown = json.loads(wf("checkpoint", "show", "before the answer", "--json").stdout)
    assert (shown["status"], shown["steps"]) == ("suspended", {"load": "success", "ask": "suspended"})
    assert f"{run_id}  suspended at event {made['seq']}" in wf("checkpoint", "show", made["checkpoint_id"]).stdout

    finished = wf("resume", run_id, "--data", "true", "--json")
    assert finished.returncode == 0, finished.stderr
    restored = json.loads(wf("checkpoint", "restore", "before the answer", "--run-id", "again", "--json").stdout)
    assert restored == {"run_id": "again", "status": "suspended", "checkpoint": made["checkpoint_id"]}
    done = json.loads(wf("resume", "again", "--data", "false", "--json").stdout)
    assert done["status"] == "success"
    assert {s["step"]: s["executions"] for s in done["steps"]} == {"load": 1, "ask": 2}

    write(notebook, [CELLS[0], CELLS[1].replace("3", "4"), CELLS[2]])
    refused = wf("checkpoint", "restore", "before the answer")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"wf: checkpoint {made['checkpoint_id']} was made with another definition: ")
    assert "step 'load' has other code" in refused.stderr
    assert refused.stderr.count("\n") == 1
    allowed = wf("checkpoint", "restore", "before the answer", "--allow-drift", "--json")
    assert json.loads(allowed.stdout)["run_id"] != "again"

    assert wf("checkpoint", "prune", "--keep", "0").stdout == "deleted 0 checkpoints\n"  # it has a label
    assert wf("checkpoint", "rm", made["checkpoint_id"]).returncode == 0
    assert json.loads(wf("checkpoint", "ls", "--json").stdout) == []


WORKFLOW = """
from wfkernel import Workflow, step

@step
def double(x: int) -> int:
    return x * 2

@step
def total(xs: list) -> int:
    return sum(xs)

@step
def add(x: int) -> int:
    return x + 1

flow = Workflow("flow", input=list).foreach(double).then(total).then(add).commit()
"""


def test_a_workflow_is_not_restored_into_other_code(tmp_path):
    file = tmp_path / "jobs.py"
    file.write_text(WORKFLOW)
    started = wf("run", f"{file}:flow", "--input", "[1, 2]", "--checkpoints", "every step", "--json")
    assert started.returncode == 0, started.stderr
    known = [c["checkpoint_id"] for c in json.loads(wf("checkpoint", "ls", "--json").stdout)]
    assert wf("checkpoint", "restore", known[1], "--run-id", "same").returncode == 0
    file.write_text(WORKFLOW.replace("x * 2", "x * 3"))
    refused = wf("checkpoint", "restore", known[1])
    assert refused.returncode == 2
    assert "step 'double' has other code" in refused.stderr
    assert refused.stderr.count("\n") == 1
    file.write_text(WORKFLOW.replace("x + 1", "x + 2"))  # a step that was not executed by then may change
    assert wf("checkpoint", "restore", known[1], "--run-id", "again").returncode == 0
    file.unlink()
    assert "there is no file" in wf("checkpoint", "restore", known[1]).stderr
    assert wf("checkpoint", "restore", known[1], "--allow-drift", "--run-id", "told").returncode == 0


def test_a_name_nobody_gave_is_one_line():
    done = wf("checkpoint", "show", "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "'nothing' is no checkpoint in " + os.environ["WFKERNEL_STORE"] in done.stderr
