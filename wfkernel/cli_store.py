"""``wf checkpoint``, ``fsck``, ``recover``, ``prune``, ``trust``: looking after a store."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfkernel.cli_shared import FAILED, USAGE, JsonOption, StoreOption, one_line_errors, print_json, print_table
from wfkernel.errors import StoreError

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState
    from wfkernel.store.checkpoints import Checkpoint

__all__ = ["add_store_commands"]

checkpoint = typer.Typer(name="checkpoint", help="Named points of a run to go back to.", no_args_is_help=True)
CheckpointArgument = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="Its id, the beginning of it, or its label.")
]


def add_store_commands(app: typer.Typer) -> None:
    """Add the commands of this module to ``wf``."""
    app.add_typer(checkpoint)
    for command in (fsck, recover, prune, trust):
        app.command()(command)


@checkpoint.command("create")
def checkpoint_create(
    run: Annotated[str, typer.Argument(help="The run: its id, the beginning of it, or 'latest'.")] = "latest",
    label: Annotated[str, typer.Option(help="A name to find it by.")] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a checkpoint of a run where it stands now."""
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        made = opened.checkpoint(opened.find(run), label)
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
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        known = opened.checkpoints.all(opened.find(run) if run else None)
    if as_json:
        print_json([asdict(one) for one in known])
        return
    rows = [(c.checkpoint_id, c.label, c.run_id, c.seq, c.made_by, _when(c.created)) for c in known]
    print_table(["checkpoint", "label", "run", "event", "made", "at"], rows)


@checkpoint.command("show")
def checkpoint_show(name: CheckpointArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show how the run stood at a checkpoint."""
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        found = opened.checkpoints.find(name)
        state = opened.checkpoints.state(found)
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
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        found = opened.checkpoints.find(name)
        code = _code_now(opened.checkpoints.state(found))
        state = opened.checkpoints.restore(found, code=code, drift=allow_drift, run_id=run_id)
    if as_json:
        print_json({"run_id": state.run_id, "status": state.status, "checkpoint": found.checkpoint_id})
    else:
        typer.echo(
            f"run {state.run_id} holds what {found.run_id} had done then. Go on with it: wf resume {state.run_id}"
        )


@checkpoint.command("rm")
def checkpoint_rm(
    names: Annotated[list[str], typer.Argument(metavar="CHECKPOINT...")], store: StoreOption = None
) -> None:
    """Delete checkpoints. Runs and their events stay."""
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        for found in [opened.checkpoints.find(name) for name in names]:
            opened.checkpoints.remove(found)


@checkpoint.command("prune")
def checkpoint_prune(
    keep: Annotated[
        int, typer.Option(min=0, help="How many of the newest each run keeps; labelled ones all stay.")
    ] = 10,
    run: Annotated[str | None, typer.Argument(help="Only those of this run.")] = None,
    store: StoreOption = None,
) -> None:
    """Delete old checkpoints that have no label."""
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        gone = opened.checkpoints.prune(keep=keep, run_id=opened.find(run) if run else None)
    typer.echo(f"deleted {len(gone)} checkpoints")


def fsck(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check that everything in the store is as it was written. Exit status 1 if something is not."""
    from wfkernel.store.fsck import check
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        problems = check(opened)
    if as_json:
        print_json([problem.to_json() for problem in problems])
    else:
        for problem in problems:
            typer.echo(str(problem))
        if not problems:
            typer.echo(f"{opened.path}: all is well")
    if problems:
        raise typer.Exit(FAILED)


def recover(
    run: Annotated[str, typer.Argument(help="The run: its id or the beginning of it.")],
    to: Annotated[int | None, typer.Option("--to", metavar="SEQ", min=0, help="Default: the last good event.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a damaged run back to its last good event; the rest goes to a file in quarantine."""
    from wfkernel.store.recover import recover as recover_run
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        done = recover_run(opened, opened.find(run), to)
    if as_json:
        status = done.state.status if done.state else None
        print_json(
            {"run_id": done.run_id, "seq": done.seq, "removed": done.removed, "kept_in": done.kept_in, "status": status}
        )
        return
    kept = f"; what was taken out is in {done.kept_in}" if done.kept_in else ""
    typer.echo(f"run {done.run_id} is as it was at event {done.seq}, {done.removed} events were taken out{kept}")
    if done.state is not None and done.state.status not in ("success", "canceled"):
        typer.echo(f"go on with it: wf resume {done.run_id}")


def prune(
    older_than: Annotated[str | None, typer.Option(help="Delete ended runs older than this: 30d, 12h, 90m.")] = None,
    keep_last: Annotated[int | None, typer.Option(min=0, help="Keep this many of each workflow's newest runs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old runs and the value files nothing refers to any more."""
    from wfkernel.plan.duration import seconds
    from wfkernel.store.retention import prune as prune_store
    from wfkernel.store.store import open_store

    with one_line_errors():
        age = None if older_than is None else seconds(older_than)
        done = prune_store(open_store(store), older_than=age, keep_last=keep_last, dry_run=dry_run)
    if as_json:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    for run in done.runs:
        typer.echo(f"{run['run_id']}  {run['status']}  {_when(run['updated'])}  {run['workflow'] or ''}")
    verb = "would delete" if dry_run else "deleted"
    typer.echo(f"{verb} {len(done.runs)} runs and {done.values} value files ({done.bytes / 1e6:.1f} MB)")


def trust(
    store: Annotated[Path, typer.Argument(help="The store file whose values to trust.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a store from elsewhere could run when its values are opened, and sign it as yours."""
    from wfkernel.store.resign import trust as trust_store
    from wfkernel.store.resign import untrusted
    from wfkernel.store.store import open_store

    with one_line_errors():
        if not store.is_file():
            raise StoreError(f"there is no store {store}")
        opened = open_store(store)
        found = untrusted(opened)
        if not as_json:
            rows = [(u.run_id, u.step, u.name, u.type, u.codec, u.size, ", ".join(u.imports)) for u in found]
            if rows:
                print_table(["run", "step", "name", "type", "codec", "bytes", "opening it imports"], rows)
        if found and not yes:
            if as_json:
                print_json({"signed": 0, "untrusted": [asdict(one) for one in found]})
                return
            typer.echo("Opening these values runs code of whoever saved them.", err=True)
            if not typer.confirm(f"Trust all {len(found)}?", err=True):
                raise typer.Exit(USAGE)
        signed = trust_store(opened)
    if as_json:
        print_json({"signed": signed, "untrusted": [asdict(one) for one in found]})
    else:
        typer.echo(f"signed {signed} values" if signed else "every value in it can be opened already")


def _code_now(state: RunState) -> dict[str, str] | None:
    """The digests of the steps as the run's notebook defines them now; None where there is no notebook to ask."""
    notebook = Path(state.notebook) if state.notebook else None
    if notebook is None or not notebook.is_file():
        return None
    import nbformat

    from wfkernel.plan.outline import outline

    cells = nbformat.read(notebook, as_version=4).cells
    found = outline([cell.source if cell.cell_type == "code" else None for cell in cells])
    return {step.name: step.code for step in found.steps}


def _print_checkpoint(found: Checkpoint, state: RunState) -> None:
    typer.echo(f"checkpoint {found.checkpoint_id}  {found.label}".rstrip())
    typer.echo(f"run        {found.run_id}  {state.status} at event {found.seq}")
    typer.echo(f"made       {_when(found.created)} ({found.made_by})")
    rows: list[tuple[Any, ...]] = [(s.path, s.status, f"{s.executions}x") for s in state.steps.values()]
    print_table(["step", "status", "executed"], rows)


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + " UTC"
