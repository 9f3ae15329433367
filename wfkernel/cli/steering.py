"""``wf pause``, ``wf cancel``: commands to a run, whichever process executes it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from wfkernel.cli.shared import JsonOption, RunArgument, StoreOption, family, opened, print_json
from wfkernel.errors import WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.commands import Command
    from wfkernel.store.store import Store

commands = family()

_PAUSES: Final = (0.1, 0.3, 1.0, 2.0)
"""Seconds between attempts to reach a process that has begun with a run and does not listen yet."""


@commands.command()
def pause(run: RunArgument = "latest", store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Stop a run after the step that is executing and keep everything; `wf resume` goes on. (A notebook's step is cut short.)"""
    from wfkernel.engine.actor import actor

    kept = opened(store)
    run_id = kept.find(run)
    _send(kept, run_id, {"op": "suspend", "by": "wf pause", "reason": f"paused by {actor()['actor']} with wf pause"})
    _report(run_id, "pausing", as_json, f"run {run_id} stops before its next step. Continue with: wf resume {run_id}")


@commands.command()
def cancel(
    run: RunArgument = "latest",
    reason: Annotated[str, typer.Option(help="Kept with the run, for people to read.")] = "canceled with wf cancel",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a run for good: one that is executed, suspended, paused or asleep."""
    from wfkernel.engine.commands import end_idle
    from wfkernel.engine.failures import RunNotActive

    kept = opened(store)
    run_id = kept.find(run)
    try:
        _send(kept, run_id, {"op": "cancel", "by": "wf cancel", "reason": reason})
    except RunNotActive:  # nobody executes it
        kept.claim(run_id, lambda state: end_idle(state, reason))
    _report(run_id, "canceled", as_json, f"run {run_id} is canceled")


def _send(store: Store, run_id: str, command: Command) -> None:
    """Raises `RunNotActive` where no process executes the run, and `WorkflowError` where the command is refused."""
    from wfkernel.engine.failures import RunNotActive

    for pause in (*_PAUSES, None):
        try:
            reply = store.send(run_id, command)
            break
        except RunNotActive:
            state = store.load(run_id)
            beginning = state.status in ("running", "waiting") and store.is_alive(state.owner)
            if pause is None and beginning:
                raise WorkflowError(f"the process that executes run {run_id} ({state.owner}) does not listen") from None
            if pause is None or not beginning:
                raise
            time.sleep(pause)  # its process has just begun with it, or is just leaving it
    if not reply.get("ok"):
        raise WorkflowError("; ".join(text for _, text in reply.get("problems", [])) or f"refused: {command['op']}")


def _report(run_id: str, status: str, as_json: bool, text: str) -> None:
    if as_json:
        print_json({"run_id": run_id, "status": status})
    else:
        typer.echo(text)
