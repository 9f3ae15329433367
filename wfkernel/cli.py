"""``wf``: run, resume and look at workflows from the command line.

Exit status: 0 success, 75 suspended (EX_TEMPFAIL: answer and resume), 1 failed, 2 usage. A mistake of the user is one
line on standard error; ``--json`` prints one JSON document on standard output and nothing else there.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from wfkernel.errors import AnswerInvalid, DefinitionError, WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState, StepState

SUCCESS: Final = 0
FAILED: Final = 1
USAGE: Final = 2
SUSPENDED: Final = 75

app = typer.Typer(
    name="wf",
    help="Run notebooks as durable workflows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="The store file; default: WFKERNEL_STORE or .wfkernel in the project.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except WorkflowError as error:
        for line in str(error).splitlines():
            typer.echo(f"wf: {line}", err=True)
        raise typer.Exit(USAGE) from None


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="The notebook to run.", show_default=False)],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; VALUE is JSON or text."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The executed notebook.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook headless as a new run."""
    from wfkernel.notebook.headless import run_notebook

    with _one_line_errors():
        if not notebook.is_file():
            raise DefinitionError(f"there is no notebook {notebook}")
        state = run_notebook(notebook, output, _parameters(parameter or []), progress=_progress(as_json))
    _report(state, as_json)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="The run: its id, the beginning of it, or 'latest'.")],
    data: Annotated[str | None, typer.Option(help="The answer for the suspended step, as JSON.")] = None,
    step: Annotated[str | None, typer.Option(help="Which suspended step, where there are several.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a suspended, failed or interrupted run; finished steps are not executed again."""
    from wfkernel.notebook.headless import resume_notebook
    from wfkernel.store.store import open_store

    with _one_line_errors():
        opened = open_store(store)
        run_id = opened.find(run)
        try:
            state = resume_notebook(opened, run_id, _answer(data), step=step, progress=_progress(as_json))
        except AnswerInvalid as error:
            typer.echo(f"wf: the answer for step '{error.step}' was refused, run {run_id} stays suspended:", err=True)
            for path, message in error.problems:
                typer.echo(f"  {path or 'answer'}: {message}", err=True)
            raise typer.Exit(USAGE) from None
    _report(state, as_json)


@app.command("ls")
def list_runs(
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the newest.")] = 20,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest runs."""
    from wfkernel.store.store import open_store

    with _one_line_errors():
        rows = open_store(store).runs(limit=limit, status=status)
    if as_json:
        _print_json(rows)
        return
    from wfkernel.notebook.runlist import render_runs_text

    typer.echo(render_runs_text(rows))


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="The run: its id, the beginning of it, or 'latest'.")] = "latest",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run and its steps."""
    from wfkernel.store.store import open_store

    with _one_line_errors():
        opened = open_store(store)
        state = opened.load(opened.find(run))
        interrupted = state.status == "running" and not opened.is_alive(state.owner)
    if as_json:
        _print_json({**_summary(state), "interrupted": interrupted, "steps": _steps(state)})
        return
    _print_run(state, interrupted)


db = typer.Typer(name="db", help="The store itself.", no_args_is_help=True)
app.add_typer(db)


@db.command("path")
def db_path() -> None:
    """Print which store file commands in this folder use."""
    from wfkernel.store.locate import find_store_path

    typer.echo(find_store_path())


@db.command("sql")
def db_sql(
    query: Annotated[str, typer.Argument(help="SQL over the views runs, steps, attempts, events, step_values.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Query the store with SQL."""
    from wfkernel.store.store import open_store

    with _one_line_errors():
        columns, rows = open_store(store).query(query)
    if as_json:
        _print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    _print_table(columns, rows)


# -- helpers -----------------------------------------------------------------------------------------------------------


def _progress(as_json: bool) -> bool:
    return not as_json and sys.stderr.isatty()


def _parameters(pairs: list[str]) -> dict[str, Any]:
    parameters = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise DefinitionError(f"-p {pair}: expected NAME=VALUE")
        try:
            parameters[name] = json.loads(text)
        except ValueError:
            parameters[name] = text
    return parameters


def _answer(data: str | None) -> Any:
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise DefinitionError(f"--data is not JSON: {error}. Example: --data '{{\"approve\": true}}'") from None


def _report(state: RunState, as_json: bool) -> None:
    """Say how a headless run ended and exit with its status."""
    if as_json:
        _print_json({**_summary(state), "steps": _steps(state)})
    else:
        _print_run(state, interrupted=False)
    raise typer.Exit({"success": SUCCESS, "suspended": SUSPENDED}.get(state.status, FAILED))


def _summary(state: RunState) -> dict[str, Any]:
    from wfkernel.notebook.headless import resume_hint

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
        "error": state.error,
        "resume": resume_hint(state) if state.status not in ("success", "canceled") else None,
    }


def _steps(state: RunState) -> list[dict[str, Any]]:
    return [
        {
            "step": step.path,
            "status": step.status,
            "executions": step.executions,
            "restored": step.restored,
            "seconds": step.duration,
            "error": step.error,
            "message": step.suspension.message if step.suspension else None,
            "schema": step.suspension.schema if step.suspension else None,
            "saved": [r["name"] for r in (step.done or {}).get("outputs", ()) if not r.get("why")],
            "not_saved": {r["name"]: r["why"] for r in (step.done or {}).get("outputs", ()) if r.get("why")},
        }
        for step in state.steps.values()
    ]


def _print_run(state: RunState, interrupted: bool) -> None:
    from wfkernel.notebook.headless import resume_hint

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
            step.status + (" (restored)" if step.restored else ""),
            "" if step.duration is None else f"{step.duration:.2f} s",
            f"{step.executions}x" if step.executions else "",
            _remark(step),
        )
        for step in state.steps.values()
    ]
    if rows:
        _print_table(["step", "status", "time", "executed", ""], rows)
    if state.error and not state.error.get("step"):
        typer.echo(f"error    {state.error.get('type', '')}: {state.error.get('message', '')}")
    if interrupted or state.status in ("suspended", "failed"):
        typer.echo(f"continue with: {resume_hint(state)}")


def _remark(step: StepState) -> str:
    """What a person should know about a step that is not simply done."""
    if step.suspension is not None:
        refused = "".join(f"\nrefused: {path or 'answer'}: {message}" for path, message in step.suspension.problems)
        return step.suspension.message + refused
    return str((step.error or {}).get("message", ""))


def _print_table(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    # A pipe has no width: nothing is wrapped there, so that other programs find whole lines.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def main() -> None:
    """The ``wf`` command."""
    app()
