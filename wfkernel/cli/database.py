"""``wf db``: the store as a file and as SQL."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from wfkernel.cli.shared import (
    JsonOption,
    StoreOption,
    family,
    group,
    megabytes,
    opened,
    parameters_of,
    print_json,
    print_table,
    watched,
)

commands = family()
db = group(commands, "db", "The store itself.")


@db.command("path")
def db_path(as_json: JsonOption = False) -> None:
    """Print which store file commands in this folder use."""
    from wfkernel.store.locate import find_store_path

    path = find_store_path()
    if as_json:
        print_json({"path": str(path), "exists": path.is_file()})
    else:
        typer.echo(path)


@db.command("sql")
def db_sql(
    query: Annotated[
        str, typer.Argument(help="SQL over the views runs, steps, attempts, events, step_values, context, checkpoints.")
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--parameter", metavar="NAME=VALUE", help="What $NAME in the query stands for: JSON, or text."
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Query the store with SQL."""
    from wfkernel.plan.inputs import parameter_from_text

    given = {name: parameter_from_text(text, None) for name, text in parameters_of(parameter or []).items()}
    kept = opened(store)
    if as_json:
        print_json(kept.records(query, given))
    else:
        print_table(*kept.query(query, given))


@db.command("size")
def db_size(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show how much the store takes, and what of it."""
    from wfkernel.store.backup import size

    found = size(opened(store))
    if as_json:
        print_json({**asdict(found), "total": found.total})
        return
    rows = [
        (
            "database",
            megabytes(found.database),
            f"{found.runs} runs, {found.events} events, {found.checkpoints} checkpoints",
        ),
        ("journals", megabytes(found.journals), "what is not in the database yet"),
        ("values", megabytes(found.values), f"{found.value_files} files"),
        ("total", megabytes(found.total), "`wf prune` deletes old runs"),
    ]
    print_table(["", "size", ""], rows)


@db.command("migrate")
def db_migrate(
    store: Annotated[
        Path | None,
        typer.Option("--store", help="The store file, made if it is not there; default: as in `wf db path`."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the store to this version's schema, after a copy of it; opening it in any way does the same."""
    from wfkernel.store.schema import newest_version
    from wfkernel.store.store import open_store

    database = open_store(store).database
    with database.open(change=True):
        done = database.migrated
    if as_json:
        before, copy = (done.before, done.copy) if done is not None else (newest_version(), None)
        document = {"path": str(database.path), "from": before, "to": newest_version()}
        print_json({**document, "backup": None if copy is None else str(copy)})
    elif done is None:
        typer.echo(f"{database.path} has schema version {newest_version()}, the newest: nothing to do")
    elif done.copy is None:
        typer.echo(f"{database.path}: a new store, with schema version {done.now}")
    else:
        typer.echo(f"{database.path}: from schema version {done.before} to {done.now}. As it was: {done.copy}")


@db.command("backup")
def db_backup(
    folder: Annotated[Path, typer.Argument(help="Where to; must not hold a store yet.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the store and its values to another folder, while others use it."""
    from wfkernel.store.backup import backup

    def copied(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            typer.echo(f"\r{done} of {total} value files", nl=done == total, err=True)

    done = backup(opened(store), folder, copied if watched(as_json) else lambda done, total: None)
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(f"{done.path}: {megabytes(done.bytes)}, {done.value_files} value files")
