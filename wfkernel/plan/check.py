"""Everything about a workflow file that can be wrong and can be found without running anything, all of it at once.

The checker walks the plain data and not the models, so that one wrong key does not hide what is wrong elsewhere. It knows
what an expression can see at each place: steps above it in a sequence, any step in a graph (which makes it wait for that
step), what is around it, the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from wfkernel.errors import DefinitionError
from wfkernel.plan import expression
from wfkernel.plan.document import KINDS, kind_of
from wfkernel.plan.duration import seconds, timestamp
from wfkernel.plan.graph import Circular, circular
from wfkernel.plan.reference import did_you_mean, how_to_register, look_up, parse_address
from wfkernel.plan.sources import compile_mapping

__all__ = ["BODIES", "Checker", "Visible", "is_graph", "needs_of"]

Path_ = tuple[str | int, ...]
Note = Callable[..., None]

BODIES: Final = ("uses", "run", "agent", "notebook", "workflow", "steps")
_LENGTHS: Final = ("timeout", "delay", "cap")
_CODE: Final = ("compensate", "resume", "suspend", "state")
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,), "object": (dict,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Visible:
    """What an expression can refer to."""

    steps: frozenset[str] = frozenset()
    inputs: frozenset[str] | None = frozenset()
    """None: not known, anything goes."""
    vars: frozenset[str] = frozenset()
    item: bool = False
    loop: bool = False
    result: bool = False

    def plus(self, ids: Iterable[str]) -> Visible:
        return replace(self, steps=self.steps | frozenset(ids))


def needs_of(entry: Any) -> list[str] | None:
    """What an entry says it needs; None where it says nothing."""
    if not isinstance(entry, dict):
        return None
    wanted = entry["needs"] if entry.get("needs") is not None else entry.get("dependencies")
    if wanted is None or isinstance(wanted, dict):
        return None
    return [
        str(need) for need in (wanted if isinstance(wanted, list) else [wanted]) if isinstance(need, str | int | float)
    ]


def is_graph(entries: Sequence[Any]) -> bool:
    """Whether a list of entries is a graph: one of them says what it needs."""
    return any(needs_of(entry) is not None for entry in entries)


class Checker:
    """Checks one file.

    Args:
        note: called as ``note(message, path, key=False, placeholder=None, warning=False)`` for every problem.
        folder: where the addresses of the file begin.
        agents: the names registered.
        nested: called with (file name, path) for a nested workflow in another file.
    """

    def __init__(self, note: Note, folder: Path, agents: Iterable[str], nested: Callable[[str, Path_], None]) -> None:
        self.note, self.folder, self.agents, self._nested = note, folder, set(agents), nested
        self._uses: dict[str, int] = {}
        self.circular: list[Circular] = []
        """The graphs of the file whose steps need each other."""

    def document(self, data: Any, path: Path_ = (), outer_agents: Iterable[str] = ()) -> None:
        """Check a workflow."""
        if not isinstance(data, dict):
            return
        agents = _dict(data.get("agents"))
        known_agents, self.agents = self.agents, self.agents | set(agents) | set(outer_agents)
        for name, address in agents.items():
            self.address(address, (*path, "agents", name))
        for key in ("input", "output_type", "state"):
            if data.get(key) is not None:
                self.address(data[key], (*path, key))
        if data.get("input") is not None and data.get("inputs") is not None:
            self.note("'input' and 'inputs' say the same thing in two ways: keep one", (*path, "input"), key=True)
        self.length(data.get("delay"), (*path, "delay"))
        for key in ("seconds", "cpu"):
            self.length(_dict(data.get("limits")).get(key), (*path, "limits", key), zero=False)
        inputs = self.inputs(data.get("inputs"), (*path, "inputs"))
        if data.get("input") is not None:
            inputs = None
        constants = {**_dict(data.get("vars")), **_dict(data.get("context"))}
        visible = Visible(inputs=inputs, vars=frozenset(constants))
        after = self.scope(data.get("steps"), (*path, "steps"), visible)
        to = str(data.get("rollback_to") or "start").partition(".")[0]
        if to != "start" and to not in after.steps:
            self.note(f"'{to}' is none of the steps{did_you_mean(to, sorted(after.steps))}", (*path, "rollback_to"))
        self.expressions(data.get("output"), (*path, "output"), after)
        self.agents = known_agents

    def inputs(self, inputs: Any, path: Path_) -> frozenset[str] | None:
        """Check the inputs; their names, None where there are none and so anything can be given."""
        if not isinstance(inputs, dict):
            return None
        for name, told in inputs.items():
            if not str(name).isidentifier():
                self.note(f"the input '{name}' is no name: letters, digits and '_'", (*path, name), key=True)
            if not isinstance(told, dict):
                continue
            default, kind = told.get("default"), _TYPES.get(str(told.get("type")))
            fits = kind is None or (isinstance(default, kind) and (kind == (bool,) or not isinstance(default, bool)))
            if "default" in told and default is not None and not fits:
                self.note(
                    f"the default of input '{name}' is {default!r}, which is no {told['type']}",
                    (*path, name, "default"),
                )
            choices = told.get("enum")
            if isinstance(choices, list) and default is not None and default not in choices:
                self.note(f"the default of input '{name}' is none of its values {choices!r}", (*path, name, "default"))
        return frozenset(map(str, inputs))

    # -- lists of entries -----------------------------------------------------------------------------------------------

    def scope(self, entries: Any, path: Path_, visible: Visible) -> Visible:
        """Check the entries of a plan: in it, the second use of an id is ``id#2``, in whatever list it stands."""
        around, self._uses = self._uses, {}
        after = self.entries(entries, path, visible)
        self._uses = around
        return after

    def entries(self, entries: Any, path: Path_, visible: Visible) -> Visible:
        """Check a list that is a sequence or a graph. Returns what can be seen after it."""
        if not isinstance(entries, list):
            return visible
        self.twins(entries, path)
        if is_graph(entries):
            for position, entry in enumerate(entries):
                if isinstance(entry, dict) and (kind := kind_of(entry)) is not None and kind not in BODIES:
                    self.note(
                        f"this list is a graph, for one of its steps says 'needs', and a graph has no '{kind}': put it into a "
                        "step with `steps:`", (*path, position),
                    )  # fmt: skip
            return self.graph(entries, path, visible)
        for position, entry in enumerate(entries):
            visible = visible.plus(self.entry(entry, (*path, position), visible))
        return visible

    def twins(self, entries: list[Any], path: Path_) -> None:
        seen: dict[str, int] = {}
        for position, entry in enumerate(entries):
            id_ = entry.get("id") if isinstance(entry, dict) else None
            if id_ is None:
                continue
            if str(id_) in seen:
                self.note(f"there are two entries named '{id_}' (the other is number {seen[str(id_)] + 1}): rename one",
                          (*path, position, "id"))  # fmt: skip
            seen.setdefault(str(id_), position)

    def use(self, id_: str, kind: str, path: Path_) -> None:
        """Count a use of an id; what a file says of its number has to be true."""
        base, _, said = id_.partition("#")
        if kind not in BODIES:
            if said:
                self.note(f"'{id_}': only steps are numbered, and this is a '{kind}'", (*path, "id"))
            return
        number = self._uses[base] = self._uses.get(base, 0) + 1
        if said and number == 1:
            self.note(f"'{id_}' is a further use of '{base}', which is not above it", (*path, "id"))
        elif said and int(said) != number:
            self.note(f"'{id_}' is use number {number} of '{base}': write '{base}#{number}'", (*path, "id"))

    def graph(self, entries: list[Any], path: Path_, visible: Visible) -> Visible:
        ids = {str(e["id"]): n for n, e in enumerate(entries) if isinstance(e, dict) and e.get("id") is not None}
        needs: dict[str, list[str]] = {}
        told: set[str] = set()  # need themselves, which is told where they say so
        inside = visible.plus(ids)
        for position, entry in enumerate(entries):
            if not isinstance(entry, dict):
                continue
            id_ = str(entry.get("id"))
            at = (*path, position)
            if entry.get("needs") is not None and entry.get("dependencies") is not None:
                self.note("'needs' and 'dependencies' are the same: keep one", (*at, "dependencies"), key=True)
            key = "needs" if "needs" in entry else "dependencies"
            wanted = needs_of(entry) or []
            known = []
            for number, need in enumerate(wanted):
                where = (*at, key, number) if isinstance(entry.get(key), list) else (*at, key)
                if need not in ids:
                    self.note(f"step '{id_}' needs '{need}', which is not in the graph{did_you_mean(need, ids)}", where)
                    continue
                known.append(need)
                if need == id_:
                    told.add(id_)
                    self.note(f"step '{id_}' needs itself", where)
            needs[id_] = known
            for mention in self._mentions(entry, at, inside):
                if mention in ids and mention not in known and mention != id_:
                    known.append(mention)
            self.entry(entry, at, inside)
        found = circular(needs)
        if found:
            self.circular.append(found)
            for circle in found.circles:
                if len(circle) > 2 or circle[0] not in told:
                    words = " -> ".join(circle)
                    self.note(f"the steps need each other in a circle: {words}", (*path, ids[circle[0]]))
        return inside

    def _mentions(self, entry: dict[str, Any], path: Path_, visible: Visible) -> Iterator[str]:
        for _, text in _texts(entry, ()):
            try:
                for piece in expression.parts(text):
                    if piece.is_expression:
                        yield from (m.name for m in expression.mentions(piece.text) if m.root in ("steps", "status"))
            except DefinitionError:
                continue

    # -- one entry ------------------------------------------------------------------------------------------------------

    def entry(self, entry: Any, path: Path_, visible: Visible) -> list[str]:
        """Check one entry. Returns the ids whose outputs can be seen after it."""
        kind = kind_of(entry)
        if kind is None or not isinstance(entry, dict):
            return []
        several = [mark for mark in KINDS if mark in entry and mark not in ("parallel", "foreach")]
        if len(several) > 1:
            self.note(
                f"an entry does one thing, and this has {' and '.join(map(repr, several))}",
                (*path, several[1]),
                key=True,
            )
        id_ = [str(entry["id"])] if entry.get("id") is not None else []
        if id_:
            self.use(id_[0], kind, path)
        match kind:
            case "parallel":
                return self.bodies(entry["parallel"], (*path, "parallel"), visible)
            case "branch":
                return self.branch(entry["branch"], (*path, "branch"), visible)
            case "loop":
                return self.loop(entry, path, visible)
            case "foreach":
                self.call(entry.get("concurrency"), (*path, "concurrency"), visible)
                return self.entry(entry["foreach"], (*path, "foreach"), replace(visible, item=True))
            case "graph":
                bodies = entry["graph"]
                if isinstance(bodies, list):
                    self.twins(bodies, (*path, "graph"))
                    self.graph(bodies, (*path, "graph"), visible)
                return (
                    [str(b["id"]) for b in bodies if isinstance(b, dict) and "id" in b]
                    if isinstance(bodies, list)
                    else []
                )
            case "map":
                if isinstance(entry["map"], str):
                    self.call(entry["map"], (*path, "map"), visible)
                else:
                    self.expressions(entry["map"], (*path, "map"), visible)
            case "sources":
                self.sources(entry["sources"], (*path, "sources"), visible)
            case "sleep":
                self.amount(entry["sleep"], (*path, "sleep"), visible, seconds)
            case "sleep_until":
                self.amount(entry["sleep_until"], (*path, "sleep_until"), visible, timestamp)
            case _:
                self.body(kind, entry, path, visible)
        return id_

    def bodies(self, bodies: Any, path: Path_, visible: Visible) -> list[str]:
        if not isinstance(bodies, list):
            return []
        self.twins(bodies, path)
        return [id_ for position, body in enumerate(bodies) for id_ in self.entry(body, (*path, position), visible)]

    def branch(self, arms: Any, path: Path_, visible: Visible) -> list[str]:
        found = []
        for position, arm in enumerate(arms if isinstance(arms, list) else ()):
            if isinstance(arm, dict):
                self.condition(arm.get("if"), (*path, position, "if"), visible)
                found += self.entry(arm.get("then"), (*path, position, "then"), visible)
        return found

    def loop(self, entry: dict[str, Any], path: Path_, visible: Visible) -> list[str]:
        inside = replace(visible, loop=True)
        ids = self.entry(entry["loop"], (*path, "loop"), inside)
        told = [key for key in ("while", "until") if entry.get(key) is not None]
        if len(told) != 1:
            self.note("a loop has one of 'while' and 'until'", path)
        for key in told:
            self.condition(entry[key], (*path, key), inside.plus(ids))
        return ids

    def body(self, kind: str, entry: dict[str, Any], path: Path_, visible: Visible) -> None:
        if entry.get("continue_on_error") and entry.get("continueOnError"):
            self.note(
                "'continue_on_error' and 'continueOnError' are the same: keep one", (*path, "continueOnError"), key=True
            )
        self.condition(entry.get("when"), (*path, "when"), visible)
        each = entry.get("foreach")
        if isinstance(each, str) and expression.single_expression(each) is None:
            self.note("'foreach' is a list or one ${{ expression }} that gives a list", (*path, "foreach"))
        self.expressions(each, (*path, "foreach"), visible)
        if each is not None:
            visible = replace(visible, item=True)
        self.expressions(entry.get("with"), (*path, "with"), visible)
        for key in _LENGTHS:
            self.length(entry.get(key), (*path, key), zero=key != "timeout")
        for key in _CODE:
            if entry.get(key) is not None:
                self.address(entry[key], (*path, key))
        retry_on = entry.get("retry_on")
        for position, one in enumerate(retry_on if isinstance(retry_on, list) else [retry_on] if retry_on else []):
            self.address(one, (*path, "retry_on", position) if isinstance(retry_on, list) else (*path, "retry_on"))
        outputs = entry.get("outputs")
        if isinstance(outputs, str) and not expression.has_expression(outputs):
            self.note(
                "'outputs' is made of ${{ result }}, and this text would be the output always", (*path, "outputs")
            )
        self.expressions(outputs, (*path, "outputs"), Visible(result=True, inputs=None), only_result=True)
        match kind:
            case "uses":
                self.address(entry["uses"], (*path, "uses"))
            case "run":
                self.command(entry, path, visible)
            case "agent":
                self.agent(entry, path, visible)
            case "notebook":
                self.notebook(entry["notebook"], (*path, "notebook"))
            case "steps":
                self.scope(entry["steps"], (*path, "steps"), visible)
            case "workflow":
                if isinstance(entry["workflow"], str):
                    self._nested(entry["workflow"], (*path, "workflow"))
                else:
                    self.document(entry["workflow"], (*path, "workflow"))

    def command(self, entry: dict[str, Any], path: Path_, visible: Visible) -> None:
        if isinstance(entry["run"], str) and expression.has_expression(entry["run"]):
            self.note(
                "a command for the shell holds no ${{ expressions }}, for their values would become code: give them under "
                "`env:` and write \"$NAME\", or make `run` a list", (*path, "run"),
            )  # fmt: skip
        else:
            self.expressions(entry["run"], (*path, "run"), visible)
        self.expressions(entry.get("env"), (*path, "env"), visible)
        for name in _dict(entry.get("env")):
            if not str(name).replace("_", "a").isalnum():
                self.note(f"'{name}' is no name of an environment variable", (*path, "env", name), key=True)

    def agent(self, entry: dict[str, Any], path: Path_, visible: Visible) -> None:
        if entry.get("agent") is not None and entry.get("agentId") is not None:
            self.note("'agent' and 'agentId' are the same: keep one", (*path, "agentId"), key=True)
        key = "agent" if "agent" in entry else "agentId"
        name = entry.get(key)
        if name is None:
            self.note("a task is given to an agent: say which with 'agent'", path)
        elif isinstance(name, str) and name not in self.agents:
            hint = did_you_mean(name, sorted(self.agents)) or " (none is)"
            self.note(f"no agent '{name}' is registered{hint}: {how_to_register(name)}",
                      (*path, key), warning=True)  # fmt: skip
        self.expressions(entry.get("task"), (*path, "task"), visible)

    def notebook(self, given: Any, path: Path_) -> None:
        if not isinstance(given, str):
            return
        if "#" in given:
            self.address(given, path)
        elif not (self.folder / given).is_file():
            self.note(f"there is no notebook {given} in {self.folder}", path)

    def sources(self, mapping: Any, path: Path_, visible: Visible) -> None:
        for key, source in _dict(mapping).items():
            if not isinstance(source, dict):
                continue
            if "fn" in source:
                self.address(source["fn"], (*path, key, "fn"))
                continue
            try:
                compile_mapping({key: source})
            except DefinitionError as error:
                self.note(str(error), (*path, key))
            for step in source["step"] if isinstance(source.get("step"), list) else [source.get("step")]:
                if isinstance(step, str) and step not in visible.steps:
                    self.note(
                        f"there is no step '{step}' above{did_you_mean(step, sorted(visible.steps))}",
                        (*path, key, "step"),
                    )

    # -- values ---------------------------------------------------------------------------------------------------------

    def address(self, text: Any, path: Path_) -> None:
        if not isinstance(text, str):
            return
        try:
            reason = look_up(parse_address(text), self.folder)
        except DefinitionError as error:
            reason = str(error)
        if reason is not None:
            self.note(reason, path)

    def length(self, given: Any, path: Path_, *, zero: bool = True) -> None:
        if given is None or isinstance(given, dict | list):
            return
        try:
            if not seconds(given) and not zero:
                self.note(f"'{path[-1]}' is longer than nothing, not {given!r}", path)
        except DefinitionError as error:
            self.note(str(error), path)

    def amount(self, given: Any, path: Path_, visible: Visible, read: Callable[[Any], float]) -> None:
        """A length or a point in time: given, computed by an expression, or by a function."""
        if isinstance(given, str) and ((":" in given and not given[0].isdigit()) or "${{" in given):
            self.call(given, path, visible)
            return
        try:
            read(given)
        except DefinitionError as error:
            self.note(str(error), path)

    def call(self, given: Any, path: Path_, visible: Visible) -> None:
        """One expression, or the address of a function."""
        if not isinstance(given, str):
            return
        if "${{" not in given:
            self.address(given, path)
            return
        self.expressions(given, path, visible)

    def condition(self, given: Any, path: Path_, visible: Visible) -> None:
        if not isinstance(given, str):
            return
        try:
            alone = expression.single_expression(given) is not None
        except DefinitionError:
            alone = True  # told by `expressions`
        if "${{" in given and not alone:
            self.note("a condition is one ${{ expression }} and nothing around it", path)
        elif "${{" not in given and ":" not in given:
            self.note(
                f"a condition is ${{{{ expression }}}} or module:function: did you mean ${{{{ {given} }}}}?", path
            )
        else:
            self.call(given, path, visible)

    def expressions(self, data: Any, path: Path_, visible: Visible, *, only_result: bool = False) -> None:
        """Check every expression in `data`."""
        for below, text in _texts(data, ()):
            try:
                pieces = expression.parts(text)
            except DefinitionError as error:
                self.note(str(error), (*path, *below))
                continue
            number = -1
            for piece in pieces:
                if not piece.is_expression:
                    continue
                number += 1
                for message in _wrong(piece.text, visible, only_result):
                    self.note(message, (*path, *below), placeholder=number)


def _wrong(source: str, visible: Visible, only_result: bool) -> Iterator[str]:
    try:
        found = expression.mentions(source)
        unknown = expression.unknown_functions(source)
    except DefinitionError as error:
        yield str(error)
        return
    for name in unknown:
        yield f"'{name}' is no function of CEL{did_you_mean(name, sorted(expression.FUNCTIONS))}"
    for root, name in found:  # `steps.some-id` is a subtraction, and everything said of its parts would mislead
        if root not in ("steps", "status") or not name or name in visible.steps or f"{name}-" not in source:
            continue
        dashed = [id_ for id_ in sorted(visible.steps) if id_.startswith(f"{name}-")]
        if dashed:
            yield f"'{source}' subtracts: write {root}['{dashed[0]}'] for a step whose id has a '-'"
            return
    told = set()
    for root, name in found:
        if (root, name) in told:
            continue
        told.add((root, name))
        if root == "result" and visible.result:
            continue
        if only_result or root not in expression.ROOTS:
            known = ["result"] if only_result else expression.ROOTS
            yield f"'{root}' is unknown in '{source}'{did_you_mean(root, known)}"
        elif root in ("steps", "status") and name:
            if name not in visible.steps:
                yield f"'{source}' refers to step '{name}', which is not above it{did_you_mean(name, sorted(visible.steps))}"
        elif root == "inputs" and name and visible.inputs is not None and name not in visible.inputs:
            yield f"'{source}' refers to input '{name}', which the workflow does not have{did_you_mean(name, sorted(visible.inputs))}"
        elif root == "item" and not visible.item:
            yield f"'{source}' refers to 'item', and there is no foreach around it"
        elif root == "iteration" and not visible.loop:
            yield f"'{source}' refers to 'iteration', and there is no loop around it"


def _texts(data: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    """Every text in `data` that holds an expression, with where it is."""
    if isinstance(data, str):
        if "${{" in data:
            yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*path, key))
    elif isinstance(data, list):
        for position, value in enumerate(data):
            yield from _texts(value, (*path, position))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
