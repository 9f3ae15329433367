"""All our notebooks under nbval, in the state in which they are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_our_notebooks_pass_under_nbval(tmp_path, notebook):
    shutil.copy(notebook, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", notebook.name],
        cwd=tmp_path,
        env={**os.environ, "WFKERNEL_ANSWERS": '{"approve": {"approve": true}}'},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cells = nbformat.read(notebook, as_version=4).cells
    assert f"{sum(cell.cell_type == 'code' for cell in cells)} passed" in done.stdout
