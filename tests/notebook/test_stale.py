"""Editing a step marks it and what depends on it; `%workflow run --stale` runs just these."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.notebook.test_headless import N, write
from wfkernel.plan.cell import parse_cell
from wfkernel.plan.stale import stale_steps

RAN = "open('ran', 'a').write('{0} ')"
LOAD = f"%%step load\n{RAN.format('load')}\ndata = [3, 1, 2]"
CLEAN = f"%%step clean\n{RAN.format('clean')}\nrows = sorted(data)"
OTHER = f"%%step other\n{RAN.format('other')}\ntotal = sum(data)"
REPORT = f"%%step report\n{RAN.format('report')}\nreport = rows[:limit]"
CELLS = ["limit = 2", LOAD, CLEAN, OTHER, REPORT]


def save(folder: Path, cells: list[str], later: float = 0.0) -> None:
    """Write the notebook the way a front end's Save does; `later` sets the clock of the file forward."""
    path = write(folder / "analysis.ipynb", [N.new_code_cell(source) for source in cells])
    os.utime(path, (time.time() + later,) * 2)


@pytest.fixture
def finished(kernel, tmp_path):
    """A live kernel that has run the saved notebook from top to bottom."""
    save(tmp_path, CELLS, later=-10)
    k = kernel(live=True)
    for index, source in enumerate(CELLS):
        assert k.run(source, cell_id=f"cell-{index}").status == "ok"
    (tmp_path / "ran").unlink()
    return k


def ran(folder: Path) -> list[str]:
    return (folder / "ran").read_text().split() if (folder / "ran").exists() else []


def test_a_saved_edit_marks_the_step_and_what_depends_on_it_and_only_these_run(finished, tmp_path):
    assert "stale" not in finished.run("%workflow").text
    save(tmp_path, [*CELLS[:2], CLEAN.replace("sorted(data)", "sorted(data, reverse=True)"), OTHER, REPORT], later=1)
    told = finished.run("%workflow").text
    assert "stale: step 'clean': its code changed" in told
    assert "stale: step 'report': it reads 'rows' of step 'clean', which is stale" in told
    assert "'load'" not in told
    assert "'other'" not in told
    assert finished.run("%workflow run --stale").status == "ok"
    assert ran(tmp_path) == ["clean", "report"]
    assert finished.value("report") == "[3, 2]"
    assert "stale" not in finished.run("%workflow").text
    assert finished.run("%workflow run --stale").text.strip() == "nothing is stale"


def test_an_edit_that_changes_nothing_below_restores_what_is_below(finished, tmp_path):
    save(tmp_path, [*CELLS[:2], CLEAN.replace("sorted(data)", "sorted(data)[:]"), OTHER, REPORT], later=1)
    assert "'report'" in finished.run("%workflow").text
    finished.run("%workflow run --stale")
    assert ran(tmp_path) == ["clean"]
    assert "stale" not in finished.run("%workflow").text


def test_running_an_edited_cell_or_changing_what_a_plain_cell_bound_makes_stale(finished, tmp_path):
    assert finished.run(LOAD.replace("[3, 1, 2]", "[9, 8, 7]"), cell_id="cell-1").status == "ok"
    told = finished.run("%workflow").text
    assert "stale: step 'clean': step 'load' bound 'data' anew" in told
    assert "'load':" not in told
    finished.run("%workflow run --stale")
    assert ran(tmp_path)[0] == "load"
    assert sorted(ran(tmp_path)[1:]) == ["clean", "other", "report"]
    finished.run("limit = 1")
    assert "stale: step 'report': 'limit' changed" in finished.run("%workflow").text
    finished.run("%workflow run --stale")
    assert finished.value("report") == "[7]"


def updates(kernel, seconds: float) -> list[dict]:
    """The step lines updated from now on, for so long."""
    found, deadline = [], time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = kernel.client.get_iopub_msg(timeout=left)
        except Exception:  # the queue's Empty
            break
        if message["msg_type"] == "update_display_data":
            found.append(message["content"]["metadata"].get("wfkernel", {}))
            if any(line.get("stale") for line in found[-1:]) and len(found) >= 2:
                break
    return found


def test_saving_an_edit_marks_the_lines_beneath_the_cells_without_running_anything(finished, tmp_path):
    save(tmp_path, [*CELLS[:2], CLEAN.replace("sorted", "list"), OTHER, REPORT], later=1)
    marked = {line["step"]: line["stale"] for line in updates(finished, 20) if line.get("stale")}
    assert marked == {
        "clean": "its code changed",
        "report": "it reads 'rows' of step 'clean', which is stale",
    }
    assert ran(tmp_path) == []


def test_what_is_not_finished_or_reads_what_it_read_is_not_stale():
    """The pure part: a step that is not finished, or reads what it always read, is not stale."""
    load, clean = parse_cell("%%step load\ndata = 1"), parse_cell("%%step clean\nrows = data")
    assert load is not None
    assert clean is not None
    done = {
        "load": {"code": load.code, "inputs": {}, "outputs": [{"name": "data", "digest": "d1"}]},
        "clean": {"code": clean.code, "inputs": {"data": {"digest": "d1", "from": "load"}}, "outputs": []},
    }
    assert stale_steps([load, clean], done, lambda _: None) == {}
    assert stale_steps([load, clean], {"clean": done["clean"]}, lambda _: None) == {}
    changed = parse_cell("%%step load\ndata = 2")
    assert changed is not None
    assert list(stale_steps([changed, clean], done, lambda _: None)) == ["load", "clean"]
    assert list(stale_steps([parse_cell("%%step load\ndata = 1  # a comment"), clean], done, lambda _: None)) == []


def test_diff_tells_values_code_and_parameters_apart(finished, tmp_path):
    first = finished.value("__import__('wfkernel').open_store().find('latest')").strip("'")
    finished.run("%workflow new")
    cells = [*CELLS[:2], CLEAN.replace("sorted(data)", "sorted(data, reverse=True)"), OTHER, REPORT]
    for index in (1, 2, 3, 4):
        assert finished.run(cells[index], cell_id=f"cell-{index}").status == "ok"
    lines = {line.split()[0]: line for line in finished.run(f"%workflow diff {first} latest").text.splitlines() if line}
    assert "rows: [1, 2, 3] → [3, 2, 1]" in lines["clean"]
    assert "changed" in lines["clean"]
    assert "report: [1, 2] → [3, 2]" in lines["report"]
    assert "changed" not in lines["report"]
    assert lines["other"].rstrip().endswith(" s")
    assert "there is no run 'nope'" in finished.run(f"%workflow diff nope {first}").text
    assert "RUN2 is missing" in finished.run("%workflow diff latest").text
