"""``wf ls``, ``wf show``: what runs there are and how they stand."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wfkernel.cli.report import print_run, run_document
from wfkernel.cli.shared import JsonOption, RunArgument, StoreOption, family, opened, print_json
from wfkernel.errors import DefinitionError

commands = family()

INTERRUPTED: Final = "interrupted"
STATUSES: Final = (
    "running", INTERRUPTED, "waiting", "suspended", "paused", "success", "failed", "tripwire", "canceled", "pending",
)  # fmt: skip


@commands.command("ls")
def list_runs(
    status: Annotated[
        str | None, typer.Option(help="Only runs of this status.", autocompletion=lambda: list(STATUSES))
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the newest.")] = 20,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest runs."""
    if status is not None and status not in STATUSES:
        from wfkernel.plan.reference import did_you_mean

        raise DefinitionError(f"--status {status}: no run has that status{did_you_mean(status, STATUSES)}")
    kept = opened(store)
    if status == INTERRUPTED:
        rows = [row for row in kept.runs(limit=limit, status="running") if row["interrupted"]]
    else:
        rows = kept.runs(limit=limit, status=status)
    if as_json:
        print_json(rows)
        return
    if status is not None and not rows:
        typer.echo(f"No run is {status}.")
        return
    from wfkernel.notebook.runlist import render_runs_text

    typer.echo(render_runs_text(rows))


@commands.command()
def show(
    run: RunArgument = "latest",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run and its steps."""
    kept = opened(store)
    state = kept.load(kept.find(run))
    interrupted = state.status == "running" and not kept.is_alive(state.owner)
    if as_json:
        print_json(run_document(state, kept, interrupted=interrupted))
        return
    print_run(state, kept, interrupted=interrupted)
