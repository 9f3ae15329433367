"""``wf checkpoint``: named points of a run to go back to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfkernel.cli.shared import (
    JsonOption,
    RunArgument,
    StoreOption,
    family,
    group,
    opened,
    print_json,
    print_table,
    utc,
)

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState
    from wfkernel.store.checkpoints import Checkpoint
    from wfkernel.store.store import Store

commands = family()
checkpoint = group(commands, "checkpoint", "Named points of a run to go back to.")
CheckpointArgument = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="Its id, the beginning of it, or its label.")
]


@checkpoint.command("create")
def checkpoint_create(
    run: RunArgument = "latest",
    label: Annotated[str, typer.Option(help="A name to find it by.")] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a checkpoint of a run where it stands now."""
    kept = opened(store)
    made = kept.checkpoint(kept.find(run), label)
    if as_json:
        print_json(asdict(made))
    else:
        typer.echo(f"checkpoint {made.checkpoint_id} of run {made.run_id} at event {made.seq}")


@checkpoint.command("ls")
def checkpoint_ls(
    run: Annotated[str | None, typer.Argument(help="Only those of this run.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List checkpoints, oldest first."""
    kept = opened(store)
    known = kept.checkpoints.all(kept.find(run) if run else None)
    if as_json:
        print_json([asdict(one) for one in known])
        return
    rows = [(c.checkpoint_id, c.label, c.run_id, c.seq, c.made_by, utc(c.created)) for c in known]
    print_table(["checkpoint", "label", "run", "event", "made", "at"], rows, empty="No checkpoints yet.")


@checkpoint.command("show")
def checkpoint_show(name: CheckpointArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show how the run stood at a checkpoint."""
    kept = opened(store)
    found = kept.checkpoints.find(name)
    state = kept.checkpoints.state(found)
    if as_json:
        print_json({**asdict(found), "status": state.status, "steps": {p: s.status for p, s in state.steps.items()}})
        return
    _print_checkpoint(found, state)


@checkpoint.command("restore")
def checkpoint_restore(
    name: CheckpointArgument,
    run_id: Annotated[str | None, typer.Option("--run-id", help="The id of the new run.")] = None,
    allow_drift: Annotated[
        bool, typer.Option("--allow-drift", help="Also when steps in it are defined otherwise now.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new run that goes on from a checkpoint. The old run stays as it was."""
    kept = opened(store)
    found = kept.checkpoints.find(name)
    code = None if allow_drift else _code_now(kept.checkpoints.state(found), kept)
    state = kept.checkpoints.restore(found, code=code, drift=allow_drift, run_id=run_id)
    if as_json:
        print_json({"run_id": state.run_id, "status": state.status, "checkpoint": found.checkpoint_id})
    else:
        typer.echo(f"run {state.run_id} holds what {found.run_id} had done then. {_how_to_go_on(state)}")


@checkpoint.command("rm")
def checkpoint_rm(
    names: Annotated[list[str], typer.Argument(metavar="CHECKPOINT...")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete checkpoints. Runs and their events stay."""
    kept = opened(store)
    gone = [kept.checkpoints.find(name) for name in names]
    for found in gone:
        kept.checkpoints.remove(found)
    _print_deleted(gone, as_json)


@checkpoint.command("prune")
def checkpoint_prune(
    keep: Annotated[
        int, typer.Option(min=0, help="How many of the newest each run keeps; labelled ones all stay.")
    ] = 10,
    run: Annotated[str | None, typer.Argument(help="Only those of this run.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old checkpoints that have no label."""
    kept = opened(store)
    _print_deleted(kept.checkpoints.prune(keep=keep, run_id=kept.find(run) if run else None), as_json)


def _print_deleted(gone: list[Checkpoint], as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in gone])
    else:
        typer.echo(f"deleted {len(gone)} checkpoint{'s' if len(gone) != 1 else ''}")


def _how_to_go_on(state: RunState) -> str:
    from wfkernel.notebook.headless import resume_hints

    if state.status in ("success", "canceled"):
        return f"It had ended by then: {state.status}"
    here = f"restart the kernel of {state.notebook} and run all cells, or " if state.mode == "interactive" else ""
    return f"Go on with it: {here}{resume_hints(state)[0]}"


def _code_now(state: RunState, store: Store) -> dict[str, str] | None:
    """The digests of the run's steps as they are defined now; None where there is no definition to ask."""
    if state.source:
        from wfkernel.cli.targets import workflow_of
        from wfkernel.engine.drift import code_now
        from wfkernel.engine.workflow import Workflow

        workflow = workflow_of(state, store)
        # A durable function sees itself, call by call, to what changed.
        return code_now(state, workflow) if isinstance(workflow, Workflow) else None
    notebook = Path(state.notebook) if state.notebook else None
    if notebook is None or not notebook.is_file():
        return None
    from wfkernel.notebook.places import read_cells
    from wfkernel.plan.outline import outline_of

    return {step.name: step.code for step in outline_of(read_cells(state.notebook)).steps}


def _print_checkpoint(found: Checkpoint, state: RunState) -> None:
    typer.echo(f"checkpoint {found.checkpoint_id}  {found.label}".rstrip())
    typer.echo(f"run        {found.run_id}  {state.status} at event {found.seq}")
    typer.echo(f"made       {utc(found.created)} ({found.made_by})")
    rows: list[tuple[Any, ...]] = [(s.path, s.status, f"{s.executions}x") for s in state.steps.values()]
    print_table(["step", "status", "executed"], rows)
