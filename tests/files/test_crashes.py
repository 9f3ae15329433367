"""A workflow of agents that is killed at any of its events ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

STEP_OF = {"planner": "plan", "server": "server", "page": "page", "tester": "tests", "auditor": "audit"}


def test_five_agents_killed_at_every_event_are_not_asked_again_what_they_have_done(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.files.crashing", str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    calm = found["calm"]
    assert (calm["status"], sorted(calm["asked"])) == ("success", sorted(STEP_OF))
    assert len(found["crashes"]) >= len(calm["events"]) + len(STEP_OF) >= 17
    for crash in found["crashes"]:
        at, told = crash["at"], crash["then"]
        assert crash["signal"] == signal.SIGKILL, at
        assert told is not None, (at, done.stderr)
        assert (told["status"], told["result"]) == ("success", calm["result"]), at
        assert {STEP_OF[name] for name in told["asked"]} == set(STEP_OF.values()) - set(told["before"]), at
        assert len(told["asked"]) == len(set(told["asked"])), at
    after = {crash["at"][1]: crash["then"]["before"] for crash in found["crashes"] if not crash["at"][2]}
    assert {"plan", "server", "page", "tests"} <= set(after["audit"])  # what was done before the crash had been kept
