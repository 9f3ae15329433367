"""Tab completion on the lines of our magics: options, their values, step names and run ids.

IPython asks every matcher for the line the cursor is on. Ours speaks up only on the first line of ``%%step``,
``%workflow`` and ``%context``, in the body of ``%%workflow`` (step names and the builder's words) and of ``%%wfsql`` (views
and columns); the body of a ``%%step`` cell is Python and left to IPython. Options and their values come from the parsers
themselves, so what is offered is what is accepted.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from wfkernel.notebook.cellgraph import WORDS
from wfkernel.notebook.checkpointing import checkpoint_rows
from wfkernel.notebook.context_magics import search_parser
from wfkernel.notebook.workflow_line import workflow_parser
from wfkernel.plan.cell import step_parser

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session

__all__ = ["Completions", "completion_matcher"]

_MAGIC: Final = re.compile(r"\s*(%{1,2}\w+)(\s?)")
Found = list[tuple[str, str]]
"""(text, kind) of what is offered."""
RUNS: Final = 50
"""How many of the newest runs are offered."""


def completion_matcher(session: Session) -> Any:
    """The matcher to be put among IPython's `custom_matchers`."""
    from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

    known = Completions(session)

    def match(context: CompletionContext) -> SimpleMatcherResult:
        found = [
            SimpleCompletion(text=text, type=kind)
            for text, kind in known.candidates(context.full_text, context.cursor_line, context.text_until_cursor)
            if text.startswith(context.token)
        ]
        return {"completions": found, "suppress": bool(found)}  # nothing else makes sense where one of ours does

    return context_matcher(identifier="wfkernel")(match)


class Completions:
    """What can stand at the cursor, as one session knows it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def candidates(self, cell: str, line: int, before: str) -> Found:
        """(text, kind) of what may stand at the cursor, given the cell, the cursor's line and the text left of it."""
        lines = cell.split("\n")
        first = next((number for number, text in enumerate(lines) if text.strip()), 0)
        head = _MAGIC.match(lines[first])
        magic = head[1] if head else ""
        if line > first:
            if magic == "%%workflow":
                return [(word, "function") for word in WORDS] + [
                    (text.replace("-", "_"), kind) for text, kind in self._named_steps()
                ]
            return self._columns() if magic == "%%wfsql" else []
        here = _MAGIC.match(before)
        if here is None or not here[2]:  # the magic's own name is IPython's
            return []
        *words, _ = re.split(r"\s+", before[here.end() :])
        match here[1]:
            case "%%step":
                return self._arguments(step_parser(), words)
            case "%workflow":
                return self._arguments(workflow_parser(), words)
            case "%context" if not words:
                return [("search", "action"), ("remember", "action")]
            case "%context" if words[0] == "search":
                return self._arguments(search_parser(), words[1:])
        return []

    def _arguments(self, parser: argparse.ArgumentParser, words: list[str]) -> Found:
        options = {option: action for action in parser._actions for option in action.option_strings}
        places = [action for action in parser._actions if not action.option_strings]
        used: set[str] = set()
        waiting: argparse.Action | None = None
        for index, word in enumerate(words):
            if waiting is not None and not word.startswith("--"):
                if waiting.metavar not in ("EXPR", "NAME in EXPR"):  # an expression may hold blanks
                    waiting = None
                continue
            waiting = None
            if word in options:
                used.add(word)
                waiting = options[word] if options[word].nargs != 0 else None
            elif places:
                action = places[0] if places[0].nargs == "+" else places.pop(0)
                if isinstance(action, argparse._SubParsersAction):
                    chosen = action.choices.get(word)
                    return self._arguments(chosen, words[index + 1 :]) if chosen is not None else []
        if waiting is not None:
            return self._values(waiting)
        offered = [(option, "option") for option in options if option not in used]
        return [*(self._values(places[0]) if places else []), *offered]

    def _values(self, action: argparse.Action) -> Found:
        if action.choices is not None:
            kind = "action" if isinstance(action, argparse._SubParsersAction) else "value"
            return [(str(choice), kind) for choice in action.choices]
        source = _SOURCES.get(str(action.metavar))
        return source(self) if source is not None else []

    # -- what the store and the session know ------------------------------------------------------------------------

    def _named_steps(self) -> Found:
        return [(step.name, "step") for step in self._session.steps()]

    def _workflows(self) -> Found:
        return [(name, "workflow") for name in self._session.graphs.composed]

    def _names(self) -> Found:
        values = self._session.namespace.values
        return [(name, "instance") for name in values if not name.startswith("_")]

    def _runs(self) -> Found:
        return [("latest", "run"), *((str(row["run_id"]), "run") for row in self._session.store.runs(limit=RUNS))]

    def _suspended(self) -> Found:
        return [(step.path, "step") for step in self._session.run.state.suspended_steps]

    def _checkpoints(self) -> Found:
        rows = checkpoint_rows(self._session)
        return [(str(row["label"] or row["checkpoint_id"]), "checkpoint") for row in reversed(rows)]

    def _columns(self) -> Found:
        _, rows = self._session.store.query(
            "SELECT DISTINCT table_name, column_name FROM information_schema.columns WHERE table_schema = 'main'"
        )
        views = {(str(view), "view") for view, _ in rows}
        return sorted(views) + sorted({(str(column), "column") for _, column in rows})


_SOURCES: Final[dict[str, Callable[[Completions], Found]]] = {
    "NAME": Completions._named_steps,
    "WORKFLOW": Completions._workflows,
    "RUN": Completions._runs,
    "RUN1": Completions._runs,
    "RUN2": Completions._runs,
    "CHECKPOINT": Completions._checkpoints,
    "SUSPENDED": Completions._suspended,
    "A,B": Completions._names,
    "C,D": Completions._names,
    "EXPR": Completions._names,
    "NAME in EXPR": Completions._names,
}
"""What an argument can be, by its metavar."""
