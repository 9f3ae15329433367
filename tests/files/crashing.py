"""Kills runs of workflow files at their events and takes them up again: ``python -m tests.files.crashing FOLDER SHAPE``.

Every life of a run is a process of its own, forked from this one, which imports and nothing else: so the interpreter starts
once, and no process knows what another one knew. By default each event costs a run of its own one life. With ``--in-a-row``
one run dies again and again, each time an event further: half the lives, and a run that was taken up twenty times.

Prints one JSON document: what an undisturbed run gave, where runs died, and what was wrong with what came of that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb  # noqa: F401  # before the first fork, for speed
import yaml

from tests.files.test_running import SIGN_UP
from wfkernel import Store, load_workflow, register_agent
from wfkernel.plan.load import text_of
from wfkernel.testing.crash import CrashingStore, CrashPoint, crash_at

SHAPES: Final = ("sign-up", "release", "debts")
RUN = "the-run"
UNSTEADY, HOPELESS = "Look at the style", "Measure"
"""A task that fails the first time it is tried, and one that always fails."""


def text_of_shape(shape: str) -> str:
    return SIGN_UP if shape == "sign-up" else text_of(Path(__file__).with_name(f"{shape}.wf.yaml"))


def register(folder: Path, text: str) -> None:
    """Every agent of a workflow, who write down what they are asked."""

    def work(task: str, inputs: Any) -> str:
        with (folder / "asked").open("a") as tasks:
            tasks.write(f"{task}\n")
        if task == HOPELESS or (task == UNSTEADY and asked(folder).count(task) == 1):
            raise ValueError("not today")
        return f"{task}: {hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()}"

    for entry in yaml.safe_load(text)["steps"]:
        register_agent(entry.get("agent") or entry["agentId"], work)


Ways = Callable[[Path, str, list[list[str]]], Iterator[list[dict[str, Any]]]]
Choose = Callable[[Counter[tuple[str, str]]], CrashPoint | None]
"""Where a life ends, given how often which events were written before it."""


def live(folder: Path, text: str, choose: Choose) -> dict[str, Any]:
    """One life of the run in `folder`: from its beginning, or from where the last one died."""
    (folder / "w.wf.yaml").write_text(text)
    register(folder, text)
    store = Store(folder / "s.duckdb")
    begun = store.exists(RUN)
    point = choose(Counter((event.type, event.path) for event in store.events(RUN)) if begun else Counter())
    at = [point.event, point.path, point.before] if point is not None else None
    (folder / "born").write_text(json.dumps({"at": at, "done": done(store) if begun else {}}))
    workflow = load_workflow(folder / "w.wf.yaml", store=CrashingStore(store, point) if point is not None else store)
    run = workflow.create_run(RUN)
    result = (
        run.sync.restart() if begun and run.status == "running" else run.sync.start() if not begun else run.result()
    )
    told = {
        "status": result.status, "result": result.result, "done": done(store),
        "events": [[event.type, event.path] for event in store.events(RUN)],
    }  # fmt: skip
    store.close()
    return told


def done(store: Store) -> dict[str, str]:
    """The steps of the run that are over, and how."""
    return {s.path: s.status for s in store.load(RUN).steps.values() if s.status in ("success", "failed")}


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []


def in_a_process(folder: Path, text: str, choose: Choose) -> dict[str, Any]:
    """A life, and what became of it: where it was to end, the signal it ended with, what it did and, at last, told."""
    known = asked(folder)
    pid = os.fork()
    if pid == 0:
        try:
            (folder / "told").write_text(json.dumps(live(folder, text, choose)))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    told = json.loads((folder / "told").read_text()) if (folder / "told").exists() else None
    born = json.loads((folder / "born").read_text())
    return {**born, "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "told": told,
            "asked": asked(folder)[len(known):]}  # fmt: skip


def undisturbed(written: Counter[tuple[str, str]]) -> None:
    return None


def points(events: list[list[str]]) -> list[CrashPoint]:
    """After each event, and before each that says a step is done or that is the run's first or last."""
    found, seen = [], Counter[tuple[str, str]]()
    for type_, path in events:
        seen[type_, path] += 1
        found.append(crash_at(type_, path, seen[type_, path]))
        if type_ in ("step.result", "run.start", "run.finish"):
            found.append(crash_at(type_, path, seen[type_, path], before=True))
    return found


def each_alone(folder: Path, text: str, events: list[list[str]]) -> Iterator[list[dict[str, Any]]]:
    """For every point the two lives of a run: killed there, and taken up."""
    for number, point in enumerate(points(events)):
        there = folder / str(number)
        there.mkdir()
        yield [in_a_process(there, text, lambda _, point=point: point), in_a_process(there, text, undisturbed)]


def in_a_row(folder: Path, text: str, events: list[list[str]]) -> Iterator[list[dict[str, Any]]]:
    """The lives of one run: each ends with the first event, of those of an undisturbed run, that is not written yet.

    Just before that event, and the next life just after it. Left out: that a step begins, and that it is tried again.
    """
    ends = [(type_, path) for type_, path in events if type_ not in ("step.start", "step.retry")]
    there = folder / "row"
    there.mkdir()
    lives: list[dict[str, Any]] = []
    tried: list[tuple[str, str]] = []

    def choose(written: Counter[tuple[str, str]]) -> CrashPoint | None:
        left = next((end for end in ends if not written[end]), None)
        return left and crash_at(*left, before=left not in tried)

    while not lives or lives[-1]["signal"]:
        lives.append(in_a_process(there, text, choose))
        tried += [tuple(life["at"][:2]) for life in lives[-1:] if life["at"]]
    yield lives


def wrong(lives: list[dict[str, Any]], calm: dict[str, Any], task_of: Mapping[str, str]) -> list[str]:
    """What the lives of a run did that a run nobody disturbed does not do."""
    found = []
    for number, life in enumerate(lives):
        where = f"life {number + 1}, to end at {life['at']}"
        if life["at"] is not None and life["signal"] != signal.SIGKILL:
            found.append(f"{where}: was not killed")
        found += [f"{where}: {step} was done" for step in life["done"] if task_of[step] in life["asked"]]
        found += [f"{where}: '{task}' was asked {n} times" for task, n in Counter(life["asked"]).items()
                  if n > calm["asked"].count(task)]  # fmt: skip
    told = lives[-1]["told"]
    if told is None:
        return [*found, "it could not be taken up"]
    return found + [f"{key}: {told[key]}" for key in ("status", "result", "done") if told[key] != calm["told"][key]]


def crash(folder: Path, shape: str, ways: Ways) -> dict[str, Any]:
    """What an undisturbed run of a shape gave, how many deaths there were, and what was wrong after them."""
    text = text_of_shape(shape)
    (folder / "calm").mkdir(parents=True)
    calm = in_a_process(folder / "calm", text, undisturbed)
    task_of = {entry["id"]: entry["task"] for entry in yaml.safe_load(text)["steps"]}
    runs = list(ways(folder, text, calm["told"]["events"]))
    return {
        "calm": calm, "deaths": [life["at"] for lives in runs for life in lives if life["signal"]],
        "wrong": [one for lives in runs for one in wrong(lives, calm, task_of)],
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--in-a-row", action="store_true")
    options = parser.parse_args()
    print(json.dumps(crash(options.folder, options.shape, in_a_row if options.in_a_row else each_alone)))
