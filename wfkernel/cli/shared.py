"""What all ``wf`` commands share: options, exit statuses, errors in one line, tables and JSON on standard output."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from wfkernel.cli.complete import complete_run
from wfkernel.errors import DefinitionError, StoreError, WorkflowError

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = [
    "EXIT_STATUSES",
    "FAILED",
    "SUCCESS",
    "SUSPENDED",
    "USAGE",
    "JsonOption",
    "RunArgument",
    "StoreOption",
    "counted",
    "exit_in_one_line",
    "family",
    "group",
    "megabytes",
    "opened",
    "parameters_of",
    "print_json",
    "print_table",
    "quick_jsonschema",
    "utc",
    "watched",
    "write_new",
]

SUCCESS: Final = 0
FAILED: Final = 1
"""The run failed, or what was checked is not well."""
USAGE: Final = 2
"""The command was refused before it did anything."""
SUSPENDED: Final = 75
"""The run is not over: it waits for an answer, sleeps or is paused. EX_TEMPFAIL of sysexits.h."""
EXIT_STATUSES: Final = (
    "0 done, 1 the run failed or a check found something, 2 refused (nothing was done), "
    "75 suspended, paused or sleeping (resume it), 130 interrupted"
)

MISTYPED: Final[Any] = typer.BadParameter.__base__
"""What typer raises for a line it cannot make sense of: ``UsageError``, whose place depends on typer's version."""

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="The store file; default: WFKERNEL_STORE or .wfkernel in the project.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunArgument = Annotated[
    str, typer.Argument(help="The run: its id, the beginning of it, or 'latest'.", autocompletion=complete_run)
]


def family() -> typer.Typer:
    """The commands of one file."""
    return typer.Typer(rich_markup_mode=None)


def group(commands: typer.Typer, name: str, help: str) -> typer.Typer:
    """A command of `commands` that has commands of its own."""
    made = typer.Typer(name=name, help=help, no_args_is_help=True, rich_markup_mode=None)
    commands.add_typer(made)
    return made


@contextlib.contextmanager
def exit_in_one_line() -> Iterator[None]:
    """A mistake of the user is one line on standard error and exit status 2."""
    try:
        yield
    except WorkflowError as error:
        for line in str(error).splitlines():
            typer.echo(f"wf: {line}", err=True)
        sys.exit(USAGE)
    except MISTYPED as error:
        _tell_mistyped(error)
        sys.exit(USAGE)
    except typer.Abort:  # Ctrl-D at a question
        typer.echo("wf: aborted", err=True)
        sys.exit(FAILED)
    except BrokenPipeError:
        raise
    except OSError as error:  # a folder that is not there or may not be written, a full disk
        if error.strerror is None:
            raise
        typer.echo(f"wf: {error.filename or 'what was printed'}: {error.strerror}", err=True)
        sys.exit(USAGE)


def _tell_mistyped(error: Any) -> None:
    """One line, and where to look the command up; a group that was called without one of its commands shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    told = " ".join(error.format_message().split())
    command = f"wf {error.ctx.command_path.partition('wf ')[2]}".strip() if error.ctx is not None else "wf"
    typer.echo(f"wf: {told}{'' if told.endswith(('.', '?')) else '.'} `{command} -h` says what it takes.", err=True)


def opened(path: Path | None) -> Store:
    """The store a command works on. Raises `StoreError` for a file that was named and is not there."""
    from wfkernel.store.folder import holds_store
    from wfkernel.store.store import open_store

    if path is not None and not holds_store(path):
        raise StoreError(f"there is no store {path}. `wf db path` prints the one used in this folder.")
    return open_store(path)


def parameters_of(pairs: list[str]) -> dict[str, str]:
    """What ``-p NAME=VALUE`` says, as text. Raises `DefinitionError`."""
    texts = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise DefinitionError(f"-p {pair}: expected NAME=VALUE")
        texts[name] = text
    return texts


def watched(as_json: bool) -> bool:
    """Whether somebody sees the progress shown on standard error."""
    return not as_json and sys.stderr.isatty()


def utc(at: float) -> str:
    """Seconds since the epoch as a date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + " UTC"


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.1f} MB"


def counted(number: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def print_table(columns: list[str], rows: list[tuple[Any, ...]], *, empty: str = "") -> None:
    """Columns and rows as a table; without rows what is `empty` to people, if anything is."""
    if empty and not rows:
        typer.echo(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else _printable(str(value))) for value in row))
    # A pipe has no width: nothing is wrapped there, so that other programs find whole lines.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _printable(text: str) -> str:
    """`text` without what a terminal would take for a command: it may be somebody else's."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet. Raises `DefinitionError`."""
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise DefinitionError(f"{file} is there already: move it, or choose another name with -o") from None
    except OSError as error:
        raise DefinitionError(f"cannot write {file}: {error.strerror}") from None


def print_json(document: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def quick_jsonschema() -> None:
    """Import jsonschema, which reading a notebook needs, without its check of IRIs, which no notebook needs.

    Where `rfc3987_syntax` is installed (Jupyter's server brings it) jsonschema imports it, and that compiles a grammar for
    about a second. To be called before a notebook is run, inspected or batched.
    """
    if "jsonschema" in sys.modules or "rfc3987_syntax" in sys.modules:
        return
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("jsonschema")
    finally:
        del sys.modules["rfc3987_syntax"]
