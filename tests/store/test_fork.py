"""A process that is forked after it ran workflows runs its own, and its parent goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wfkernel.store.fsck import check
from wfkernel.store.store import Store

CODE = """
import multiprocessing, os, sys
from wfkernel import Workflow, step
from wfkernel.store.store import Store

store = Store(sys.argv[1])

@step
def double(x: int) -> int:
    return 2 * x

flow = Workflow("w", input=int, store=store).then(double).commit()

def in_child(x):
    found = flow.run(x).result, len(store.runs()) >= 2
    store.close()
    return found

print(flow.run(1).result, len(store.runs()))
if sys.argv[2] == "fork":
    child = os.fork()
    if child == 0:
        os._exit(0 if in_child(2) == (4, True) else 1)
    print(flow.run(3).result)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(in_child, [2]))
print(flow.run(4).result)
store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(("way", "told"), [("fork", ["2 1", "6", "0", "8"]), ("pool", ["2 1", "[(4, True)]", "8"])])
def test_a_forked_process_runs_workflows_and_so_does_its_parent(tmp_path: Path, way: str, told: list[str]) -> None:
    script, path = tmp_path / "forks.py", tmp_path / "s" / "store.duckdb"
    script.write_text(CODE)
    command = [sys.executable, str(script), str(path), way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == told, done.stderr
    store = Store(path)
    runs = store.runs()
    assert {run["status"] for run in runs} == {"success"}
    assert len(runs) == (4 if way == "fork" else 3)
    assert check(store) == []
    store.close()
