"""``wf``: run, resume and look at workflows from the command line.

Exit status: 0 success, 75 suspended (EX_TEMPFAIL: answer and resume), 1 failed, 2 usage. A mistake of the user is one
line on standard error; ``--json`` prints one JSON document on standard output and nothing else there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from wfkernel.cli_headless import add_headless_commands
from wfkernel.cli_shared import (
    FAILED,
    SUCCESS,
    SUSPENDED,
    USAGE,
    JsonOption,
    StoreOption,
    one_line_errors,
    print_json,
    print_table,
)
from wfkernel.cli_store import add_store_commands
from wfkernel.errors import AnswerInvalid, DefinitionError

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState, StepState
    from wfkernel.store.context import Mode

app = typer.Typer(
    name="wf",
    help="Run notebooks as durable workflows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def run(
    notebook: Annotated[
        str,
        typer.Argument(help="The notebook: a file, or a path papermill reads (s3://, https://).", show_default=False),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; VALUE is JSON or text."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="The executed notebook; {NAME} stands for a parameter's value.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook headless as a new run."""
    from wfkernel.notebook.headless import run_notebook, store_of, typed_parameters
    from wfkernel.store.store import open_store

    with one_line_errors():
        parameters = typed_parameters(notebook, _parameters(parameter or []))
        opened = open_store(store) if store else store_of(notebook)
        state = run_notebook(notebook, output, parameters, progress=_progress(as_json), store=opened)
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

    with one_line_errors():
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


@app.command()
def wake(
    modules: Annotated[list[str], typer.Argument(help="Modules (or .py files) that define the workflows.")],
    as_json: JsonOption = False,
) -> None:
    """Take up the sleeping runs whose time has come. For cron, a systemd timer, or a person."""
    from wfkernel.engine.loop import run_sync
    from wfkernel.engine.wake import wake as wake_runs

    with one_line_errors():
        by_store: dict[Any, list[Any]] = {}
        for module in modules:
            for workflow in _workflows(module):
                by_store.setdefault(workflow.options.store, []).append(workflow)
        results = [result for store, found in by_store.items() for result in run_sync(wake_runs(store, found))]
    if as_json:
        print_json([{"run_id": result.run_id, "status": result.status} for result in results])
    elif results:
        print_table(["run", "status"], [(result.run_id, result.status) for result in results])
    else:
        typer.echo("no run had to be woken")


@app.command("ls")
def list_runs(
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the newest.")] = 20,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest runs."""
    from wfkernel.store.store import open_store

    with one_line_errors():
        rows = open_store(store).runs(limit=limit, status=status)
    if as_json:
        print_json(rows)
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

    with one_line_errors():
        opened = open_store(store)
        state = opened.load(opened.find(run))
        interrupted = state.status == "running" and not opened.is_alive(state.owner)
    if as_json:
        print_json({**_summary(state), "interrupted": interrupted, "steps": _steps(state)})
        return
    _print_run(state, interrupted)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, in your own words.")] = "",
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 5,
    where: Annotated[
        str | None,
        typer.Option(help="A condition in SQL over the columns of the view context, as \"meta->>'topic' = 'x'\"."),
    ] = None,
    kind: Annotated[str | None, typer.Option(metavar="A,B", help="Only texts of these kinds.")] = None,
    session: Annotated[str | None, typer.Option(help="Only texts of this session.")] = None,
    run: Annotated[str | None, typer.Option(help="Only texts of this run.")] = None,
    mode: Annotated[str, typer.Option(help="hybrid, or one ranking alone: vectors or words.")] = "hybrid",
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed all texts anew first.")] = False,
    embedder: Annotated[str | None, typer.Option(help="With --reindex: embed with this one from now on.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search what runs left behind: docs, inputs, outputs, errors, notebook prose, remembered texts."""
    from dataclasses import asdict

    from wfkernel.notebook.context_magics import render_found_text
    from wfkernel.store.store import open_store

    with one_line_errors():
        opened = open_store(store)
        if embedder and not reindex:
            raise DefinitionError("--embedder goes with --reindex: one store holds vectors of one embedder")
        if reindex:
            name = opened.context.reindex(embedder)
            typer.echo(f"all texts are embedded with {name}", err=True)
        if not text and reindex:
            return
        found = opened.context.search(
            text, k, where, session, run=opened.find(run) if run else None, kind=kind.split(",") if kind else None,
            mode=cast("Mode", mode),
        )  # fmt: skip
    if as_json:
        print_json([asdict(one) for one in found])
        return
    typer.echo(render_found_text(found))


db = typer.Typer(name="db", help="The store itself.", no_args_is_help=True)
app.add_typer(db)
add_headless_commands(app)
add_store_commands(app)


@db.command("path")
def db_path() -> None:
    """Print which store file commands in this folder use."""
    from wfkernel.store.locate import find_store_path

    typer.echo(find_store_path())


@db.command("sql")
def db_sql(
    query: Annotated[
        str, typer.Argument(help="SQL over the views runs, steps, attempts, events, step_values, context.")
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Query the store with SQL."""
    from wfkernel.store.store import open_store

    with one_line_errors():
        columns, rows = open_store(store).query(query)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(columns, rows)


def _workflows(module: str) -> list[Any]:
    """The workflows with a store that a module or file defines. Raises `DefinitionError` when it has none."""
    import importlib.util

    from wfkernel.engine.durable import DurableFunction
    from wfkernel.engine.workflow import Workflow

    sys.path.insert(0, "")  # as `python -m` does
    try:
        if module.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(module).stem, module)
            if spec is None or spec.loader is None or not Path(module).is_file():
                raise DefinitionError(f"there is no file {module}")
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
        else:
            loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DefinitionError(f"cannot import {module}: {error}") from None
    found = [value for value in vars(loaded).values() if isinstance(value, Workflow | DurableFunction)]
    stored = [workflow for workflow in found if workflow.options.store is not None]
    if not stored:
        raise DefinitionError(f"{module} defines no workflow with a store: nothing of it can sleep between processes")
    return stored


# -- helpers -----------------------------------------------------------------------------------------------------------


def _progress(as_json: bool) -> bool:
    return not as_json and sys.stderr.isatty()


def _parameters(pairs: list[str]) -> dict[str, str]:
    texts = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise DefinitionError(f"-p {pair}: expected NAME=VALUE")
        texts[name] = text
    return texts


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
        print_json({**_summary(state), "steps": _steps(state)})
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
        print_table(["step", "status", "time", "executed", ""], rows)
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


def main() -> None:
    """The ``wf`` command."""
    app()
