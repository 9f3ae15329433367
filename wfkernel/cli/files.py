"""``wf validate``, ``wf schema``, ``wf graph``, ``wf import``, ``wf export``: workflow files.

Validating executes nothing of what a file names; running, drawing and exporting import it. ``wf run FILE.wf.yaml`` and
``wf resume`` of such a run end up here too.
"""

from __future__ import annotations

import importlib
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfkernel.cli.shared import FAILED, JsonOption, family, print_json
from wfkernel.errors import DefinitionError

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState
    from wfkernel.engine.workflow import Workflow
    from wfkernel.store.store import Store

__all__ = ["ImportOption", "is_workflow_file", "resume_file", "run_file"]

commands = family()

ImportOption = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import a module (or .py file) first: one that registers agents."),
]


class Format(StrEnum):
    """How a graph is written."""

    mermaid = "mermaid"
    svg = "svg"
    json = "json"


@commands.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Workflow files, or folders with *.wf.yaml in them.")],
    imports: ImportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check workflow files. Executes nothing of what they name; agents nobody registered here are warnings."""
    from wfkernel.engine.agents import registered_agents
    from wfkernel.plan.load import WorkflowFileInvalid, read_workflow

    import_modules(imports)
    problems, warnings, count = [], [], 0
    for path in files:
        found = sorted(path.rglob("*.wf.yaml")) + sorted(path.rglob("*.wf.json")) if path.is_dir() else [path]
        if not found:
            raise DefinitionError(f"there is no *.wf.yaml in {path}")
        for file in found:
            count += 1
            try:
                warnings += read_workflow(file, agents=registered_agents()).warnings
            except WorkflowFileInvalid as invalid:
                problems += invalid.problems
    if as_json:
        told = [(p, "error") for p in problems] + [(w, "warning") for w in warnings]
        print_json(
            [
                {"file": p.file, "line": p.place.line, "column": p.place.column, "path": list(p.path),
                 "severity": severity, "message": p.message}
                for p, severity in told
            ]
        )  # fmt: skip
    else:
        for problem in problems:
            typer.echo(str(problem))
        for warning in warnings:
            typer.echo(f"{warning} (warning)")
        if not problems:
            typer.echo(f"{count} workflow file{'s are' if count > 1 else ' is'} valid", err=True)
    if problems:
        raise typer.Exit(FAILED)


@commands.command()
def schema() -> None:
    """Print the JSON Schema of workflow files, for editors."""
    from wfkernel.plan.document import json_schema

    print_json(json_schema())


@commands.command()
def graph(
    file: Annotated[Path, typer.Argument(help="A workflow file.")],
    format: Annotated[Format, typer.Option("-f", "--format", help="How it is written.")] = Format.mermaid,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.")] = None,
    imports: ImportOption = None,
) -> None:
    """Draw a workflow: Mermaid, SVG, or its boxes, arrows and batches as JSON."""
    from wfkernel.plan.chart import chart_of_plan
    from wfkernel.plan.diagram import mermaid
    from wfkernel.plan.picture import batches_of, svg

    workflow = _loaded(file, imports)
    chart = chart_of_plan(workflow)
    if format is Format.mermaid:
        text = mermaid(workflow)
    elif format is Format.svg:
        text = svg(chart)
    else:
        text = json.dumps({"workflow": workflow.id, "levels": chart, "batches": batches_of(chart)}, indent=2)
    _write(text, output)


# -- running ----------------------------------------------------------------------------------------------------------------


def is_workflow_file(name: str) -> bool:
    """Whether a file is a workflow file and no notebook."""
    return name.endswith((".yaml", ".yml", ".json"))


def run_file(file: str, inputs: dict[str, str], store: Store, imports: list[str] | None) -> RunState:
    """Run a workflow file as a new run."""
    workflow = _loaded(Path(file), imports, store=store)
    run = workflow.create_run()
    run.sync.start(_typed(workflow, inputs))
    return run.state


def resume_file(known: RunState, store: Store, data: Any, step: str | None, imports: list[str] | None) -> RunState:
    """Continue a run of a workflow file: answer it, wake it, or take it up after a crash or a failure."""
    if not Path(known.source).is_file():
        raise DefinitionError(f"the workflow file {known.source} of run {known.run_id} is not there any more")
    run = _loaded(Path(known.source), imports or known.imports, store=store).create_run(known.run_id)
    if known.status == "suspended":
        run.sync.resume(data, step=step)
    elif known.status == "paused":
        run.sync.proceed()
    elif known.status == "failed":
        run.sync.time_travel(_failed_step(known))
    else:
        run.sync.restart()
    return run.state


def _failed_step(state: RunState) -> str:
    path = str((state.error or {}).get("step", ""))
    if not path:
        raise DefinitionError(f"run {state.run_id} failed outside its steps: there is nothing to try again")
    return path.partition("[")[0]


def _loaded(file: Path, imports: list[str] | None, **options: Any) -> Workflow:
    from wfkernel.engine.files import load_workflow

    import_modules(imports)
    workflow = load_workflow(file, **options)
    workflow.imports = [_absolute(name) for name in imports or ()]
    return workflow


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith(".py") else name


def import_modules(names: list[str] | None) -> None:
    """Import modules for what they register. Raises `DefinitionError`."""
    from wfkernel.plan.reference import load_file

    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    for name in names or ():
        if name.endswith(".py"):
            load_file(Path(name).resolve())
            continue
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise DefinitionError(f"--import {name}: {error}") from None


def _typed(workflow: Workflow, texts: dict[str, str]) -> Any:
    """What ``-p`` gave: JSON where it is JSON and the input is no text, else text."""
    from wfkernel.plan.declared import inputs_of

    declared = inputs_of(workflow.input) or {}
    values: dict[str, Any] = {}
    for name, text in texts.items():
        told = declared.get(name)
        kind = told.get("type") if isinstance(told, dict) else told
        try:
            values[name] = text if kind == "string" else json.loads(text)
        except ValueError:
            values[name] = text
    return values or ({} if declared else None)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text.removesuffix("\n"))
    else:
        output.write_text(text if text.endswith("\n") else f"{text}\n", "utf-8")
