"""Helpers of the engine's tests: small workflows, what happened as short text, and runs kept in a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

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
