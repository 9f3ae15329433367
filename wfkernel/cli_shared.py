"""What all ``wf`` commands share: options, errors in one line, tables and JSON on standard output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from wfkernel.errors import WorkflowError

__all__ = [
    "FAILED",
    "SUCCESS",
    "SUSPENDED",
    "USAGE",
    "JsonOption",
    "StoreOption",
    "one_line_errors",
    "print_json",
    "print_table",
]

SUCCESS: Final = 0
FAILED: Final = 1
USAGE: Final = 2
SUSPENDED: Final = 75

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="The store file; default: WFKERNEL_STORE or .wfkernel in the project.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """A mistake of the user is one line on standard error and exit status 2."""
    try:
        yield
    except WorkflowError as error:
        for line in str(error).splitlines():
            typer.echo(f"wf: {line}", err=True)
        raise typer.Exit(USAGE) from None


def print_table(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Columns and rows as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    # A pipe has no width: nothing is wrapped there, so that other programs find whole lines.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def print_json(document: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))
