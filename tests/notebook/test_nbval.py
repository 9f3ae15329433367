"""The demo notebook under nbval and under plain nbclient."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FLIGHTS = Path(__file__).parents[2] / "notebooks" / "flights.ipynb"


def test_the_demo_notebook_passes_under_nbval(tmp_path):
    shutil.copy(FLIGHTS, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", "flights.ipynb"],
        cwd=tmp_path,
        env={**os.environ, "WFKERNEL_ANSWERS": '{"approve": {"approve": true}}'},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "17 passed" in done.stdout
    assert (tmp_path / "reports" / "flights-2013-01.html").is_file()
