"""``wf inspect``, ``wf batch``, ``wf export``: what a notebook takes, running it many times, and as a plain module.

``wf export`` writes workflows too: as workflow files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfkernel.cli.shared import (
    FAILED,
    SUCCESS,
    SUSPENDED,
    JsonOption,
    StoreOption,
    family,
    print_json,
    print_table,
    quick_jsonschema,
    write_new,
)
from wfkernel.cli.targets import ImportOption, is_workflow, load_plan
from wfkernel.errors import DefinitionError

if TYPE_CHECKING:
    from wfkernel.notebook.batch import BatchRun

commands = family()
NotebookArgument = Annotated[str, typer.Argument(help="The notebook.", show_default=False)]


@commands.command()
def inspect(notebook: NotebookArgument, as_json: JsonOption = False) -> None:
    """Show a notebook's inputs and steps, and what is wrong with them, without running anything."""
    quick_jsonschema()
    from wfkernel.notebook.inspection import inspect_notebook

    found = inspect_notebook(notebook)
    if as_json:
        print_json(found)
    else:
        _print_inspection(found)
    raise typer.Exit(FAILED if found["problems"] else SUCCESS)


@commands.command()
def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A notebook, or a workflow: FILE.py:NAME, MODULE:NAME or a workflow file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The .py, .wf.yaml or .wf.json file; without it: shown."),
    ] = None,
    imports: ImportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a notebook as a plain Python module with @step functions (.py) or a workflow file that names its steps (.wf.yaml), or a workflow as a workflow file."""
    if is_workflow(target):
        text = _export_workflow(target, output, imports or ())
    else:
        from wfkernel.notebook.exporting import export_notebook, write_export

        text = export_notebook(target) if output is None else write_export(target, output)
    if as_json:
        print_json({"file": output, "text": text})
    elif output is None:
        typer.echo(text, nl=False)


def _export_workflow(target: str, output: Path | None, imports: Sequence[str]) -> str:
    from wfkernel.engine.export import document_of, to_yaml

    workflow = load_plan(target, imports)
    folder = output.absolute().parent if output is not None else Path.cwd()
    as_json = output is not None and output.suffix == ".json"
    text = json.dumps(document_of(workflow, folder), indent=2) + "\n" if as_json else to_yaml(workflow, folder)
    if output is not None:
        if output.suffix not in (".yaml", ".yml", ".json"):
            raise DefinitionError(f"{output}: a workflow becomes a workflow file, give a name that ends in .wf.yaml")
        write_new(output, text)
    return text


@commands.command()
def batch(
    notebook: NotebookArgument,
    grid: Annotated[
        Path, typer.Option("--grid", help="YAML: a mapping of lists (every combination) or a list of mappings.")
    ],
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="How many at a time.")] = os.cpu_count() or 1,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Folder of the executed notebooks; default: NOTEBOOK-batch.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin every run anew.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook once per parameter set; run it again to continue what is not finished."""
    quick_jsonschema()
    from wfkernel.notebook import places
    from wfkernel.notebook.batch import read_grid, run_batch
    from wfkernel.notebook.headless import store_of
    from wfkernel.store.store import open_store

    sets = read_grid(grid)
    ended = 0

    def say(run: BatchRun) -> None:
        nonlocal ended
        ended += 1
        if not as_json:
            typer.echo(f"{ended}: {_said(run.parameters)}  {run.status}", err=True)

    results = run_batch(
        notebook,
        sets,
        output or places.beside(notebook, f"{places.stem(notebook)}-batch"),
        jobs=jobs,
        store=open_store(store) if store else store_of(notebook),
        fresh=fresh,
        on_end=say,
    )
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        _print_batch(results)
    raise typer.Exit(_status({result.status for result in results}))


def _status(statuses: set[str]) -> int:
    """0: all succeeded; 75: what is left waits for answers; 1: something else is left."""
    if statuses <= {"success"}:
        return SUCCESS
    return SUSPENDED if statuses <= {"success", "suspended"} else FAILED


def _print_inspection(found: dict[str, Any]) -> None:
    if found["inputs"]:
        rows = [
            (one["name"], one["type"], "(required)" if one["required"] else one["default"], one["comment"])
            for one in found["inputs"]
        ]
        print_table(["input", "type", "default", ""], rows)
    else:
        typer.echo("no inputs: no cell is tagged 'parameters'")
    if found["steps"]:
        print_table(
            ["step", "cell", "after", "reads", "binds"],
            [
                (one["step"], one["cell"], *(", ".join(one[part]) for part in ("after", "reads", "binds")))
                for one in found["steps"]
            ],
        )
    else:
        typer.echo("no steps: no cell begins with %%step")
    for problem in found["problems"]:
        typer.echo(f"wf: {problem}", err=True)


def _print_batch(results: list[BatchRun]) -> None:
    print_table(
        ["parameters", "status", "time", "run", ""],
        [
            (
                _said(one.parameters),
                one.status if one.executed else f"{one.status} (before)",
                "" if one.seconds is None else f"{one.seconds:.1f} s",
                one.run_id,
                one.waits_for or one.error,
            )
            for one in results
        ],
    )
    for one in results:
        if one.status == "suspended":
            typer.echo(f"answer with: {one.resume}")
    if any(one.resume and one.status != "suspended" for one in results):
        typer.echo("run the same batch again to continue what is not finished")


def _said(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
