"""The parser of one-line commands: ``%%step NAME --retries 2``, ``%workflow run --stale``, ``%context search``.

argparse does the parsing. What is added is for the person who mistyped: every mistake is one line that names the option, says
what is allowed and, where something is close to what was typed, what was probably meant. A command inside a command
(``%workflow show``) has its own options, so a mistake there is told in its own words.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from wfkernel.errors import DefinitionError

__all__ = ["OneLineParser", "count", "did_you_mean", "positive_count"]


def count(text: str) -> int:
    """An option's value that is a whole number of 0 or more."""
    return _whole_number(text, 0)


def positive_count(text: str) -> int:
    """An option's value that is a whole number of 1 or more."""
    return _whole_number(text, 1)


def _whole_number(text: str, least: int) -> int:
    if not (text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of {least} or more")
    return int(text)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` for the nearest of `known`, or nothing where none is near."""
    close = get_close_matches(given, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are a `DefinitionError` of one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False, exit_on_error=False, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; what is left over is a mistake here, for the parser it stands in knows its options best."""
        try:
            found, unknown = super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            raise DefinitionError(f"{self.prog}: {self._of_option(error)}") from None
        if unknown:
            self.error(self._unknown(unknown[0]))
        return found, []

    def error(self, message: str) -> NoReturn:
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            message = f"{missing.upper()} is missing"
        usage = "" if message.endswith("?") else ". " + " ".join(self.format_usage().split())
        raise DefinitionError(f"{self.prog}: {message}{usage}")

    def _unknown(self, given: str) -> str:
        if not given.startswith("-"):
            return f"'{given}' is one word too many"
        options = [option for action in self._actions for option in action.option_strings]
        return f"there is no option '{given}'{did_you_mean(given, options)}"

    def _of_option(self, error: argparse.ArgumentError) -> str:
        if error.argument_name is None:
            return error.message
        name = error.argument_name
        if error.message.startswith("expected"):
            action = next((a for a in self._actions if name in ("/".join(a.option_strings), a.dest, a.metavar)), None)
            return f"{name} needs a value: {name} {action.metavar if action else ''}".rstrip()
        return f"{name}: {error.message}" if name.startswith("-") else error.message

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"'{value}' is not one of {', '.join(known)}{did_you_mean(str(value), known)}"
            )
