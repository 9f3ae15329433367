"""One notebook for many parameter sets: `wf batch`, and what `wf inspect` says beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.notebook.test_headless import RAN, N, ran, wf, write
from wfkernel.errors import DefinitionError
from wfkernel.notebook.batch import expand_grid, read_grid
from wfkernel.notebook.inspection import inspect_notebook


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """Succeeds for month 1, asks for month 2, fails for month 3 until the file `mended` is there."""
    sources = [
        "month: int = 1  # which month\nwho: str = 'nobody'",
        "import os\nfrom wfkernel import suspend",
        f"%%step load\n{RAN.format('load')}\ndata = [month] * 3",
        f"%%step check\n{RAN.format('check')}\nif month == 2:\n    suspend(message=f'month {{month}}?')\n"
        "if month == 3 and not os.path.exists('mended'):\n    raise ValueError('bad month')\ntotal = sum(data)",
    ]
    made = [N.new_code_cell(source) for source in sources]
    made[0].metadata["tags"] = ["parameters"]
    return write(tmp_path / "nb.ipynb", made)


def test_a_batch_lists_every_run_and_running_it_again_continues_what_is_not_finished(tmp_path, notebook):
    (tmp_path / "grid.yaml").write_text("month: [1, 2, 3]\nwho: AA\n")
    command = ("batch", "nb.ipynb", "--grid", "grid.yaml", "-j", "2")
    first = json.loads(wf(tmp_path, *command, "--json", code=1).stdout)
    assert [(run["parameters"], run["status"]) for run in first] == [
        ({"month": 1, "who": "AA"}, "success"),
        ({"month": 2, "who": "AA"}, "suspended"),
        ({"month": 3, "who": "AA"}, "failed"),
    ]
    assert first[1]["waits_for"] == "check: month 2?"
    assert first[1]["resume"].startswith(f"wf resume {first[1]['run_id']}")
    assert first[2]["error"] == "bad month"
    assert len({run["run_id"] for run in first}) == 3
    assert sorted(path.name for path in (tmp_path / "nb-batch").iterdir()) == [
        f"nb-month={month},who=AA.ipynb" for month in (1, 2, 3)
    ]

    (tmp_path / "mended").touch()
    again = wf(tmp_path, *command, code=75)
    assert ran(tmp_path).count("load") == 3  # nothing finished ran again
    for words in ("success (before)", "suspended (before)", "month 2?", f"wf resume {first[1]['run_id']}"):
        assert words in again.stdout
    assert "month=3, who=AA  success" in again.stderr

    wf(tmp_path, "resume", first[1]["run_id"], "--data", "true")
    last = json.loads(wf(tmp_path, *command, "--json").stdout)
    assert [run["status"] for run in last] == ["success"] * 3
    assert [run["run_id"] for run in last] == [run["run_id"] for run in first]
    assert not any(run["executed"] for run in last)


def test_inspect_shows_inputs_steps_and_problems(tmp_path, notebook):
    shown = wf(tmp_path, "inspect", "nb.ipynb").stdout
    for words in ("month", "int", "which month", "'nobody'", "check", "load"):
        assert words in shown
    found = inspect_notebook(str(notebook))
    assert found["inputs"][0] == {
        "name": "month", "type": "int", "default": "1", "required": False, "comment": "which month",
    }  # fmt: skip
    assert [(step["step"], step["after"]) for step in found["steps"]] == [("load", []), ("check", ["load"])]
    write(notebook, [N.new_code_cell("%%step load\ndata = nowhere")])
    assert "reads 'nowhere'" in inspect_notebook(str(notebook))["problems"][0]


def test_a_set_that_cannot_work_is_told_before_anything_runs(tmp_path, notebook):
    (tmp_path / "grid.yaml").write_text("- month: 1\n- month: many\n")
    refused = wf(tmp_path, "batch", "nb.ipynb", "--grid", "grid.yaml", code=2).stderr
    assert refused == (
        "wf: nb.ipynb: parameter 'month' is int, not \"many\": Input should be a valid integer (run 2 of 2)\n"
    )
    assert not (tmp_path / "ran").exists()


def test_a_grid_is_every_combination_or_a_list():
    assert expand_grid({"a": [1, 2], "b": ["x", "y"], "c": 0}) == [
        {"a": 1, "b": "x", "c": 0}, {"a": 1, "b": "y", "c": 0}, {"a": 2, "b": "x", "c": 0}, {"a": 2, "b": "y", "c": 0},
    ]  # fmt: skip
    assert expand_grid([{"a": 1}, {"a": [1, 2]}]) == [{"a": 1}, {"a": [1, 2]}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("", "expected a mapping of lists"),
        ("[1, 2]", "expected a mapping of lists"),
        ("a: []", "'a' is an empty list"),
        ("1: [2]", "1 is not the name of a parameter"),
        ("[{a: 1}, {a: 2}, {a: 1}]", 'entries 1 and 3 are the same: {"a": 1}'),
    ],
)
def test_what_is_not_a_grid_is_one_line(tmp_path, text, words):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as refused:
        read_grid(path)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
