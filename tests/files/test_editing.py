"""Workflow files changed by a program keep their comments, their order and their layout."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

import pytest

from wfkernel import edit_workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan.load import WorkflowFileInvalid

TEXT = """\
# Who runs this, and why.
wfkernel: 1
id: nightly   # keep the name
inputs:
  month: {type: integer, default: 3}   # 1 to 12
  kind: 'string'

vars: &all {limit: 10, "unit": ms}

steps:
  # first of all
  - id: fetch
    run: [echo, "a very long line that nobody should break, whatever its length may be, for that is how it was written in"]
    retries: 2  # the line is bad

  # then
  - id: clean
    run: |
      set -e
      tr -d x
    needs: [fetch]
    env:
      A: "1"

  - id: each
    needs: [clean]
    steps:
      - loop: {id: grow, run: "true"}
        while: ${{ false }}
# the end
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.wf.yaml"
    path.write_text(TEXT)
    return path


def changes(before: str, after: str) -> list[str]:
    compared = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in compared if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_only_what_is_changed_changes(file: Path) -> None:
    with edit_workflow(file) as workflow:
        workflow.step("fetch")["retries"] = 5
        workflow["inputs"]["month"]["default"] = 4
        workflow.step("grow")["run"] = "false"
    assert changes(TEXT, file.read_text()) == [
        "-  month: {type: integer, default: 3}   # 1 to 12",
        "+  month: {type: integer, default: 4}   # 1 to 12",
        "-    retries: 2  # the line is bad",
        "+    retries: 5  # the line is bad",
        '-      - loop: {id: grow, run: "true"}',
        '+      - loop: {id: grow, run: "false"}',
    ]


@pytest.mark.parametrize("text", [
    "id: w\nsteps:\n- id: a\n  run: ls  # here\n  needs:\n  - b\n- {id: b, run: ls}\n",
    "id: w\nvars:\n    a: 1\n    b:\n        c: 2\nsteps:\n    - id: a\n      run: ls\n      env:\n          A: x\n",
    "# c\n\n\nid: w\n\nsteps: [{id: a, run: ls}]\n",
])  # fmt: skip
def test_the_layout_of_a_file_is_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.wf.yaml"
    path.write_text(text)
    with edit_workflow(path) as workflow:
        workflow["version"] = "2"
    assert changes(text, path.read_text()) == ["+version: '2'"]


def test_a_file_that_is_not_changed_is_not_written(file: Path) -> None:
    odd = TEXT.replace("needs: [fetch]", "needs: [  fetch  ]")
    file.write_text(odd)
    written = file.stat().st_mtime_ns
    with edit_workflow(file) as workflow:
        workflow.step("fetch")["retries"] = 2
    assert (file.read_text(), file.stat().st_mtime_ns) == (odd, written)


def test_steps_are_added_and_removed_where_one_says(file: Path) -> None:
    with edit_workflow(file) as workflow:
        workflow.add({"id": "check", "run": "true", "needs": ["fetch"]}, after="fetch")
        workflow.step("clean")["needs"].append("check")
        assert workflow.remove("each")["needs"] == ["clean"]
        workflow.add({"id": "last", "run": "true", "needs": ["clean"]})
    text = file.read_text()
    assert re.findall(r"- id: (\w+)", text) == ["fetch", "check", "clean", "last"]
    assert "# first of all" in text
    assert "needs: [fetch, check]" in text


def test_a_mistake_is_told_and_the_file_stays(file: Path) -> None:
    workflow = edit_workflow(file)
    workflow.step("fetch")["retires"] = 1
    with pytest.raises(
        WorkflowFileInvalid, match=r"nightly.wf.yaml:17:5: unknown key 'retires' \(did you mean 'retries'"
    ):
        workflow.save()
    workflow = edit_workflow(file)
    workflow.remove("clean")
    with pytest.raises(WorkflowFileInvalid, match="step 'each' needs 'clean', which is not in the graph"):
        workflow.save()
    with pytest.raises(DefinitionError, match=r"has no step 'fecth' \(did you mean 'fetch'\?\)"):
        edit_workflow(file).step("fecth")
    with pytest.raises(DefinitionError, match="nothing can stand beside it"):
        edit_workflow(file).remove("grow")
    assert file.read_text() == TEXT


def test_a_block_that_raises_writes_nothing(file: Path) -> None:
    with pytest.raises(ZeroDivisionError), edit_workflow(file) as workflow:
        workflow.step("fetch")["retries"] = 1 // 0
    assert file.read_text() == TEXT


def test_what_somebody_else_wrote_meanwhile_is_not_lost(file: Path) -> None:
    workflow = edit_workflow(file)
    workflow.step("fetch")["retries"] = 3
    file.write_text(TEXT + "# mine\n")
    with pytest.raises(DefinitionError, match="was changed meanwhile"):
        workflow.save()
    assert file.read_text() == TEXT + "# mine\n"


def test_a_file_that_breaks_rules_can_be_mended(file: Path) -> None:
    file.write_text(TEXT.replace("retries: 2", "retries: -2"))
    with edit_workflow(file) as workflow:
        (problem,) = workflow.problems()
        assert "greater than or equal to 0" in problem.message
        workflow.step("fetch")["retries"] = 2
    assert changes(TEXT, file.read_text())[1:] == ["+    retries: 2   # the line is bad"]  # which stays in its column


def test_json_is_edited_too(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_text(json.dumps({"id": "w", "steps": [{"id": "a", "run": "ls"}]}))
    with edit_workflow(path) as workflow:
        workflow.step("a")["timeout"] = "5m"
    assert json.loads(path.read_text())["steps"] == [{"id": "a", "run": "ls", "timeout": "5m"}]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.wf.yaml").write_text("a: !!python/object:x {}")
    with pytest.raises(WorkflowFileInvalid, match="the tag !!python/object:x is refused"):
        edit_workflow(tmp_path / "w.wf.yaml")
    with pytest.raises(WorkflowFileInvalid, match="cannot be read"):
        edit_workflow(tmp_path / "gone.wf.yaml")
