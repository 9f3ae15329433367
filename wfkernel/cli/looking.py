"""``wf ls``, ``wf show``: what runs there are and how they stand."""

from __future__ import annotations

from typing import Annotated

import typer

from wfkernel.cli.report import print_run, run_document
from wfkernel.cli.shared import JsonOption, RunArgument, StoreOption, family, opened, print_json

commands = family()


@commands.command("ls")
def list_runs(
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the newest.")] = 20,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest runs."""
    rows = opened(store).runs(limit=limit, status=status)
    if as_json:
        print_json(rows)
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
