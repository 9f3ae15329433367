"""Checkpoints of a notebook's run: made, listed and restored in the notebook, restored by `wf`, gone on with in both."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from tests.notebook.conftest import Kernel
from tests.notebook.test_headless import wf

CELLS = {
    "load": "%%step load\nrows = [1, 2, 3]",
    "ask": "%%step ask\nfrom wfkernel import suspend\ngo = suspend(message='go on?')",
    "total": "%%step total\ntotal = sum(rows) if go else 0",
}


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "analysis.ipynb"
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in ("%load_ext wfkernel", *CELLS.values())]
    )
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)
    return path


def run_all(kernel: Kernel) -> dict[str, str]:
    """Run the cells until one suspends; how each ended."""
    ended = {}
    for name, source in CELLS.items():
        result = kernel.run(source)
        ended[name] = "restored" if result.restored else result.status
        if result.status != "ok":
            break
    return ended


@pytest.fixture
def finished(kernel, notebook) -> Kernel:
    """A run that ended, with checkpoints after each step and one called ``asked``."""
    running: Kernel = kernel()
    running.run("%workflow set --checkpoints 'every step'")
    assert run_all(running) == {"load": "ok", "ask": "error"}
    assert "checkpoint asked of run" in running.run("%workflow checkpoint asked").text
    assert running.control(op="resume", step="ask", data=True)["ok"]
    assert run_all(running) == {"load": "restored", "ask": "ok", "total": "ok"}
    return running


def test_a_notebook_lists_its_checkpoints_and_goes_on_from_one(finished):
    listed = finished.run("%workflow checkpoints")
    rows = [line.split() for line in listed.text.strip().splitlines()[1:]]
    assert [row[1] for row in rows if len(row[1]) < 10] == ["asked"]
    assert [next(word for word in row if word in CELLS) for row in rows] == ["load", "load", "ask", "total"]
    assert listed.outputs[0]["content"]["data"]["text/html"].startswith("<table>")

    restored = finished.run(f"%workflow restore {rows[2][0]}").text
    assert restored.strip().endswith(f"from checkpoint {rows[2][0]}. Run All restores load, ask and executes total")
    assert run_all(finished) == {"load": "restored", "ask": "restored", "total": "ok"}
    assert finished.run("%workflow restore asked").status == "ok"
    assert run_all(finished) == {"load": "restored", "ask": "error"}  # it waits for its answer, as it did then
    finished.kill()


def test_the_restored_run_is_what_a_restarted_kernel_goes_on_with(finished, kernel):
    finished.run("%workflow restore asked")
    finished.kill()
    again = kernel()
    assert run_all(again) == {"load": "restored", "ask": "error"}


def test_a_run_restored_by_wf_is_gone_on_with_by_run_all(finished, kernel, tmp_path):
    finished.close()
    told = wf(tmp_path, "checkpoint", "restore", "asked").stdout
    assert f"restart the kernel of {tmp_path / 'analysis.ipynb'} and run all cells, or wf resume " in told
    again = kernel()
    assert run_all(again) == {"load": "restored", "ask": "error"}


def test_wf_resume_goes_on_with_a_notebooks_run_in_an_output_notebook_beside_it(finished, kernel, tmp_path, notebook):
    finished.close()
    before = notebook.read_bytes()
    wf(tmp_path, "checkpoint", "restore", "asked", "--run-id", "second")
    done = json.loads(wf(tmp_path, "resume", "second", "--data", "false", "--json").stdout)
    assert (done["status"], done["output"]) == ("success", str(tmp_path / "analysis-second.ipynb"))
    assert (tmp_path / "analysis-second.ipynb").is_file()
    assert notebook.read_bytes() == before
    again = kernel()
    assert run_all(again) == {"load": "restored", "ask": "restored", "total": "restored"}
    assert again.value("total") == "0"


def test_a_checkpoint_that_cannot_be_restored_here_is_one_line(finished):
    finished.run(CELLS["load"].replace("3", "4"))
    for line, told in {
        "%workflow restore asked": "step 'load' has other code. Restore it all the same with --allow-drift",
        "%workflow restore nosuch": "'nosuch' is no checkpoint",
        "%workflow restore": "CHECKPOINT",
    }.items():
        refused = finished.run(line)
        assert refused.status == "error"
        assert told in refused.text
        assert len(refused.text.strip().splitlines()) == 1
    assert "Run All restores load and executes ask, total" in finished.run("%workflow restore asked --allow-drift").text
    made = finished.run(
        "import wfkernel\ndef same(x): return x\n"
        "other = wfkernel.Workflow('other', store=wfkernel.open_store()).then(same).commit().create_run('r')\n"
        "await other.start(1)\n"
        "point = wfkernel.open_store().checkpoint('r', 'elsewhere')"
    )
    assert made.status == "ok", made.text
    assert "is not of this notebook, but of workflow 'other'" in finished.run("%workflow restore elsewhere").text
