"""Writes a small store with the wfkernel that is installed: ``python make_store.py FILE.duckdb.gz``.

Run once for every released schema, with the release that introduced it; the files are what the migration tests open.
The store holds a finished run with values, a failed run, and a run that waits for an answer.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
from pathlib import Path

from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState
from wfkernel.errors import RunSuspended
from wfkernel.store.store import Store

ONE = {"name": "x", "codec": "json", "type": "int", "digest": "d1", "size": 1, "data": 1}


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.duckdb")
        for run_id in ("finished", "failed", "suspended"):
            run = ScriptRun(store, RunState(run_id))
            start = {"status": "running", "workflow": "flights", "notebook": "/flights.ipynb", "mode": "headless",
                     "params": {"rows": 3}, "owner": store.owner}  # fmt: skip
            run.emit("run.start", start, durable=True)
            run.plan([{"path": path, "reads": [], "binds": ["x"]} for path in ("load", "clean")])
            step = run.begin("load", "code of load", {}, [], ["x"])
            step.start()
            step.succeed([ONE], 0.25)
            step = run.begin("clean", "code of clean", {"x": {"digest": "d1", "from": "load"}}, ["x"], ["x"])
            step.start()
            if run_id == "finished":
                step.write("3 rows")
                step.succeed([ONE], 0.5)
                run.finish("success")
            elif run_id == "failed":
                step.fail(ValueError("no rows"))
            else:
                try:
                    step.answer(None, "Are these rows right?", {"rows": 3})
                except RunSuspended:
                    """What was wanted."""
        store.close()
        with store.path.open("rb") as source, gzip.open(target, "wb") as compressed:
            shutil.copyfileobj(source, compressed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
