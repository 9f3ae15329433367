"""``wf replay``: a run as it was when a step began, to look at or to try the step by hand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wfkernel.cli.complete import complete_step
from wfkernel.cli.shared import (
    JsonOption,
    RunArgument,
    StoreOption,
    family,
    opened,
    print_json,
    print_table,
    quick_jsonschema,
)
from wfkernel.errors import DefinitionError, StoreError

if TYPE_CHECKING:
    from wfkernel.store.replay import Replay
    from wfkernel.store.store import Store

commands = family()


@commands.command()
def replay(
    run: RunArgument = "latest",
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="STEP", help="As it was when this step began.", autocompletion=complete_step),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write a notebook that loads the values, with the step's code."),
    ] = None,
    shell: Annotated[bool, typer.Option("--shell", help="Open IPython with the values as names.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the values a run had made when a step began, or load them into a notebook or IPython. Executes nothing."""
    from wfkernel.store.replay import replay as replay_run

    kept = opened(store)
    if shell and (as_json or output):
        raise DefinitionError("--shell goes alone: it is for people")
    found = replay_run(kept, kept.find(run), to)
    if output is not None:
        _write(kept, found, output)
    if as_json:
        document = {"run_id": found.run_id, "step": found.step, "names": _names(found), "missing": found.missing}
        print_json({**document, "notebook": str(output) if output else None})
        return
    where = f"when step '{found.step}' began" if found.step else "at its end"
    typer.echo(f"run {found.run_id} {where}")
    rows = [(one["name"], one["made_by"], one["type"], one["value"]) for one in _names(found)]
    print_table(["name", "made by", "type", ""], rows)
    for name, why in found.missing.items():
        typer.echo(f"wf: {name} is not there: {why}", err=True)
    if output is not None:
        typer.echo(f"{output} loads them: run its cells")
    if shell:
        import IPython

        IPython.start_ipython(argv=["--no-banner"], user_ns=dict(found.names))


def _names(found: Replay) -> list[dict[str, str]]:
    from wfkernel.store.about import about

    return [
        {
            "name": name,
            "made_by": found.made_by[name],
            "type": type(value).__name__,
            "value": about(value) or repr(value)[:80],
        }
        for name, value in found.names.items()
    ]


def _write(store: Store, found: Replay, output: Path) -> None:
    """A notebook that loads the values, and holds the step's cell without its first line."""
    quick_jsonschema()
    import nbformat

    from wfkernel.settings import load
    from wfkernel.store.locate import find_store_path

    if output.exists():
        raise StoreError(f"there is a file {output} already: name another")
    words = [found.run_id, *(["--to", found.step] if found.step else [])]
    there = output.absolute().parent
    if find_store_path(there) != store.path or load(there).origins["store"].startswith("WFKERNEL_"):
        words += [
            "--store",
            str(store.path),
        ]  # another store would be looked into there, or by who has not that variable
    cells = [f"%load_ext wfkernel\n%workflow replay {shlex.join(words)}", _code(found) or "# the values are loaded"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, output)


def _code(found: Replay) -> str:
    """What the step's cell in the run's notebook says now."""
    notebook = Path(found.source)
    if not found.step or notebook.suffix != ".ipynb" or not notebook.is_file():
        return f"input  # of step '{found.step}'" if found.step and "input" in found.names else ""
    from wfkernel.notebook.places import read_cells
    from wfkernel.plan.cell import split_cell

    for cell in read_cells(found.source):
        split = split_cell(cell["source"]) if cell["cell_type"] == "code" else None
        if split is not None and split[0].split()[:1] == [found.step]:
            return str(split[1])
    return ""
