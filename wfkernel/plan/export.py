"""A notebook as a plain Python module: ``@step`` functions, and a durable function that calls them in the notebook's order.

Cells talk through one namespace, functions through arguments and results, so what a cell reads and binds decides how it is
written. A name is *flowing* if a step binds it, if it is an input, or if a cell binds it that reads a flowing name:

* a cell that neither reads nor binds flowing names (imports, models, helpers) stands at the module's top, as it is;
* any other plain cell stands, as it is, in the body of the workflow;
* a step becomes a function: the flowing names it reads are its parameters, what it binds or changes in place its result.

The text of the cells is kept, comments included. IPython's settings (``%matplotlib``) become comments; what a plain module
cannot do (``!ls``, ``%%sql`` that others read from) is refused, with the cell and the line.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import textwrap
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wfkernel.errors import DefinitionError
from wfkernel.plan.analyse import CellNames, analyse
from wfkernel.plan.cel import condition_in_cel, list_in_cel
from wfkernel.plan.cell import CellStep, parse_cell, split_cell
from wfkernel.plan.inputs import declared_inputs

__all__ = ["SourceCell", "export_document", "export_module"]

_SETTING: Final = re.compile(r"(\s*)%(load_ext|reload_ext|matplotlib|autoreload|config|pip|workflow|context)\b")
_TIMED: Final = re.compile(r"\s*%%(time|capture)\b")
_OURS: Final = frozenset({"asyncio", "ctx", "inputs", "open_store", "step", "workflow"})
_KINDS: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
_AT_MOST: Final = '''
async def at_most(limit, ctx, calls):
    """The results of calls, `limit` of them at a time."""
    free = asyncio.Semaphore(limit)

    async def one(call):
        async with free:
            return await call

    return await ctx.gather(*(one(call) for call in calls))
'''


@dataclass(frozen=True, slots=True)
class SourceCell:
    """A code cell: its place in the notebook, counted from 1, its source, and whether it declares the inputs."""

    number: int
    source: str
    is_inputs: bool = False


@dataclass(slots=True)
class _Cell:
    number: int
    text: str
    """The body, as Python."""
    names: CellNames
    step: CellStep | None = None
    is_inputs: bool = False

    @property
    def changes(self) -> frozenset[str]:
        """What other cells see of it."""
        return self.names.binds | self.names.stores | (self.names.mutates if self.step else frozenset())


def export_module(cells: Sequence[SourceCell], name: str, origin: str, *, runnable: bool = True) -> str:
    """The module's source.

    Args:
        name: of the workflow, turned into an identifier.
        origin: where the cells are from, for the docstring.
        runnable: whether it has the durable function that calls the steps, or the steps alone.

    Raises `DefinitionError` naming the cell that has no counterpart in a plain module.
    """
    parsed = [cell for given in cells if (cell := _parse(given)) is not None]
    if not any(cell.step for cell in parsed):
        raise DefinitionError(f"{origin} has no step to export: put `%%step NAME` on a cell's first line")
    flowing = _flowing(parsed)
    if taken := sorted(_OURS & flowing):
        raise DefinitionError(f"{origin} binds '{taken[0]}', a name the exported module needs for itself: rename it")
    taken_names = frozenset[str]().union(*(cell.names.binds | cell.names.reads for cell in parsed))
    outside = [cell for cell in parsed if cell.step is None and not cell.changes & flowing]
    main = _identifier(name)
    if any(main in cell.names.binds for cell in outside):
        main = f"{main}_workflow"
    top, functions, body = [], [], []
    bound: set[str] = set()
    for cell in parsed:
        if cell.step is not None:
            function = _function_name(cell.step.name, taken_names | {main})
            functions.append(_function(cell, function, flowing))
            body.append(_call(cell, function, flowing, bound))
        elif cell.changes & flowing or cell.names.reads & flowing:
            body.append(cell.text + _overrides(cell))
        else:
            top.append(cell.text)
        bound |= cell.changes
    body.append(_result(parsed, flowing))
    module = _assemble(main if runnable else "", origin, top, functions, body)
    try:
        compile(module, f"<{origin}>", "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise DefinitionError(f"{origin} cannot be a plain module: {error.msg} ({line})") from None
    return module


def export_document(cells: Sequence[SourceCell], name: str, notebook: str) -> dict[str, Any]:
    """The notebook as a workflow file, whose steps are those of the notebook by reference (``book.ipynb#step``).

    Raises `DefinitionError` for what a workflow file cannot say: it has no code of its own.
    """
    parsed = [cell for given in cells if (cell := _parse(given)) is not None]
    flowing = _flowing(parsed)
    where: dict[str, str] = {}
    makers: dict[str, str] = {}
    inputs: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    for cell in parsed:
        if cell.is_inputs:
            inputs = _inputs_of(cell)
            where.update({one: f"inputs.{one}" for one in inputs})
        elif cell.step is None:
            if bound := sorted(cell.names.binds & flowing):
                raise _beyond(f"cell {cell.number} binds '{bound[0]}' outside a step")
        else:
            id_, options = cell.step.name, cell.step.options
            certain, maybe = _results(cell, flowing)
            if maybe:
                raise _beyond(f"step '{id_}' may not bind '{maybe[0]}', which is Python")
            terms = _terms_in_cel(cell, certain, where, inputs)
            reads = _parameters(cell, flowing)
            given = {**where, options.foreach[0]: "item"} if options.foreach else where
            if unknown := [one for one in reads if one not in given]:
                raise _beyond(f"step '{id_}' reads '{unknown[0]}', which no step above it binds")
            entry: dict[str, Any] = {"id": id_, "uses": f"{notebook}#{id_}"}
            if needs := sorted({makers[one] for one in (*reads, *cell.names.reads) if one in makers}):
                entry["needs"] = needs
            if reads:
                entry["with"] = {one: f"${{{{ {given[one]} }}}}" for one in reads}
            steps.append(entry | terms)
            where.update({one: f"steps.{id_}" if len(certain) == 1 else f"steps.{id_}.{one}" for one in certain})
            makers.update(dict.fromkeys(certain, id_))
    if not steps:
        raise DefinitionError(f"{notebook} has no step to export: put `%%step NAME` on a cell's first line")
    if not any("needs" in entry for entry in steps):
        steps = steps if len(steps) == 1 else [{"parallel": steps}]
    return {"id": _identifier(name), **({"inputs": inputs} if inputs else {}), "steps": steps}


def _terms_in_cel(
    cell: _Cell, binds: Sequence[str], where: Mapping[str, str], inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """``--when`` and ``--foreach`` of a step as a workflow file says them."""
    assert cell.step is not None
    id_, options = cell.step.name, cell.step.options
    found: dict[str, Any] = {}
    for option, said in (("when", options.when), ("foreach", options.foreach)):
        # A step that is skipped, or gives a list of what each item gave, is null or that list as a whole.
        if said is not None and (len(binds) > 1 or (option == "when" and any(name in where for name in binds))):
            raise _beyond(f"step '{id_}' has --{option} and binds {', '.join(binds)}")
    if options.when is not None:
        flags = frozenset(name for name, told in inputs.items() if told.get("type") == "boolean")
        condition = condition_in_cel(options.when, where, flags)
        if condition is None:
            raise _beyond(f"step '{id_}' has --when {options.when}, which is Python")
        found["when"] = f"${{{{ {condition} }}}}"
    if options.foreach is not None:
        items = list_in_cel(options.foreach[1], where)
        if items is None:
            raise _beyond(f"step '{id_}' has --foreach in {options.foreach[1]}, which is Python")
        found["foreach"] = f"${{{{ {items} }}}}"
        if options.concurrency > 1:
            found["concurrency"] = options.concurrency
    return found


def _inputs_of(cell: _Cell) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in declared_inputs(cell.text):
        kind = _KINDS.get(one.type, "any")
        found[one.name] = {"type": kind}
        if one.default is not None:
            try:
                found[one.name]["default"] = ast.literal_eval(one.default)
            except ValueError:
                raise _beyond(f"the default of the input '{one.name}' is Python: {one.default}") from None
    return found


def _beyond(what: str) -> DefinitionError:
    return DefinitionError(f"{what}: a workflow file cannot say that, export to a .py file")


def _assemble(name: str, origin: str, top: list[str], functions: list[str], body: list[str]) -> str:
    body = body if name else []
    limited = any("await at_most(" in part for part in body)
    shows = any(re.search(r"\bdisplay\(", part) for part in [*top, *functions, *body])
    imports = ["import asyncio"] if limited else []
    imports += ["from IPython.display import display"] if shows else []
    main = [
        f"@workflow(store=open_store())\nasync def {name}(ctx, inputs: dict | None = None):",
        "    inputs = inputs or {}",
    ]
    main += [_indented(part) for part in body]
    return "\n\n".join(
        [
            f'"""Exported from {origin} by wfkernel."""',
            "\n".join([*imports, "from wfkernel import open_store, step, workflow"]),
            *top,
            *([_AT_MOST.strip()] if limited else []),
            *(f"\n{function}" for function in functions),
            *(["\n" + "\n".join(main), f'\nif __name__ == "__main__":\n    print({name}.run())\n'] if name else []),
        ]
    )


# -- reading cells -----------------------------------------------------------------------------------------------------


def _parse(given: SourceCell) -> _Cell | None:
    source = given.source
    if _TIMED.match(source):
        source = source.partition("\n")[2]
    if (parts := split_cell(source)) is not None:
        text = _python(parts[1], given.number)
        step = parse_cell(f"%%step {parts[0]}\n{text}", given.number - 1)
        assert step is not None
        for node in ast.walk(step.body):
            if isinstance(node, ast.Global):
                raise DefinitionError(
                    f"cell {given.number}: `global {', '.join(node.names)}` has no counterpart in a function"
                )
        return _Cell(given.number, text, step.names, step)
    if source.lstrip().startswith("%%"):
        commented = textwrap.indent(source.strip(), "# ", lambda _: True)
        return _Cell(given.number, f"# not exported, cell {given.number}:\n{commented}", analyse(""))
    text = _python(source, given.number)
    if not text.strip():
        return None
    return _Cell(given.number, text, analyse(text), is_inputs=given.is_inputs)


def _python(source: str, number: int) -> str:
    """`source` with IPython's settings as comments. Raises `DefinitionError` for what Python cannot run."""
    lines = [_SETTING.sub(lambda m: f"{m[1]}pass  # %{m[2]}", line) if _SETTING.match(line) else line
             for line in source.strip("\n").split("\n")]  # fmt: skip
    text = "\n".join(line.replace("pass  # ", "# ", 1) if re.match(r"pass  # %", line) else line for line in lines)
    try:
        ast.parse(text)
    except SyntaxError as error:
        line = text.split("\n")[(error.lineno or 1) - 1].strip()
        raise DefinitionError(f"cell {number}: a plain module cannot run `{line}` ({error.msg})") from None
    if re.search(r"\bget_ipython\(", text):
        raise DefinitionError(f"cell {number}: a plain module has no get_ipython()")
    return text


def _flowing(cells: list[_Cell]) -> frozenset[str]:
    flowing: set[str] = set()
    modules = frozenset[str]().union(*(_imported(cell) for cell in cells if cell.step is None))
    for cell in cells:
        if cell.step is not None:
            elsewhere = frozenset[str]().union(*(other.names.reads for other in cells if other is not cell))
            # A module is nothing a step changes by calling it, nor hands on unless somebody reads it.
            flowing |= cell.changes - modules - (_imported(cell) - elsewhere)
        elif cell.is_inputs:
            flowing |= cell.names.binds
    grown = True
    while grown:
        before = len(flowing)
        for cell in cells:
            if cell.step is None and (cell.names.reads | cell.changes) & flowing:
                flowing |= cell.names.binds
        grown = len(flowing) > before
    return frozenset(flowing)


def _imported(cell: _Cell) -> frozenset[str]:
    """The names the cell's own imports bind."""
    return frozenset(
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.parse(cell.text).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    )


# -- writing a step ----------------------------------------------------------------------------------------------------


def _results(cell: _Cell, flowing: frozenset[str]) -> tuple[list[str], list[str]]:
    """The names a step hands on: those certainly bound, and those that may be."""
    handed = sorted(cell.changes & flowing)
    certain = [name for name in handed if name in cell.names.reads or name not in analyse(f"{cell.text}\n{name}").reads]
    return certain, [name for name in handed if name not in certain]


def _parameters(cell: _Cell, flowing: frozenset[str]) -> list[str]:
    assert cell.step is not None
    item = [cell.step.options.foreach[0]] if cell.step.options.foreach else []
    # What only --when and --foreach read, the workflow evaluates itself.
    own = analyse(cell.text).reads if cell.step.options.reads is None else cell.names.reads
    return [*item, *sorted((cell.names.reads & flowing & own) - set(item))]


def _function(cell: _Cell, function: str, flowing: frozenset[str]) -> str:
    assert cell.step is not None
    options = cell.step.options
    given = {"id": repr(options.name)}
    if options.retries:
        given |= {"retries": str(options.retries), "delay": f"{options.delay:g}", "backoff": "2"}
    if options.timeout is not None:
        given["timeout"] = f"{options.timeout:g}"
    if options.worker is not None:
        given["worker"] = repr(options.worker)
    certain, maybe = _results(cell, flowing)
    if maybe:
        names = ", ".join(repr(name) for name in [*certain, *maybe])
        end = f"return {{name: value for name, value in locals().items() if name in ({names},)}}"
    elif len(certain) == 1:
        end = f"return {certain[0]}"
    else:
        end = f"return {{{', '.join(f'{name!r}: {name}' for name in certain)}}}" if certain else ""
    head = f"{'async ' if cell.names.uses_await else ''}def {function}({', '.join(_parameters(cell, flowing))}):"
    decorator = f"@step({', '.join(f'{name}={value}' for name, value in given.items())})"
    text = cell.text if cell.text.strip() and ast.parse(cell.text).body else f"{cell.text}\npass".strip("\n")
    return "\n".join([decorator, head, _indented(text), *([_indented(end)] if end else [])])


def _call(cell: _Cell, function: str, flowing: frozenset[str], bound: set[str]) -> str:
    """The lines of the workflow that call a step and take apart what it gives."""
    assert cell.step is not None
    options = cell.step.options
    certain, maybe = _results(cell, flowing)
    call = f"ctx.step({', '.join([function, *_parameters(cell, flowing)])})"
    if options.foreach is not None:
        item, items = options.foreach
        if options.concurrency > 1:
            lines = [f"_given = await at_most({options.concurrency}, ctx, [{call} for {item} in {items}])"]
        else:
            lines = [f"_given = [await {call} for {item} in {items}]"]
        if len(certain) == 1 and not maybe:
            lines = [lines[0].replace("_given", certain[0], 1)]
        else:
            lines += [f"{name} = [_one.get({name!r}) for _one in _given]" for name in [*certain, *maybe]]
    elif len(certain) == 1 and not maybe:
        lines = [f"{certain[0]} = await {call}"]
    elif certain or maybe:
        lines = [f"_given = await {call}", *(f"{name} = _given[{name!r}]" for name in certain)]
        for name in maybe:
            lines += [f"if {name!r} in _given:", f"    {name} = _given[{name!r}]"]
    else:
        lines = [f"await {call}"]
    if options.when is None:
        return "\n".join(lines)
    fresh = [name for name in [*certain, *maybe] if name not in bound]
    skipped = [f"{name} = None" for name in fresh]
    return "\n".join([*skipped, f"if {options.when}:", *(f"    {line}" for line in lines)])


def _overrides(cell: _Cell) -> str:
    """After the cell of the inputs: what the run was given counts more."""
    if not cell.is_inputs:
        return ""
    names = [one.name for one in declared_inputs(cell.text)]
    missing = {one.name for one in declared_inputs(cell.text) if one.default is None}
    return "".join(
        f"\n{name} = inputs[{name!r}]" if name in missing else f"\n{name} = inputs.get({name!r}, {name})"
        for name in names
    )


def _result(cells: list[_Cell], flowing: frozenset[str]) -> str:
    """The workflow's result: what the steps bound and no later step read."""
    steps = [cell for cell in cells if cell.step is not None]
    names: dict[str, None] = {}
    for position, cell in enumerate(steps):
        later = frozenset[str]().union(*(other.names.reads for other in steps[position + 1 :]))
        names.update(dict.fromkeys(name for name in _results(cell, flowing)[0] if name not in later))
    return f"return {{{', '.join(f'{name!r}: {name}' for name in names)}}}"


# -- text --------------------------------------------------------------------------------------------------------------


def _identifier(name: str) -> str:
    made = re.sub(r"\W", "_", name)
    return f"{made}_" if keyword.iskeyword(made) else made if made[:1].isidentifier() else f"notebook_{made}"


def _function_name(step: str, taken: frozenset[str]) -> str:
    name = _identifier(step)
    return f"{name}_step" if name in taken | _OURS else name


def _indented(text: str) -> str:
    """`text` four columns further right; what stands inside strings stays where it is."""
    inside: set[int] = set()
    begun: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
        elif kind == "FSTRING_START":
            begun.append(token.start[0])
        elif kind == "FSTRING_END":
            inside.update(range(begun.pop() + 1, token.end[0] + 1))
    lines = text.split("\n")
    return "\n".join(f"    {line}" if line and n not in inside else line for n, line in enumerate(lines, 1))
