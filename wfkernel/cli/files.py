"""``wf validate``, ``wf schema``, ``wf graph``, ``wf import``, ``wf export``: workflow files.

Validating executes nothing of what a file names; drawing and exporting import it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfkernel.cli.shared import FAILED, JsonOption, family, print_json, write_new
from wfkernel.cli.targets import ImportOption, import_modules, load_plan
from wfkernel.errors import DefinitionError

if TYPE_CHECKING:
    from wfkernel.plan.chart import Chart
    from wfkernel.plan.text import Problem

commands = family()


class Format(StrEnum):
    """How a graph is written."""

    mermaid = "mermaid"
    svg = "svg"
    json = "json"


class Dialect(StrEnum):
    """Whose workflows can be imported."""

    automatosx = "automatosx"


@commands.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Workflow files, or folders with *.wf.yaml in them.")],
    imports: ImportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check workflow files. Executes nothing of what they name; agents nobody registered here are warnings."""
    from wfkernel.engine.agents import registered_agents
    from wfkernel.plan.load import SUFFIXES, WorkflowFileInvalid, read_workflow

    import_modules(imports or ())
    problems, warnings, count = [], [], 0
    for path in files:
        found = [file for end in SUFFIXES for file in sorted(path.rglob(f"*{end}"))] if path.is_dir() else [path]
        if not found:
            raise DefinitionError(f"there is no *.wf.yaml in {path}")
        if path.suffix in (".py", ".ipynb"):
            looks = f"wf inspect {path}" if path.suffix == ".ipynb" else f"wf graph {path}:NAME"
            raise DefinitionError(f"{path} is no workflow file; look at it with `{looks}`")
        for file in found:
            count += 1
            try:
                warnings += read_workflow(file, agents=registered_agents()).warnings
            except WorkflowFileInvalid as invalid:
                problems += invalid.problems
    if as_json:
        print_json([_as_json(p, "error") for p in problems] + [_as_json(w, "warning") for w in warnings])
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
def guide(as_json: JsonOption = False) -> None:
    """Print the guide to workflow files: every key, expressions, agents, limits, good habits."""
    from importlib.resources import files

    text = files("wfkernel.plan").joinpath("workflow-files.md").read_text("utf-8")
    if as_json:
        print_json({"format": "markdown", "text": text})
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        console = Console()
        with console.pager(styles=True):
            console.print(Markdown(text))
    else:
        typer.echo(text.removesuffix("\n"))


@commands.command()
def schema(as_json: JsonOption = True) -> None:
    """Print the JSON Schema of workflow files, for editors; with --json or without."""
    from wfkernel.plan.document import json_schema

    print_json(json_schema())


@commands.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The file to import, YAML or JSON.")],
    dialect: Annotated[Dialect, typer.Option("--from", help="Whose workflow it is.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The workflow file; default: NAME.wf.yaml beside it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write another program's workflow as a workflow file, and tell what of it has no counterpart."""
    from wfkernel.plan.automatosx import import_automatosx
    from wfkernel.plan.load import text_of

    imported = import_automatosx(text_of(file), str(file))
    target = output or file.with_name(f"{file.name.partition('.')[0]}.wf.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise DefinitionError(f"{target}: a workflow becomes a workflow file, give a name that ends in .wf.yaml")
    write_new(target, imported.text)
    if as_json:
        print_json({"file": str(target), "notes": [_as_json(note, "note") for note in imported.notes]})
        return
    for note in imported.notes:
        typer.echo(str(note))
    steps = len(imported.document["steps"])
    typer.echo(f"{target}: {steps} step{'s' if steps > 1 else ''}, {len(imported.notes)} notes", err=True)


def _as_json(problem: Problem, severity: str) -> dict[str, Any]:
    place = problem.place
    return {"file": problem.file, "line": place.line, "column": place.column, "path": list(problem.path),
            "severity": severity, "message": problem.message}  # fmt: skip


@commands.command()
def machine(as_json: JsonOption = False) -> None:
    """Print the states a run can be in and what leads from one to another: a Mermaid diagram, or JSON."""
    from wfkernel.engine.machine import TABLE, TERMINAL, Phase, Signal, diagram

    if not as_json:
        typer.echo(diagram())
        return
    print_json(
        {
            "states": [{"name": phase, "terminal": phase in TERMINAL} for phase in Phase],
            "events": list(Signal),
            "transitions": [
                {"state": phase, "event": signal, "target": move.target, "guard": move.guard or None}
                for (phase, signal), move in TABLE.items()
            ],
        }
    )


@commands.command()
def graph(
    target: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="A workflow: a workflow file, FILE.py:NAME or MODULE:NAME; or a notebook."),
    ],
    format: Annotated[Format, typer.Option("-f", "--format", help="How it is written.")] = Format.mermaid,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.")] = None,
    imports: ImportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a workflow: Mermaid, SVG, or its boxes, arrows and batches as JSON.

    Steps that need each other in a circle are drawn too, with the circle in red; the exit status is that of a mistake.
    """
    from wfkernel.plan.chart import chart_of_circles, chart_of_plan
    from wfkernel.plan.diagram import mermaid, mermaid_of_chart

    form = Format.json if as_json else format
    try:
        if target.endswith(".ipynb"):
            chart = _chart_of_cells(target)
            _draw(Path(target).stem, chart, mermaid_of_chart(chart), form, output)
        else:
            workflow = load_plan(target, imports or ())
            _draw(workflow.id, chart_of_plan(workflow), mermaid(workflow), form, output)
    except DefinitionError as error:
        if error.circular is not None:
            chart = chart_of_circles(error.circular)
            _draw(target, chart, mermaid_of_chart(chart), form, output, error.circular.circles)
        raise


def _chart_of_cells(notebook: str) -> Chart:
    """The chart of a notebook's steps and what they read from each other."""
    from wfkernel.notebook.places import read_cells
    from wfkernel.plan.chart import chart_of_needs
    from wfkernel.plan.outline import outline_of

    outline = outline_of(read_cells(notebook))
    outline.check_circles()
    return chart_of_needs(outline.needs(), [step.name for step in outline.steps if step.options.foreach])


def _draw(
    workflow: str, chart: Chart, as_mermaid: str, form: Format, output: Path | None,
    circles: Sequence[Sequence[str]] = (),
) -> None:  # fmt: skip
    from wfkernel.plan.picture import batches_of, svg

    if form is Format.json:
        told = {"workflow": workflow, "levels": chart, "batches": batches_of(chart), "circles": circles}
        text = json.dumps(told, indent=2)
    else:
        text = as_mermaid if form is Format.mermaid else svg(chart)
    _write(text, output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text.removesuffix("\n"))
    else:
        output.write_text(text if text.endswith("\n") else f"{text}\n", "utf-8")
