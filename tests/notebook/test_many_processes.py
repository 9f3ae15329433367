"""The normal case: two notebooks, four runs from the command line and `wf ls`, all at once on one store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.notebook.test_headless import N, wf, write
from wfkernel.store.fsck import check
from wfkernel.store.store import Store

ITEMS = 60
NOTE = "with open('ran', 'a') as file: file.write(f'{{who}}:{0}{{n}} ')\n"
JOBS = f"""
import time
from wfkernel import Workflow, step

@step
def numbers(who: str) -> list[tuple[str, int]]:
    return [(who, n) for n in range({ITEMS})]

@step
def one(item: tuple[str, int]) -> int:
    who, n = item
    time.sleep(0.05)
    {NOTE.format("one")}
    return n

@step
def last(seen: list[int]) -> int:
    return sum(seen)

jobs = Workflow("jobs", input=str).then(numbers).foreach(one).then(last).commit()
"""
RUNS = ("run0", "run1", "run2", "run3")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "wfkernel", "run", *arguments], cwd=folder, env=os.environ.copy(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_notebooks_four_runs_and_wf_ls_at_once_all_finish_and_nothing_is_lost(tmp_path, kernel):
    (tmp_path / "jobs.py").write_text(JOBS)
    cells = [
        N.new_code_cell("who: str = ''", metadata={"tags": ["parameters"]}),
        N.new_code_cell(f"%%step numbers\nnumbers = list(range({ITEMS}))"),
        N.new_code_cell(f"%%step one --foreach n in numbers\n{NOTE.format('one')}seen = n"),
        N.new_code_cell("%%step last\ntotal = sum(seen)"),
    ]
    write(tmp_path / "nb.ipynb", cells)
    notebooks = {name: kernel(notebook=f"{name}.ipynb") for name in ("left", "right")}
    runs = {run: start(tmp_path, "jobs.py:jobs", "--input", f'"{run}"', "--run-id", run) for run in RUNS[:3]}
    runs[RUNS[3]] = start(tmp_path, "nb.ipynb", "-p", f"who={RUNS[3]}", "--run-id", RUNS[3], "-o", "out.ipynb")
    listed, rounds = [], 0
    try:
        while rounds < 3 or any(run.poll() is None for run in runs.values()):
            cell = f"%%step s{rounds}\nimport time\ntime.sleep(0.2)\nn = {rounds}\n"
            sent = [
                (notebook, notebook.send(f"{cell}who = '{name}'\n{NOTE.format('s')}"))
                for name, notebook in notebooks.items()
            ]
            listed.append({row["run_id"] for row in json.loads(wf(tmp_path, "ls", "--json").stdout)})
            for notebook, message in sent:
                assert notebook.wait(message).status == "ok"
            rounds += 1
        ended = {name: (run.wait(), run.stderr.read()) for name, run in runs.items()}
    finally:
        for run in runs.values():
            run.kill()
    assert {name: status for name, (status, _) in ended.items()} == dict.fromkeys(RUNS, 0), ended
    assert len(listed[-1]) == len(RUNS) + len(notebooks)

    # Everything was executed once, and the store says the same.
    expected = {f"{run}:one{n}" for run in RUNS for n in range(ITEMS)}
    expected |= {f"{name}:s{n}" for name in notebooks for n in range(rounds)}
    assert Counter((tmp_path / "ran").read_text().split()) == dict.fromkeys(expected, 1)
    store = Store(tmp_path / ".wfkernel" / "store.duckdb")
    _, rows = store.query(
        "SELECT r.run_id, r.notebook, count(*) FROM steps s JOIN runs r USING (run_id) "
        "WHERE s.status = 'success' AND s.executions = 1 GROUP BY ALL"
    )
    finished = {run if run in RUNS else Path(notebook).stem: count for run, notebook, count in rows}
    assert finished == {**dict.fromkeys(RUNS, ITEMS + 3), **dict.fromkeys(notebooks, rounds)}
    assert check(store) == []
    store.close()
