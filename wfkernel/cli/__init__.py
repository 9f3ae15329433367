"""``wf``: run, resume and look at workflows from the command line.

The commands lie in families, one file each. A family is imported when one of its commands is called (or all are listed),
and imports the rest of wfkernel inside its functions, so that ``wf --help`` and completion answer at once.

Every command keeps four promises. ``--json`` prints one JSON document on standard output and nothing else there; its
keys only ever gain company. A mistake of the user is a line on standard error, never a traceback. The exit status says
how it went (`wfkernel.cli.shared`). What takes long shows that it is at work, on standard error of a terminal.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from wfkernel import __version__
from wfkernel.cli.shared import EXIT_STATUSES, exit_in_one_line
from wfkernel.engine.actor import act_through

__all__ = ["app", "main"]

FAMILIES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "Run": {
        "running": ("run", "start", "resume", "retry", "restart", "wake"),
        "steering": ("pause", "cancel"),
        "headless": ("inspect", "batch", "export"),
    },
    "Look": {
        "looking": ("ls", "show", "stats"),
        "following": ("events", "logs"),
        "comparing": ("diff", "history"),
        "replaying": ("replay",),
        "searching": ("search", "index"),
    },
    "Write": {"files": ("validate", "graph", "import", "guide", "schema", "machine")},
    "Keep": {
        "checkpoints": ("checkpoint",),
        "sessions": ("session",),
        "upkeep": ("fsck", "recover", "prune", "trust"),
        "database": ("db",),
    },
    "Set up": {"configuration": ("config",), "doctor": ("doctor",)},
}
"""Heading in the help -> file in this folder -> names of its commands, in the order they are listed."""


class _Commands(Mapping[str, Any]):
    """The commands by name, each made from its family when it is asked for."""

    _family: Final = {name: file for files in FAMILIES.values() for file, names in files.items() for name in names}

    def __getitem__(self, name: str) -> Any:
        family = importlib.import_module(f"wfkernel.cli.{self._family[name]}")
        return typer.main.get_group(family.commands).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._family)

    def __len__(self) -> int:
        return len(self._family)


class _Families(TyperGroup):
    """The group ``wf``: commands are imported late and listed by family."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for heading, files in FAMILIES.items():
            names = [name for family in files.values() for name in family]
            with formatter.section(heading):
                limit = formatter.width - width - 6
                formatter.write_dl([(n.ljust(width), self.commands[n].get_short_help_str(limit)) for n in names])


app = typer.Typer(
    name="wf", cls=_Families, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]}, epilog=f"Exit status: {EXIT_STATUSES}.",
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def wf(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Notebooks and workflows that survive crashes, wait for people and run headless."""


def main() -> None:
    """The ``wf`` command."""
    act_through("cli")
    with exit_in_one_line():
        sys.exit(app(standalone_mode=False) or 0)
