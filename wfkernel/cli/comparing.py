"""``wf diff``, ``wf history``: two runs side by side, and who did what."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from wfkernel.cli.complete import complete_run
from wfkernel.cli.shared import FAILED, SUCCESS, JsonOption, StoreOption, family, opened, print_json, print_table, utc

commands = family()


@commands.command()
def diff(
    first: Annotated[str, typer.Argument(help="A run.", autocompletion=complete_run)],
    second: Annotated[str, typer.Argument(help="The run to compare it with.", autocompletion=complete_run)] = "latest",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs: what they were given, values, durations, code. Exit status 1 if they differ in more than time."""
    from wfkernel.notebook.rundiff import render_comparison_text
    from wfkernel.store.compare import compare_runs

    kept = opened(store)
    found = compare_runs(kept.load(kept.find(first)), kept.load(kept.find(second)))
    if as_json:
        print_json({**asdict(found), "differs": found.differs})
    else:
        typer.echo(render_comparison_text(found))
    raise typer.Exit(FAILED if found.differs else SUCCESS)


@commands.command()
def history(
    run: Annotated[str | None, typer.Argument(help="Only of this run.", autocompletion=complete_run)] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the newest.")] = 50,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who started, answered, resumed, canceled, edited, pruned or recovered what, and when."""
    from wfkernel.store.history import history as history_of

    kept = opened(store)
    deeds = history_of(kept, kept.find(run) if run else None, limit=limit)
    if as_json:
        print_json([asdict(deed) for deed in deeds])
        return
    rows = [(utc(d.at), d.actor, d.via, d.run_id, f"{d.what} {d.step}".rstrip(), d.detail) for d in deeds]
    print_table(["when", "who", "through", "run", "did", ""], rows, empty="Nothing was done yet.")
