"""One run as a JSON document, as text, and as an exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import typer

from wfkernel.cli.shared import FAILED, SUCCESS, SUSPENDED, print_json, print_table

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState, StepState
    from wfkernel.store.store import Store

__all__ = ["exit_as", "print_run", "run_document"]

GOES_ON: Final = ("suspended", "paused", "waiting")
"""Statuses of runs that are neither over nor at work."""
HINTS: Final = 5
"""Commands shown of those that answer the suspended steps."""
LONGEST: Final = 500
"""Characters of a result shown to people; ``--json`` has all of it."""


def run_document(state: RunState, store: Store, *, interrupted: bool = False) -> dict[str, Any]:
    """A run and its steps, JSON-safe. A result JSON has no place for is told by its repr, cut short."""
    from wfkernel.notebook.headless import has_command, resume_hint

    over = state.status in ("success", "canceled")
    return {
        "run_id": state.run_id,
        "status": state.status,
        "workflow": state.workflow,
        "notebook": state.notebook,
        "output": state.output,
        "mode": state.mode,
        "parameters": state.params,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "result": _result(state, store),
        "error": state.error,
        "resume": resume_hint(state) if not over and has_command(state) else None,
        "interrupted": interrupted,
        "steps": [_step_document(step) for step in state.steps.values()],
    }


def _result(state: RunState, store: Store) -> Any:
    from wfkernel.engine.result import short_repr
    from wfkernel.engine.values import shown_value
    from wfkernel.store.plain import plain_text

    found = shown_value(state.result, store) if state.status == "success" else None
    return found if plain_text(found) is not None else short_repr(found)


def _step_document(step: StepState) -> dict[str, Any]:
    return {
        "step": step.path,
        "status": step.status,
        "executions": step.executions,
        "restored": step.restored,
        "undone": step.undone,
        "seconds": step.duration,
        "error": step.error,
        "message": step.suspension.message if step.suspension else None,
        "labels": step.suspension.labels if step.suspension else [],
        "schema": step.suspension.schema if step.suspension else None,
        "saved": [r["name"] for r in (step.done or {}).get("outputs", ()) if not r.get("why")],
        "not_saved": {r["name"]: r["why"] for r in (step.done or {}).get("outputs", ()) if r.get("why")},
    }


def print_run(state: RunState, store: Store, *, interrupted: bool = False) -> None:
    """A run and its steps, for people."""
    from wfkernel.notebook.headless import resume_hints

    status = "interrupted" if interrupted else state.status
    typer.echo(f"run      {state.run_id}  {status}")
    if state.notebook:
        typer.echo(f"notebook {state.notebook}")
    if state.output:
        typer.echo(f"output   {state.output}")
    if state.params:
        typer.echo("with     " + ", ".join(f"{name}={value}" for name, value in state.params.items()))
    rows = [
        (
            step.path,
            step.status + (" (restored)" if step.restored else " (undone)" if step.undone else ""),
            "" if step.duration is None else f"{step.duration:.2f} s",
            f"{step.executions}x" if step.executions else "",
            _remark(step),
        )
        for step in state.steps.values()
    ]
    if rows:
        print_table(["step", "status", "time", "executed", ""], rows)
    if (result := _result(state, store)) is not None:
        told = json.dumps(result, ensure_ascii=False)
        typer.echo(f"result   {told if len(told) <= LONGEST else told[: LONGEST - 1] + '…'}")
    if state.error and not state.error.get("step"):
        typer.echo(f"error    {state.error.get('type', '')}: {state.error.get('message', '')}")
        if hint := state.error.get("hint"):
            typer.echo(f"hint     {hint}")
    if interrupted or state.status in ("suspended", "failed"):
        hints = resume_hints(state)
        for hint in hints[:HINTS]:
            typer.echo(f"continue with: {hint}")
        if len(hints) > HINTS:
            typer.echo(f"and {len(hints) - HINTS} more that wait for an answer")


def _remark(step: StepState) -> str:
    """What a person should know about a step that is not simply done."""
    if step.suspension is not None:
        refused = "".join(f"\nrefused: {path or 'answer'}: {message}" for path, message in step.suspension.problems)
        labels = f" (label {', '.join(step.suspension.labels)})" if step.suspension.labels else ""
        return step.suspension.message + labels + refused
    error = step.error or {}
    return str(error.get("message", "")) + (f"\nhint: {error['hint']}" if error.get("hint") else "")


def exit_as(state: RunState, store: Store, as_json: bool) -> None:
    """Say how a run ended or stopped, and exit with its status."""
    if as_json:
        print_json(run_document(state, store))
    else:
        print_run(state, store)
    raise typer.Exit(SUCCESS if state.status == "success" else SUSPENDED if state.status in GOES_ON else FAILED)
