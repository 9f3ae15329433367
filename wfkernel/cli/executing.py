"""Executing runs of workflows (not notebooks) in this process: from the beginning, or from where they stand."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import typer

from wfkernel.cli.targets import workflow_of
from wfkernel.errors import RunExists, RunNotSuspended

if TYPE_CHECKING:
    from wfkernel.engine.durability import Durability
    from wfkernel.engine.events import Event
    from wfkernel.engine.run import Run
    from wfkernel.engine.state import RunState
    from wfkernel.store.store import Store

__all__ = ["begin", "go_on", "try_again"]


def begin(
    workflow: Any,
    value: Any,
    run_id: str,
    durability: Durability | None = None,
    checkpoints: str | None = None,
    *,
    progress: bool,
) -> RunState:
    """Run a workflow as a new run, until it ends or stops. Raises `RunExists`."""
    run = workflow.create_run(run_id, durability=durability, checkpoints=checkpoints)
    if run.state.seq:
        raise RunExists(run_id, run.status)
    return _execute(run, run.start(value), progress)


def go_on(
    store: Store, state: RunState, data: Any, answered: bool, step: str | None, imports: Sequence[str] = (), *,
    progress: bool,
) -> RunState:  # fmt: skip
    """Go on with a run from where it stands; `data` is the answer for a suspended step, if one is `answered`.

    `step` is that step's path, or a label it suspended with.
    """
    from wfkernel.engine.result import suspended_paths
    from wfkernel.notebook.headless import resume_hints

    if answered and state.status != "suspended":
        raise RunNotSuspended(f"run {state.run_id} is {state.status}, not suspended: resume it without --data")
    if state.status in ("failed", "tripwire"):
        return try_again(store, state, None, imports, progress=progress)
    if state.status in ("success", "canceled"):
        raise RunNotSuspended(f"run {state.run_id} is finished ({state.status}): there is nothing to resume")
    if state.status == "suspended" and answered and step is None and len(suspended_paths(state)) > 1:
        raise RunNotSuspended(
            "\n".join([f"run {state.run_id} waits for several answers; say which:", *resume_hints(state)])
        )
    run = workflow_of(state, store, imports).create_run(state.run_id)
    if state.status == "suspended":
        step = next((one.path for one in state.suspended_steps if step and one.answers_to(step)), step)
        if not answered:
            raise RunNotSuspended(f"run {state.run_id} waits for an answer: {resume_hints(state)[0]}")
        return _execute(run, run.resume(data, step=step), progress)
    return _execute(run, run.resume() if state.status == "paused" else run.restart(), progress)


def try_again(
    store: Store, state: RunState, step: str | None, imports: Sequence[str] = (), *, progress: bool
) -> RunState:
    """Execute what failed once more, or with `step` that step and everything after it."""
    run = workflow_of(state, store, imports).create_run(state.run_id)
    return _execute(run, run.time_travel(step) if step else run.retry(), progress)


def _execute(run: Run, work: Coroutine[Any, Any, Any], progress: bool) -> RunState:
    from wfkernel.engine.loop import run_sync

    end = run.watch(_say) if progress else None
    try:
        run_sync(work)
    except KeyboardInterrupt:
        typer.echo(f"\nwf: interrupted. Continue with: wf resume {run.run_id}", err=True)
        raise typer.Exit(130) from None
    finally:
        if end is not None:
            end()
    return run.state


def _say(event: Event) -> None:
    from wfkernel.engine import events as ev

    if event.type == ev.STEP_RESULT and "[" not in event.path:
        typer.echo(f"{event.path}: {event.payload['status']}", err=True)
