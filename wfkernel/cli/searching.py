"""``wf search``: find what runs left behind."""

from __future__ import annotations

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
            metavar="A,B", help="Only texts of these kinds: doc, input, output, error, note, markdown, or one of yours."
        ),
    ] = None,
    session: Annotated[str | None, typer.Option(help="Only texts of this session.")] = None,
    run: Annotated[str | None, typer.Option(help="Only texts of this run.")] = None,
    mode: Annotated[str, typer.Option(help="hybrid, or one ranking alone: vectors or words.")] = "hybrid",
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed all texts anew first.")] = False,
    embedder: Annotated[
        str | None, typer.Option(help="With --reindex: embed with this one from now on (minilm, onnx:FOLDER).")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search what runs left behind: docs, inputs, outputs, errors, notebook prose, remembered texts."""
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
