"""``wf run``, ``wf resume``, ``wf wake``: make runs go."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wfkernel.cli.files import ImportOption, is_workflow_file, resume_file, run_file
from wfkernel.cli.report import exit_as
from wfkernel.cli.shared import (
    USAGE,
    JsonOption,
    RunArgument,
    StoreOption,
    family,
    opened,
    print_json,
    print_table,
    watched,
)
from wfkernel.errors import AnswerInvalid, DefinitionError

commands = family()


@commands.command()
def run(
    notebook: Annotated[
        str,
        typer.Argument(
            help="The notebook: a file, or a path papermill reads (s3://, https://). Or a workflow file (*.wf.yaml).",
            show_default=False,
        ),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; VALUE is JSON or text."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="The executed notebook; {NAME} stands for a parameter's value.")
    ] = None,
    durability: Annotated[
        str | None, typer.Option(help="A finished step survives: fsync a power cut, write kill -9, exit nothing.")
    ] = None,
    checkpoints: Annotated[
        str | None, typer.Option(metavar="WHEN", help="'every step', '10 steps', '5m', '10 steps, keep 3', 'manual'.")
    ] = None,
    imports: ImportOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook headless, or a workflow file, as a new run."""
    from wfkernel.engine.durability import checked_durability
    from wfkernel.store.store import open_store

    if is_workflow_file(notebook):
        kept = open_store(store)
        exit_as(run_file(notebook, _parameters(parameter or []), kept, imports), as_json)
        return
    from wfkernel.notebook.headless import run_notebook, store_of, typed_parameters

    parameters = typed_parameters(notebook, _parameters(parameter or []))
    kept = open_store(store) if store else store_of(notebook)
    state = run_notebook(
        notebook, output, parameters, progress=watched(as_json), store=kept,
        durability=checked_durability(durability), checkpoints=checkpoints,
    )  # fmt: skip
    exit_as(state, as_json)


@commands.command()
def resume(
    run: RunArgument,
    data: Annotated[str | None, typer.Option(help="The answer for the suspended step, as JSON.")] = None,
    step: Annotated[str | None, typer.Option(help="Which suspended step, where there are several.")] = None,
    imports: ImportOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a suspended, failed or interrupted run; finished steps are not executed again."""
    from wfkernel.notebook.headless import resume_notebook

    kept = opened(store)
    run_id = kept.find(run)
    known = kept.load(run_id)
    if known.source:
        exit_as(resume_file(known, kept, _answer(data), step, imports), as_json)
        return
    try:
        state = resume_notebook(kept, run_id, _answer(data), step=step, progress=watched(as_json))
    except AnswerInvalid as error:
        typer.echo(f"wf: the answer for step '{error.step}' was refused, run {run_id} stays suspended:", err=True)
        for path, message in error.problems:
            typer.echo(f"  {path or 'answer'}: {message}", err=True)
        raise typer.Exit(USAGE) from None
    exit_as(state, as_json)


@commands.command()
def wake(
    modules: Annotated[list[str], typer.Argument(help="Modules (or .py files) that define the workflows.")],
    as_json: JsonOption = False,
) -> None:
    """Take up the sleeping runs whose time has come. For cron, a systemd timer, or a person."""
    from wfkernel.engine.loop import run_sync
    from wfkernel.engine.wake import wake as wake_runs

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
