"""``wf validate``, ``schema``, ``graph``, ``run`` and ``resume`` of workflow files, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from jsonschema import Draft202012Validator

from wfkernel.plan.document import json_schema

REPOSITORY = Path(__file__).parents[2]

TEXT = """\
id: answer
inputs: {name: string, times: {type: integer, default: 2}}
steps:
  - {id: greet, uses: "mine.py:greet", with: {name: "${{ inputs.name }}", times: "${{ inputs.times }}"}}
  - {id: approve, uses: "mine.py:approve"}
"""
CODE = """\
from pydantic import BaseModel
from wfkernel import register_agent, step

class Answer(BaseModel):
    approve: bool

def greet(name: str, times: int) -> str:
    open("ran", "a").write("greet ")
    return f"hello {name} " * times

@step(resume=Answer)
def approve(text, ctx):
    return {"text": text, "approved": ctx.suspend(message=f"send {text}?").approve}

register_agent("helper", lambda task: task.upper())
"""
MADE = """\
from wfkernel import Workflow, workflow

def begin():
    return "a"

def twice(text: str) -> str:
    return text * 2

shout = Workflow("shout").then(begin).then(twice).then(twice).commit()
hidden = Workflow("hidden").then(begin).do_while(twice, lambda text: len(text) < 9).commit()

@workflow
async def durable(ctx):
    return 1
"""


def wf(folder: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "wfkernel", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "WFKERNEL_STORE": str(folder / "s.duckdb")}, timeout=60,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status in (0, 75) or done.stdout else done.stderr


def test_a_file_runs_suspends_and_is_resumed_by_another_process(tmp_path: Path) -> None:
    (tmp_path / "a.wf.yaml").write_text(TEXT)
    (tmp_path / "mine.py").write_text(CODE)
    assert "has no input 'nmae' (did you mean 'name'?)" in wf(tmp_path, "run", "a.wf.yaml", "-p", "nmae=1", status=2)
    stopped = json.loads(
        wf(tmp_path, "run", "a.wf.yaml", "-p", "name=12", "--json", status=75)
    )  # a text, for so it is declared
    assert (stopped["status"], stopped["steps"][1]["message"]) == ("suspended", "send hello 12 hello 12 ?")
    ended = json.loads(wf(tmp_path, "resume", stopped["run_id"], "--data", '{"approve": true}', "--json"))
    assert ended["status"] == "success"
    assert (tmp_path / "ran").read_text() == "greet "


def test_validate_tells_everything_and_executes_nothing(tmp_path: Path) -> None:
    (tmp_path / "good.wf.yaml").write_text("steps: [{id: a, agent: helper, task: hi}]")
    (tmp_path / "bad.wf.yaml").write_text("id: w\nsteps:\n  - {id: a, run: ls, retires: 1}\n")
    (tmp_path / "mine.py").write_text(CODE)
    told = json.loads(wf(tmp_path, "validate", ".", "--json", status=1))
    assert [(one["severity"], one["line"], one["column"]) for one in told] == [("error", 3, 22), ("warning", 1, 24)]
    assert wf(tmp_path, "validate", "good.wf.yaml", "--import", "mine.py") == ""


def test_the_schema_accepts_what_the_loader_accepts() -> None:
    validator = Draft202012Validator(json_schema())
    assert validator.is_valid({"id": "w", "steps": [{"id": "a", "agentId": "x", "task": "t", "dependencies": []}]})
    assert not validator.is_valid({"id": "w", "steps": [{"id": "a", "runn": "x"}]})
    assert not validator.is_valid({"id": "w"})


def test_a_graph_is_mermaid_svg_or_json(tmp_path: Path) -> None:
    (tmp_path / "g.wf.yaml").write_text(
        "steps:\n  - {id: a, run: ls, needs: []}\n  - {id: b, run: ls, needs: a}\n  - {id: c, run: ls, needs: a}\n"
        "  - {id: d, run: ls, needs: [b, c]}\n"
    )
    assert wf(tmp_path, "graph", "g.wf.yaml").startswith("flowchart LR\n")
    found = json.loads(wf(tmp_path, "graph", "g.wf.yaml", "-f", "json"))
    assert found["batches"] == [["a"], ["b", "c"], ["d"]]
    assert len(found["levels"][""]["arrows"]) == 4
    wf(tmp_path, "graph", "g.wf.yaml", "-f", "svg", "-o", "g.svg")
    assert (tmp_path / "g.svg").read_text().count("<rect") == 4


def test_the_state_machine_prints_itself(tmp_path: Path) -> None:
    assert wf(tmp_path, "machine").startswith("stateDiagram-v2\n    [*] --> idle\n")
    found = json.loads(wf(tmp_path, "machine", "--json"))
    assert (len(found["states"]), len(found["events"])) == (14, 30)
    ends = {state["name"] for state in found["states"] if state["terminal"]}
    assert {move["event"] for move in found["transitions"] if move["state"] in ends} == {"reset"}


def test_a_file_runs_in_the_background_under_the_name_given(tmp_path: Path) -> None:
    (tmp_path / "a.wf.yaml").write_text(TEXT)
    (tmp_path / "mine.py").write_text(CODE)
    begun = json.loads(wf(tmp_path, "start", "a.wf.yaml", "-p", "name=12", "--json"))
    deadline = time.monotonic() + 60
    while json.loads(wf(tmp_path, "show", begun["run_id"], "--json"))["status"] != "suspended":
        assert time.monotonic() < deadline
    assert (tmp_path / "ran").read_text() == "greet "


def test_a_workflow_is_exported_and_runs_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "made.py").write_text(MADE)
    wf(tmp_path, "export", "code/made.py:shout", "-o", "shout.wf.yaml")
    assert "uses: code/made.py:twice" in (tmp_path / "shout.wf.yaml").read_text()
    ended = json.loads(wf(tmp_path, "run", "shout.wf.yaml", "--json"))
    assert (ended["status"], ended["steps"][-1]["step"]) == ("success", "twice#2")
    assert "is there already" in wf(tmp_path, "export", "code/made.py:shout", "-o", "shout.wf.yaml", status=2)
    wf(tmp_path, "export", "shout.wf.yaml", "-o", "shout.wf.json")
    assert json.loads((tmp_path / "shout.wf.json").read_text())["id"] == "shout"


def test_what_a_file_cannot_say_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(MADE)
    assert "<lambda> has no address" in wf(tmp_path, "export", "made.py:hidden", status=2)
    assert "its flow is its code" in wf(tmp_path, "export", "made.py:durable", status=2)


def test_a_circle_is_drawn_in_red_and_remains_a_mistake(tmp_path: Path) -> None:
    lines = ["id: w", "steps:", "  - {id: a, run: x, needs: [b]}", "  - {id: b, run: x, needs: [a]}",
             "  - {id: c, run: x, needs: [c, b]}"]  # fmt: skip
    (tmp_path / "w.wf.yaml").write_text("\n".join(lines))
    told = json.loads(wf(tmp_path, "graph", "w.wf.yaml", "--json", status=2))
    assert told["circles"] == [["a", "b", "a"], ["c", "c"]]
    level = told["levels"][""]
    paths = [box["path"] for box in level["boxes"]]
    assert [[paths[end] for end in level["arrows"][n]] for n in level["circle"]] == [["b", "a"], ["a", "b"], ["c", "c"]]
    assert "linkStyle 0,1,2 stroke:#cf222e" in wf(tmp_path, "graph", "w.wf.yaml", status=2)
    assert wf(tmp_path, "graph", "w.wf.yaml", "-f", "svg", status=2).count('class="circle"') == 3
    assert "a -> b -> a" in wf(tmp_path, "validate", "w.wf.yaml", status=1)


def test_the_cells_of_a_notebook_are_drawn(tmp_path: Path) -> None:
    def book(*cells: str) -> None:
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbformat.write(made, tmp_path / "book.ipynb")

    book("%%step load\nx = 1", "%%step 'total' --foreach 'i in [x]'\ny = i", "y")
    told = json.loads(wf(tmp_path, "graph", "book.ipynb", "--json"))
    assert (told["batches"], told["circles"]) == ([["load"], ["total"]], [])
    assert [box["kind"] for box in told["levels"][""]["boxes"]] == ["step", "foreach"]
    book("%%step a\nx = y", "%%step b\ny = x")
    assert "linkStyle 0,1" in wf(tmp_path, "graph", "book.ipynb", status=2)
