"""The notebooks of patterns run as they stand, also a second time in the store of the first."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from wfkernel.notebook.headless import run_notebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("name", ["state", "errors"])
def test_a_notebook_of_patterns_shows_the_same_however_often_it_runs(tmp_path, store, name):
    shutil.copy(NOTEBOOKS / f"{name}.ipynb", tmp_path)
    shown = []
    for _ in range(2):
        output = tmp_path / "out.ipynb"
        output.unlink(missing_ok=True)
        assert run_notebook(tmp_path / f"{name}.ipynb", output, {}, progress=False).status == "success"
        cells = nbformat.read(output, as_version=4).cells
        shown.append(["".join(out.get("data", {}).get("text/plain", "") for out in cell.get("outputs", ())) for cell in cells
                      if not cell.source.startswith(("%%wfsql", "%%step"))])  # fmt: skip
    assert shown[0] == shown[1]
    assert any(shown[0])
