"""``wf session``: runs that belong together, and what their session remembers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wfkernel.cli.shared import JsonOption, StoreOption, family, group, opened, print_json, print_table
from wfkernel.errors import WorkflowError

commands = family()
session = group(commands, "session", "Runs that share a session.")

_RUNS = """SELECT s.session, r.run_id, r.workflow, r.status, r.started_at, r.error FROM runs r JOIN (
    SELECT DISTINCT ON (run_id) run_id, payload->>'$.session' AS session FROM events WHERE type = 'run.start'
    ORDER BY run_id, seq DESC) s USING (run_id) WHERE s.session <> '' ORDER BY r.started_at"""


@session.command("ls")
def session_ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List sessions, the one used last first."""
    _, rows = opened(store).query(
        f"SELECT session, count(*) AS runs, max(started_at) AS last_used FROM ({_RUNS}) GROUP BY 1 ORDER BY 3 DESC"
    )
    if as_json:
        print_json([{"session": name, "runs": runs, "last_used": last} for name, runs, last in rows])
    else:
        print_table(["session", "runs", "last used (UTC)"], rows, empty="No sessions yet.")


@session.command("show")
def session_show(
    name: Annotated[str, typer.Argument(help="The session.")], store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Show the runs of a session, oldest first."""
    _, rows = opened(store).query(_RUNS)
    runs: list[tuple[Any, ...]] = [row[1:] for row in rows if row[0] == name]
    if not runs:
        raise WorkflowError(f"no run belongs to a session '{name}'. `wf session ls` lists the sessions.")
    if as_json:
        names = ("run_id", "workflow", "status", "started_at", "error")
        print_json({"session": name, "runs": [dict(zip(names, run, strict=True)) for run in runs]})
    else:
        print_table(["run", "workflow", "status", "started (UTC)", "error"], runs)
