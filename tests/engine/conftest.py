"""Helpers of the engine's tests: small workflows, what happened as short text, and runs kept in a real store."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from wfkernel.engine.events import Event
from wfkernel.engine.run import Run

# Events the engine writes besides the ones that tell the story of the steps.
_ASIDE = {"parallel.joined", "branch.selected", "step.iteration"}


def go(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end."""
    return asyncio.run(work)


def story(run: Run) -> list[str]:
    """Starts to list what happens to the run, as ``S(a)``, ``R(a)``, ``R(a:failed)``, ``suspended(a)``, ``finish(success)``.

    Items of a foreach and the engine's own decisions are left out.
    """
    told: list[str] = []

    def note(event: Event) -> None:
        if event.type in _ASIDE or event.path.endswith("]"):
            return
        what = event.type.partition(".")[2]
        status = event.payload.get("status", "success")
        if event.type == "step.start":
            told.append(f"S({event.path})")
        elif event.type == "step.result":
            told.append(f"R({event.path})" if status == "success" else f"R({event.path}:{status})")
        elif event.path:
            told.append(f"{what}({event.path})")
        else:
            told.append(f"finish({status})" if event.type == "run.finish" else what)

    run.watch(note)
    return told


FLOW = """
    import asyncio, json, os, sys, time
    from pathlib import Path
    from wfkernel.engine.workflow import Workflow
    from wfkernel.engine.durable import workflow
    from wfkernel.errors import WorkflowError
    from wfkernel.plan.step import step
    from wfkernel.store.store import Store

    store = Store(sys.argv[1])
    log = Path(sys.argv[1]).parent / "log"

    def note(text):
        with log.open("a") as file:
            file.write(text + "\\n")

    def die_once(name):
        marker = log.with_name(f"died-{name}")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)

    @step
    async def first(x: int) -> int:
        note(f"first({x})")
        return x + 1
"""


class Elsewhere:
    """Runs scripts in processes of their own, on one store."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".wfkernel" / "store.duckdb"
        self.path.parent.mkdir(exist_ok=True)
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, script: str, *args: str) -> subprocess.Popen[str]:
        file = self.path.parent / f"script{time.monotonic_ns()}.py"
        file.write_text(textwrap.dedent(FLOW) + textwrap.dedent(script))
        process = subprocess.Popen(
            [sys.executable, str(file), str(self.path), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self, script: str, *args: str) -> tuple[int, str]:
        process = self.start(script, *args)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), err
        return process.returncode, out

    @property
    def log(self) -> list[str]:
        file = self.path.parent / "log"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
