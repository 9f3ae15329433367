"""``wf db``: the store as a file and as SQL."""

from __future__ import annotations

from typing import Annotated

import typer

from wfkernel.cli.shared import JsonOption, StoreOption, family, group, opened, print_json, print_table

commands = family()
db = group(commands, "db", "The store itself.")


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

    columns, rows = opened(store).query(query)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(columns, rows)
