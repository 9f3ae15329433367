"""The same plan gives the same events, whichever worker executes its steps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import go
from wfkernel.engine.context import progress, suspend, write
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step


def told_by(worker: str) -> list[Any]:
    """Everything that happens in a run whose steps write, suspend, fail and are retried, without what times it."""

    @step(worker=worker)
    def first(x: int) -> int:
        write("hello from", x)
        progress(1, 2, "half")
        return x + 1

    @step(worker=worker)
    async def ask(x: int) -> Any:
        return [x, suspend(message="well?", payload={"x": x})]

    @step(worker=worker, retries=1)
    def fail(x: Any) -> None:
        raise ValueError("no") from KeyError("cause")

    run = (
        Workflow("w")
        .then(first)
        .then(ask)
        .foreach(step(id="same", worker=worker)(lambda x: x))
        .then(fail)
        .commit()
        .create_run()
    )
    events: list[Any] = []
    run.watch(events.append)
    go(run.start(1))
    go(run.resume("yes"))
    return [(e.seq, e.type, e.path, e.attempt, _timeless(e.payload)) for e in events]


def _timeless(payload: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in payload.items() if key not in ("duration", "owner")}
    if isinstance(kept.get("error"), dict):  # the frames of the worker itself differ
        kept["error"] = {key: value for key, value in kept["error"].items() if key != "traceback"}
    return kept


@pytest.fixture(scope="module")
def inline() -> list[Any]:
    return told_by("inline")


@pytest.mark.parametrize("worker", ["threads", "processes"])
def test_every_worker_gives_the_same_events(worker: str, inline: list[Any]) -> None:
    assert told_by(worker) == inline
    assert inline[-1][1:2] == ("run.finish",)
