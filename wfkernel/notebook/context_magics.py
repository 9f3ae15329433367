"""``%context`` searches what runs left behind and remembers texts; ``%%wfsql`` queries the store into a frame."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.display import display

from wfkernel.errors import DefinitionError
from wfkernel.plan.oneline import OneLineParser, positive_count

if TYPE_CHECKING:
    import argparse

    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from wfkernel.notebook.session import Session
    from wfkernel.store.context import Found

__all__ = ["ContextMagics", "keep_questions", "render_found_html", "render_found_text"]

TEXT_LINES: Final = 6
"""How much of a text is shown where there is room for text only."""
_QUESTION: Final = re.compile(r"^(\s*)%context\s+((?:search|remember)\s+\S.*\?)\s*$")


def keep_questions(lines: list[str]) -> list[str]:
    """Input transformer: ``%context search why is it late?`` is a search. IPython takes a line that ends so for one for help."""
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%") and not first.startswith("%%step"):  # the lines of another magic are its own
        return lines
    return [_QUESTION.sub(_as_call, line) for line in lines]


def _as_call(line: re.Match[str]) -> str:
    return f"{line[1]}get_ipython().run_line_magic('context', {line[2]!r})\n"


def search_parser() -> argparse.ArgumentParser:
    """The parser of what follows ``%context search``."""
    parser = OneLineParser(prog="%context search")
    parser.add_argument("words", nargs="+", metavar="WORDS")
    parser.add_argument("-k", type=positive_count, default=5, metavar="N")
    parser.add_argument("--kind", metavar="KINDS")
    parser.add_argument("--run", metavar="RUN")
    parser.add_argument("--session", metavar="SESSION")
    parser.add_argument("--where", metavar='"SQL"')
    return parser


def _words(line: str) -> list[str]:
    """The line's words; what stands in double quotes is one. Single quotes are apostrophes, and texts in SQL."""
    return [quoted or word for quoted, word in re.findall(r'"([^"]*)"(?=\s|$)|(\S+)', line)]


@magics_class
class ContextMagics(Magics):
    """The magics of one session."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self._session = session

    @line_magic
    def context(self, line: str) -> None:
        """Search what runs left behind, or keep a text to be found.

        %context search WORDS [-k N] [--kind A,B] [--run RUN] [--session SESSION] [--where "SQL"]
                                         the N texts (default 5) that fit best: docs, inputs, outputs and errors of
                                         steps, notebook prose, remembered texts. --where is a condition over the
                                         columns of the view context: --where "kind = 'note' AND meta->>'topic' = 'x'"
        %context remember TEXT           keep a text
        """
        action, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        match action:
            case "search":
                self._search(rest)
            case "remember":
                session = self._session
                session.store.context.remember(rest, {}, session.run.run_id if session.has_run else None)
                print("remembered")
            case _:
                raise DefinitionError("%context: expected `%context search WORDS [-k N]` or `%context remember TEXT`")

    def _search(self, rest: str) -> None:
        asked = search_parser().parse_args(_words(rest))
        store = self._session.store
        run = store.find(asked.run) if asked.run else None
        kinds = asked.kind.split(",") if asked.kind else None
        found = store.context.search(
            " ".join(asked.words), asked.k, asked.where, session=asked.session, run=run, kind=kinds
        )
        display({"text/html": render_found_html(found), "text/plain": render_found_text(found)}, raw=True)

    @cell_magic
    def wfsql(self, line: str, cell: str) -> pd.DataFrame:
        """Query the store with SQL; the result is a pandas frame.

        %%wfsql [NAME]                   with a NAME the frame is bound to it as well

        Views: runs, steps, attempts, events, step_values, context, checkpoints. DESCRIBE a view for its columns; they stay
        what they are when the tables behind them change. Times are UTC. DuckDB's SQL. $x is the value of the notebook's x,
        and a frame of the notebook is a table: SELECT * FROM steps JOIN costs USING (step) WHERE seconds > $limit
        """
        name = line.strip()
        if name and not name.isidentifier():
            raise DefinitionError(f"%%wfsql: '{name}' is not a name. The query stands in the lines below.")
        assert self.shell is not None
        frame = self._session.store.frame(cell, self.shell.user_ns)
        if name:
            self.shell.user_ns[name] = frame
        return frame


def render_found_text(found: list[Found]) -> str:
    """Results of a search as text: a line on where each is from, and the text indented."""
    if not found:
        return "Nothing found."
    blocks = []
    for number, one in enumerate(found, 1):
        lines = one.text.splitlines() or [""]
        shown = lines[:TEXT_LINES] + ["…"] * (len(lines) > TEXT_LINES)
        blocks.append("\n".join([f"{number}. {_origin(one)}", *(f"   {line}" for line in shown)]))
    return "\n".join(blocks)


def render_found_html(found: list[Found]) -> str:
    """Results of a search as an HTML table."""
    if not found:
        return "<p>Nothing found.</p>"
    left = "text-align:left;vertical-align:top"
    head = "".join(f"<th style='{left}'>{name}</th>" for name in ("from", "text"))
    rows = "".join(
        f"<tr><td style='{left};min-width:14em;max-width:30em;overflow-wrap:anywhere'>{'<br>'.join(escape(line) for line in _origins(one))}</td>"
        f"<td style='{left}'><div style='white-space:pre-wrap;overflow-wrap:anywhere;max-height:12em;overflow:auto'>{escape(one.text)}</div></td></tr>"
        for one in found
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _origins(one: Found) -> list[str]:
    """Where a text is from, and what was said about it, in lines."""
    lines: list[list[Any]] = [
        [one.kind, f"step {one.step}" if one.step else None],
        [one.workflow],
        [one.run_id],
        [f"{name}={value}" for name, value in one.meta.items()],
    ]
    return [" · ".join(str(part) for part in line if part) for line in lines if any(line)]


def _origin(one: Found) -> str:
    return " · ".join(_origins(one))
