"""A notebook cell as a step: its ``%%step`` line, its body, and what the body reads and binds.

The first line of a step cell is ``%%step NAME [options]``. One parser serves the magic, its help, headless runs and
everything else that looks at a notebook. The body may hold IPython's own syntax (``!ls``, ``%matplotlib``); it is turned
into Python the way IPython does it before it is analysed.
"""

from __future__ import annotations

import argparse
import ast
import functools
import re
import shlex
from dataclasses import dataclass, field, replace
from typing import Final

from wfkernel.errors import DefinitionError
from wfkernel.plan.analyse import CellNames, analyse, code_digest
from wfkernel.plan.oneline import OneLineParser, count, positive_count

__all__ = ["MAGIC", "CellStep", "StepOptions", "parse_cell", "split_cell", "step_parser"]

MAGIC: Final = "%%step"
WORKERS: Final = ("inline", "threads", "processes", "dask")
_NAME: Final = re.compile(r"[^\W\d][\w-]*")


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What stands on the ``%%step`` line."""

    name: str
    retries: int = 0
    delay: float = 1.0
    """Seconds before the first retry; doubles with every further one."""
    always: bool = False
    keep_output: bool = True
    """Whether what the step shows is kept and shown again when it is restored."""
    timeout: float | None = None
    """Seconds one attempt may take."""
    worker: str | None = None
    """Where the body is executed; None: natively, on the kernel's main thread."""
    when: str | None = None
    """Expression: the step is skipped where it is false."""
    foreach: tuple[str, str] | None = None
    """(name, expression): the body is executed for every item, with the name bound to it."""
    concurrency: int = 1
    reads: tuple[str, ...] | None = None
    binds: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CellStep:
    """A cell that is a step."""

    options: StepOptions
    names: CellNames
    code: str
    """Digest of the body's meaning: comments and formatting do not count."""
    body: ast.Module = field(compare=False, repr=False)
    position: int = -1
    """Index among the notebook's cells, -1 where unknown."""

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def label(self) -> str:
        return f"step '{self.name}'" + (f" (cell {self.position + 1})" if self.position >= 0 else "")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not name.isidentifier():
            raise argparse.ArgumentTypeError(f"'{name}' is not a name")
    return names


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds, 0 or more")
    return number


def _positive_seconds(text: str) -> float:
    number = _seconds(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return number


def _expression(text: str) -> str:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not an expression ({error.msg})") from None
    if isinstance(tree.body, ast.Constant) and isinstance(tree.body.value, str):  # the whole expression was quoted
        return _expression(tree.body.value)
    return ast.unparse(tree)


def _loop(text: str) -> tuple[str, str]:
    quoted = re.fullmatch(r"""\s*(["'])(.*)\1\s*""", text)
    name, found, expression = (quoted[2] if quoted else text).partition(" in ")
    if not found or not name.strip().isidentifier():
        raise argparse.ArgumentTypeError(f"'{text}' is not 'NAME in EXPR'")
    return name.strip(), _expression(expression)


@functools.cache
def step_parser() -> argparse.ArgumentParser:
    """The parser of the ``%%step`` line; errors are `DefinitionError` with the usage in one line."""
    parser = OneLineParser(prog=MAGIC)
    parser.add_argument("name", metavar="NAME", help="name of the step, unique in the notebook")
    parser.add_argument("--retries", type=count, default=0, metavar="N", help="run again up to N times after an error")
    parser.add_argument("--delay", type=_seconds, default=1.0, metavar="SECONDS",
                        help="wait before the first retry, doubled for each further one (default 1)")  # fmt: skip
    parser.add_argument(
        "--timeout", type=_positive_seconds, metavar="SECONDS", help="fail an attempt that takes longer"
    )
    parser.add_argument("--worker", choices=WORKERS, help="execute the body there instead of on the main thread")
    parser.add_argument("--when", type=_expression, metavar="EXPR", help="skip the step where EXPR is false")
    parser.add_argument("--foreach", type=_loop, metavar="NAME in EXPR",
                        help="execute the body for every item; what it binds becomes lists, in the order of the items")  # fmt: skip
    parser.add_argument(
        "--concurrency", type=positive_count, default=1, metavar="N", help="items at a time (default 1)"
    )
    parser.add_argument("--always", action="store_true", help="execute even if code and inputs did not change")
    parser.add_argument(
        "--no-output", dest="keep_output", action="store_false", help="do not keep what the step prints and displays"
    )
    parser.add_argument(
        "--in", dest="reads", type=_names, metavar="A,B", help="the names the step reads, instead of the inferred ones"
    )
    parser.add_argument(
        "--out", dest="binds", type=_names, metavar="C,D", help="the names the step binds, instead of the inferred ones"
    )
    return parser


def _words(line: str) -> list[str]:
    """The line as a shell would split it, but what follows ``--when`` and ``--foreach`` stays as it is: it is Python."""
    words: list[str] = []
    for part in re.split(r"\s(?=--[a-z])", " " + line):
        option, _, rest = part.strip().partition(" ")
        if option in ("--when", "--foreach"):
            words += [option, rest.strip()] if rest.strip() else [option]
        else:
            words += shlex.split(part, comments=True)
    return words


def parse_line(line: str) -> StepOptions:
    """The options on a ``%%step`` line (the text after the magic's name). Raises `DefinitionError`."""
    try:
        words = _words(line)
    except ValueError as error:
        raise DefinitionError(f"{MAGIC} {line}: {error}") from None
    parsed = step_parser().parse_args(words)
    if not _NAME.fullmatch(parsed.name):
        raise DefinitionError(
            f"{MAGIC}: '{parsed.name}' is not a step name: use letters, digits, '_' and '-', starting with a letter"
        )
    return StepOptions(**vars(parsed))


def split_cell(source: str) -> tuple[str, str] | None:
    """(text after ``%%step``, body) of a step cell, None for any other cell. Help requests (``%%step?``) are not steps."""
    stripped = source.lstrip("\n")
    first, _, body = stripped.partition("\n")
    words = first.rstrip().split(None, 1)
    if not words or words[0] != MAGIC or first.rstrip().endswith("?"):
        return None
    return (words[1] if len(words) > 1 else ""), body


def make_step(line: str, body: ast.Module, position: int = -1) -> CellStep:
    """The step a ``%%step`` line and a parsed body make. Raises `DefinitionError`."""
    options = parse_line(line)
    try:
        names = analyse(body)
    except DefinitionError as error:
        raise DefinitionError(f"step '{options.name}': {error}") from None
    outside = [options.when] if options.when else []
    if options.foreach:
        item, items = options.foreach
        names = replace(names, reads=names.reads - {item}, needs=names.needs - {item}, stores=names.stores - {item})
        outside.append(items)
    for expression in outside:
        more = analyse(expression)
        names = replace(names, reads=names.reads | more.reads, needs=names.needs | more.needs)
    if options.reads is not None:
        wanted = frozenset(options.reads)
        names = replace(names, reads=wanted, needs=wanted)
    if options.binds is not None:
        names = replace(names, binds=frozenset(options.binds), stores=frozenset(), mutates=frozenset())
    code = code_digest(body)
    if outside:  # they decide what the step does, as its body does
        code = code_digest("\n".join([*outside, f"{code!r}"]))
    return CellStep(options, names, code, body, position)


def to_python(source: str) -> str:
    """`source` with IPython's own syntax turned into Python calls."""
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def parse_cell(source: str, position: int = -1) -> CellStep | None:
    """The step in a cell's source, None if the cell is not a step.

    Raises `DefinitionError` for a bad ``%%step`` line or a body that does not parse.
    """
    parts = split_cell(source)
    if parts is None:
        return None
    line, body = parts
    try:
        # The leading newline stands for the magic's line, so that line numbers are the cell's own.
        tree = ast.parse("\n" + to_python(body))
    except SyntaxError as error:
        name = parse_line(line).name
        raise DefinitionError(f"step '{name}' does not parse: {error.msg} (line {error.lineno})") from None
    return make_step(line, tree, position)
