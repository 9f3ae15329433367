"""`wf wake`: a run that sleeps has no process; somebody wakes it when its time has come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

FLOW = """
    from wfkernel import Workflow, open_store, step

    @step
    def first(x: int) -> int:
        open("ran", "a").write("first ")
        return x + 1

    @step
    def last(x: int) -> int:
        open("ran", "a").write("last ")
        return x * 10

    wf = Workflow("napping", store=open_store(), park=0.01).then(first).sleep(1.0).then(last).commit()

    if __name__ == "__main__":
        print(wf.run(1).status)
"""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=os.environ.copy(), capture_output=True, text=True, timeout=60
    )


def test_a_sleeping_run_is_finished_by_another_process_when_it_is_time(tmp_path):
    (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))
    assert run(tmp_path, "flow.py").stdout.strip() == "waiting"
    assert (tmp_path / "ran").read_text() == "first "
    woken: list[dict[str, str]] = []
    while not woken:
        done = run(tmp_path, "-m", "wfkernel", "wake", "flow.py", "--json")
        assert done.returncode == 0, done.stderr
        woken = json.loads(done.stdout)
    assert [w["status"] for w in woken] == ["success"]
    assert (tmp_path / "ran").read_text() == "first last "
    assert "no run had to be woken" in run(tmp_path, "-m", "wfkernel", "wake", "flow").stdout


def test_a_module_without_workflows_is_one_line(tmp_path):
    done = run(tmp_path, "-m", "wfkernel", "wake", "json")
    assert done.returncode == 2
    assert "json defines no workflow with a store" in done.stderr
    missing = run(tmp_path, "-m", "wfkernel", "wake", "nowhere")
    assert "cannot import nowhere" in missing.stderr
    assert "Traceback" not in missing.stderr
