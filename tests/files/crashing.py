"""Kills a workflow at every one of its events and takes it up again: ``python -m tests.files.crashing FOLDER``.

Every life of a run is a process of its own, forked from this one, which imports and nothing else: so the interpreter starts
once, and no process knows what another one knew. Prints one JSON document: what an undisturbed run gave, and what came of
each crash.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401  # before the first fork, for speed

from tests.files.test_running import SIGN_UP
from wfkernel import Store, load_workflow, register_agent
from wfkernel.testing.crash import CrashingStore, CrashPoint, crash_at

AGENTS = ("planner", "server", "page", "tester", "auditor")
RUN = "the-run"


def register(folder: Path) -> None:
    for name in AGENTS:

        def work(task: str, inputs: Any, name: str = name) -> str:
            with (folder / "asked").open("a") as asked:
                asked.write(f"{name} ")
            return f"{name} did '{task}' with {json.dumps(inputs, sort_keys=True)}"

        register_agent(name, work)


def live(folder: Path, point: CrashPoint | None) -> dict[str, Any]:
    """One life of the run in `folder`: from its beginning, or from where the last one died."""
    (folder / "w.wf.yaml").write_text(SIGN_UP)
    register(folder)
    store = Store(folder / "s.duckdb")
    begun = store.exists(RUN)
    finished = [s.path for s in store.load(RUN).steps.values() if s.status == "success"] if begun else []
    known = asked(folder)
    workflow = load_workflow(folder / "w.wf.yaml", store=CrashingStore(store, point) if point is not None else store)
    run = workflow.create_run(RUN)
    result = (
        run.sync.restart() if begun and run.status == "running" else run.sync.start() if not begun else run.result()
    )
    told = {
        "status": result.status, "result": result.result, "before": finished, "asked": asked(folder)[len(known):],
        "events": [[event.type, event.path] for event in store.events(RUN)],
    }  # fmt: skip
    store.close()
    return told


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().split() if (folder / "asked").exists() else []


def in_a_process(act: Callable[[], dict[str, Any]], output: Path) -> tuple[int, Any]:
    """The signal that ended it, and what it gave."""
    pid = os.fork()
    if pid == 0:
        try:
            output.write_text(json.dumps(act()))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, json.loads(
        output.read_text()
    ) if output.exists() else None


def points(events: list[list[str]]) -> list[CrashPoint]:
    """After each event, and before each that says a step is done or that is the run's first or last."""
    found, seen = [], Counter[tuple[str, str]]()
    for type_, path in events:
        seen[type_, path] += 1
        found.append(crash_at(type_, path, seen[type_, path]))
        if type_ in ("step.result", "run.start", "run.finish"):
            found.append(crash_at(type_, path, seen[type_, path], before=True))
    return found


def main(folder: Path) -> None:
    def place(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    calm = place("calm")
    _, expected = in_a_process(lambda: live(calm, None), calm / "told")
    crashes = []
    for number, point in enumerate(points(expected["events"])):
        there = place(str(number))
        ended, _ = in_a_process(lambda there=there, point=point: live(there, point), there / "died")  # type: ignore[misc]
        _, told = in_a_process(lambda there=there: live(there, None), there / "told")  # type: ignore[misc]
        crashes.append({"at": [point.event, point.path, point.before], "signal": ended, "then": told})
    print(json.dumps({"calm": expected, "crashes": crashes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
