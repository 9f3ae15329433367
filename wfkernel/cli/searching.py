"""``wf search``: find what runs left behind; ``wf index``: what lies in a folder as well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from wfkernel.cli.shared import JsonOption, StoreOption, family, opened, print_json
from wfkernel.errors import DefinitionError

if TYPE_CHECKING:
    from wfkernel.store.context import Mode

commands = family()


@commands.command()
def search(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS...", help="What to look for, in your own words.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 5,
    where: Annotated[
        str | None,
        typer.Option(help="A condition in SQL over the columns of the view context, as \"meta->>'topic' = 'x'\"."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Only texts of these kinds: doc, input, output, error, note, markdown, template, or one of yours.",
        ),
    ] = None,
    session: Annotated[str | None, typer.Option(help="Only texts of this session.")] = None,
    run: Annotated[str | None, typer.Option(help="Only texts of this run.")] = None,
    mode: Annotated[str, typer.Option(help="hybrid, or one ranking alone: vectors or words.")] = "hybrid",
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed all texts anew first.")] = False,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="With --reindex: embed with this one from now on (minilm, onnx:FOLDER, openai:MODEL, python:FILE.py:NAME)."
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search what runs left behind: docs, inputs, outputs, errors, notebook prose, templates, remembered texts."""
    from dataclasses import asdict

    from wfkernel.notebook.context_magics import render_found_text

    kept = opened(store)
    if embedder and not reindex:
        raise DefinitionError("--embedder goes with --reindex: one store holds vectors of one embedder")
    if reindex:
        name = kept.context.reindex(embedder)
        typer.echo(f"all texts are embedded with {name}", err=True)
    if not words and reindex:
        return
    found = kept.context.search(
        " ".join(words or []), k, where, session, run=kept.find(run) if run else None, kind=kind.split(",") if kind else None,
        mode=cast("Mode", mode),
    )  # fmt: skip
    if as_json:
        print_json([asdict(one) for one in found])
        return
    typer.echo(render_found_text(found))


@commands.command()
def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Notebooks, workflow files (.wf.yaml), folders with them.", show_default="here"),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make notebooks and workflow files findable that nobody ran: their prose, and what they are templates for."""
    from dataclasses import asdict

    from wfkernel.notebook.indexing import index_files

    found = index_files(opened(store), paths or [Path()])
    if as_json:
        print_json({name: [str(one) for one in those] for name, those in asdict(found).items()})
    else:
        for problem in found.problems:
            typer.echo(f"left out: {problem}", err=True)
        files = len(set(found.notebooks) | set(found.templates))
        gone = f"; {len(found.forgotten)} that are gone forgotten" if found.forgotten else ""
        typer.echo(
            f"{files} files, {len(found.templates)} of them templates{gone}. `wf search WORDS --kind template` finds those."
        )
