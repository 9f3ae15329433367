"""``wf ls``, ``wf show``, ``wf stats``: what runs there are, how they stand, and how they do on the whole."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wfkernel.cli.report import print_run, run_document
from wfkernel.cli.shared import JsonOption, RunArgument, StoreOption, family, opened, print_json, print_table
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


def _took(duration: float | None) -> str:
    """A mean of many is worth more digits than a single duration is shown with."""
    from wfkernel.notebook.view import seconds

    return seconds(duration) if duration is None or duration >= 1 else f"{duration * 1e3:.1f} ms"


@commands.command("stats")
def show_stats(
    workflow: Annotated[str | None, typer.Argument(help="Only this workflow, or notebook by its name.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how often workflows and their steps ran and failed, and how long they take."""
    from dataclasses import asdict

    from wfkernel.store.stats import stats

    found = stats(opened(store), workflow)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if workflow is not None and not found:
        raise DefinitionError(f"there are no runs of '{workflow}': `wf stats` shows all there are")
    rows = [
        (
            f"  {one.step}" if one.step else one.workflow,
            one.count, one.failed or "", one.repeats or "",
            *map(_took, (one.mean, one.median, one.p95, one.longest)),
        )
        for one in found
    ]  # fmt: skip
    columns = ["workflow, step", "count", "failed", "repeats", "mean", "median", "p95", "longest"]
    print_table(columns, rows, empty="No runs yet.")
