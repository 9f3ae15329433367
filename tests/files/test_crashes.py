"""A workflow of agents that is killed at any of its events ends as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def killed(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.files.crashing", str(folder), *arguments],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["calm"]["told"]["status"] == "success"
    assert not found["wrong"], done.stderr
    return found


def test_five_agents_killed_at_every_event_are_not_asked_again_what_they_have_done(tmp_path: Path) -> None:
    found = killed(tmp_path, "sign-up")
    assert len(found["calm"]["asked"]) == len(set(found["calm"]["asked"])) == 5
    assert len(found["deaths"]) >= len(found["calm"]["told"]["events"]) + 5 >= 17


@pytest.mark.parametrize(("shape", "steps"), [("release", 18), ("debts", 23)])
def test_a_wide_graph_that_dies_again_and_again_gets_a_step_further_each_time(
    tmp_path: Path, shape: str, steps: int
) -> None:
    found = killed(tmp_path, shape, "--in-a-row")
    assert len(found["calm"]["told"]["done"]) == steps
    assert len(found["deaths"]) > steps
    assert {before for _, _, before in found["deaths"]} == {True, False}
