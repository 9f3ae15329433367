"""Workflow files become plans: every document is built with the builder, so there is one kind of plan and one way to run it.

What can only be found by importing the code a file names (a module that cannot be imported, a parameter a function does not
have, an agent nobody registered) is found here, again all at once and with its place in the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from wfkernel.engine.agents import AskAgent, agent_named
from wfkernel.engine.limits import Limits
from wfkernel.engine.shell import RunCommand
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan import document as doc
from wfkernel.plan import expression, nodes
from wfkernel.plan.builder import Definition, placed
from wfkernel.plan.check import is_graph
from wfkernel.plan.declared import inputs_type
from wfkernel.plan.duration import seconds
from wfkernel.plan.expression import Condition, Filled, Reshape
from wfkernel.plan.load import Loaded, WorkflowFileInvalid
from wfkernel.plan.reference import did_you_mean, find, parse_address
from wfkernel.plan.retry import RetryPolicy
from wfkernel.plan.step import StepSpec, spec_of
from wfkernel.plan.text import Problem

__all__ = ["DOCUMENT_KEYS", "compile_workflow", "plain"]

At = tuple[str | int, ...]

NOTEBOOK_STEP: Final = "wfkernel.notebook.notebook_step:RunNotebook"
"""Made of (folder, notebook), imported when first used: the notebook room is above this one, which knows none of it."""

DOCUMENT_KEYS: Final = ("name", "version", "author", "tags")
"""Keys of a file that are metadata of the plan."""
_RETRY: Final = ("retries", "backoff", "jitter")
_CODE: Final = ("compensate", "resume", "suspend", "state")


def plain(id: str, *, limits: Limits | None = None, rollback_to: str = "", **about: Any) -> Definition:
    """What a workflow of a file becomes where nothing else is said: one with limits has a life of its own."""
    if limits is None and not rollback_to:
        return Definition(id, **about)
    return Workflow(id, limits=limits, rollback_to=rollback_to, **about)


def compile_workflow(loaded: Loaded, make: Callable[..., Definition] = plain) -> Definition:
    """The workflow a file describes, committed. `make` is what it becomes: `plain`, or `Workflow` with options.

    Raises `WorkflowFileInvalid`.
    """
    problems: list[Problem] = []
    made = _Compiler(loaded, make, problems, {}).workflow()
    if problems or made is None:
        raise WorkflowFileInvalid(problems)
    return made


class _Compiler:
    """Builds one document; nested ones have a compiler of their own."""

    def __init__(
        self, loaded: Loaded, make: Callable[..., Definition], problems: list[Problem], agents: dict[str, Any],
        document: doc.Document | None = None, at: At = (),
    ) -> None:  # fmt: skip
        self._loaded, self._make, self._problems = loaded, make, problems
        found = document or loaded.document
        assert found is not None
        self._document, self._at, self._agents = found, at, dict(agents)

    def note(self, error: Exception, at: At) -> None:
        source = self._loaded.source
        place = source.place(at) if source is not None else None
        problem = Problem(str(error), file=self._loaded.file, path=at)
        self._problems.append(dataclasses.replace(problem, place=place) if place is not None else problem)

    def code(self, address: str, at: At) -> Any:
        """What an address leads to; None, and a problem noted, if it leads nowhere."""
        try:
            return find(parse_address(address), self._loaded.folder)
        except DefinitionError as error:
            self.note(error, at)
            return None

    # -- a document -----------------------------------------------------------------------------------------------------

    def workflow(self) -> Definition | None:
        document, at = self._document, self._at
        for name, address in document.agents.items():
            if (agent := self.code(address, (*at, "agents", name))) is not None:
                self._agents[name] = agent
        types: dict[str, Any] = {}
        for key, told in (("input", document.input), ("output", document.output_type), ("state", document.state)):
            if told is not None:
                types[key] = self.code(told, (*at, "output_type" if key == "output" else key))
        if document.inputs is not None:
            types["input"] = inputs_type(document.inputs)
        about = {key: getattr(document, key) for key in DOCUMENT_KEYS if getattr(document, key)}
        try:
            made = self._make(
                document.id or document.name or Path(self._loaded.file).name.partition(".")[0] or "workflow",
                description=document.description, retries=document.retries, delay=document.delay,
                metadata={**document.metadata, **about}, limits=self.limits(), rollback_to=document.rollback_to,
                **types,
            )  # fmt: skip
        except DefinitionError as error:
            self.note(error, at)
            return None
        made.vars = {**document.vars, **document.context}
        self.fill(made, document.steps, (*at, "steps"))
        try:
            if document.output is not None:
                made.map(Filled(document.output), id="output")
            return made.commit()
        except DefinitionError as error:
            self.note(error, (*at, "steps"))
            return None

    def limits(self) -> Limits | None:
        told = self._document.limits
        if told is None:
            return None
        spans = {key: seconds(span) for key in ("seconds", "cpu") if (span := getattr(told, key)) is not None}
        return Limits(told.iterations, concurrency=told.concurrency, memory=told.memory, **spans)

    def fill(self, plan: Definition, entries: Sequence[Any], at: At) -> None:
        """Add a list of entries, which is a sequence or a graph."""
        if is_graph([entry.model_dump(include={"needs", "dependencies"}) for entry in entries]):
            self.graph(plan, entries, at)
            return
        for position, entry in enumerate(entries):
            try:
                self.entry(plan, entry, (*at, position))
            except DefinitionError as error:
                self.note(error, (*at, position))

    def graph(self, plan: Definition, entries: Iterable[Any], at: At, id_: str | None = None) -> None:
        entries = list(entries)
        ids = {_base(entry.id) for entry in entries}
        graph = id_ or plan.free_id("graph")
        for position, entry in enumerate(entries):
            wanted = [_base(need) for need in entry.wanted or []]
            after = tuple(
                i for i in dict.fromkeys(_mentioned(entry)) if i in ids and i not in wanted and i != _base(entry.id)
            )
            body = self.body(entry, (*at, position))
            if body is not None:
                plan.add(body, needs=wanted, after=after, exclusive=entry.parallel is False, graph=graph)

    def inline(self, id_: str) -> Definition:
        """A plan that is a part of the workflow around it."""
        made = Definition(id_)
        made.inline = True
        return made

    # -- entries --------------------------------------------------------------------------------------------------------

    def entry(self, plan: Definition, entry: Any, at: At) -> None:
        match entry:
            case doc.GraphBlock():
                self.graph(plan, entry.graph, (*at, "graph"), entry.id)
            case doc.ParallelBlock():
                arms = [self.body(one, (*at, "parallel", n)) for n, one in enumerate(entry.parallel)]
                if None not in arms:
                    plan.parallel(*arms, fail_fast=entry.fail_fast, id=entry.id)
            case doc.BranchBlock():
                pairs = [
                    (self.condition(arm.if_, (*at, "branch", n, "if")), self.body(arm.then, (*at, "branch", n, "then")))
                    for n, arm in enumerate(entry.branch)
                ]
                if all(body is not None for _, body in pairs):
                    plan.branch(*pairs, id=entry.id)
            case doc.LoopBlock():
                body = self.body(entry.loop, (*at, "loop"))
                condition = self.condition(
                    entry.while_ or entry.until or "", (*at, "while" if entry.while_ else "until")
                )
                if body is not None:
                    (plan.do_while if entry.while_ else plan.do_until)(body, condition)
            case doc.ForeachBlock():
                body = self.body(entry.foreach, (*at, "foreach"))
                width = entry.concurrency
                if body is not None:
                    plan.foreach(
                        body, concurrency=width if isinstance(width, int) else self.call(width, (*at, "concurrency"))
                    )
            case doc.MapBlock():
                function = self.call(entry.map, (*at, "map")) if isinstance(entry.map, str) else Filled(entry.map)
                plan.map(function, id=entry.id)
            case doc.SourcesBlock():
                plan.map(
                    {key: self.source(one, (*at, "sources", key)) for key, one in entry.sources.items()}, id=entry.id
                )
            case doc.SleepBlock():
                plan.sleep(self.amount(entry.sleep, (*at, "sleep")), id=entry.id)
            case doc.SleepUntilBlock():
                plan.sleep_until(self.amount(entry.sleep_until, (*at, "sleep_until")), id=entry.id)
            case _:
                body = self.body(entry, at)
                if body is not None:
                    plan.then(body)

    def source(self, told: dict[str, Any], at: At) -> Any:
        return self.code(told["fn"], (*at, "fn")) or _nothing if "fn" in told else told

    def amount(self, given: Any, at: At) -> Any:
        is_call = isinstance(given, str) and ("${{" in given or (":" in given and not given[0].isdigit()))
        return self.call(given, at) if is_call else given

    def call(self, given: str, at: At) -> Callable[..., Any]:
        """An expression, or a function by address."""
        if "${{" in given:
            return Filled(given)
        return self.code(given, at) or _nothing

    def condition(self, given: str, at: At) -> Callable[..., Any]:
        source = expression.single_expression(given)
        return Condition(source) if source is not None else self.code(given, at) or _nothing

    def body(self, entry: Any, at: At) -> nodes.Body | None:
        """A step or nested workflow on its terms. None, with problems noted, if it cannot be made."""
        try:
            match entry:
                case doc.Group():
                    inside = self.inline(_base(entry.id))
                    self.fill(inside, entry.steps, (*at, "steps"))
                    made: Any = inside.commit()
                case doc.WorkflowStep():
                    made = self.nested(entry, at)
                case _:
                    made = self.step(entry, at)
            if made is None:
                return None
            return self.on_terms(entry, made, at)
        except DefinitionError as error:
            self.note(error, at)
            return None

    def on_terms(self, entry: Any, made: Any, at: At) -> nodes.Body:
        id_ = _base(entry.id)
        when = self.condition(entry.when, (*at, "when")) if entry.when else None
        given = self.given(entry, made, at)
        each = getattr(entry, "foreach", None)
        if each is None:
            return placed(made, id=id_, when=when, continue_on_error=entry.goes_on, name=entry.name, **given)
        loop = self.inline(id_)
        loop.foreach(placed(made, id=id_, name=entry.name, **given), concurrency=entry.concurrency)
        return placed(
            loop.commit(), id=id_, when=when, given=Filled(each), continue_on_error=entry.goes_on, name=entry.name
        )

    def given(self, entry: Any, made: Any, at: At) -> dict[str, Any]:
        """What a step gets, as an argument for `placed`."""
        told, said = entry.with_, "with_" in entry.model_fields_set  # `with: null` gives null
        match entry:
            case doc.AgentStep():
                return {"given": Filled({"task": entry.task, "inputs": told if said else "${{ input }}"})}
            case doc.RunStep():
                if said:
                    raise DefinitionError("a command gets its values under `env:`, not under `with:`")
                return {"given": Filled({"run": entry.run, "env": entry.env})}
            case doc.NotebookStep() if "#" not in entry.notebook:
                return {"given": Filled(told if said else {})}
        if not said:
            return {}
        if isinstance(entry, doc.UsesStep | doc.NotebookStep) and isinstance(told, dict):
            names = [p.name for p in made.parameters]
            address = entry.uses if isinstance(entry, doc.UsesStep) else entry.notebook
            if len(names) == 1 and list(told) == names:
                return {"given": Filled(told[names[0]])}
            if len(names) > 1:
                for name in told:
                    if name not in names:
                        self.note(DefinitionError(f"{address} has no parameter '{name}'{did_you_mean(name, names)}"),
                                  (*at, "with", name))  # fmt: skip
        return {"given": Filled(told)}

    def nested(self, entry: doc.WorkflowStep, at: At) -> Definition | None:
        if isinstance(entry.workflow, str):
            loaded = self._loaded.nested[entry.workflow]
            return _Compiler(loaded, plain, self._problems, self._agents).workflow()
        return _Compiler(
            self._loaded,
            plain,
            self._problems,
            self._agents,
            entry.workflow,
            (*at, "workflow"),
        ).workflow()

    def step(self, entry: Any, at: At) -> StepSpec | None:
        """The spec of a step, with what the entry says over what its function says."""
        match entry:
            case doc.UsesStep():
                function = self.code(entry.uses, (*at, "uses"))
                if function is None:
                    return None
                spec = spec_of(function)
            case doc.NotebookStep() if "#" in entry.notebook:
                function = self.code(entry.notebook, (*at, "notebook"))
                if function is None:
                    return None
                spec = spec_of(function)
            case doc.NotebookStep():
                run_notebook = find(parse_address(NOTEBOOK_STEP), self._loaded.folder)
                spec = _spec(entry.id, run_notebook(str(self._loaded.folder), entry.notebook))
            case doc.RunStep():
                spec = _spec(entry.id, RunCommand(str(self._loaded.folder), entry.cwd or ""))
            case _:
                ask = AskAgent(entry.agent_name, agent_named(entry.agent_name, self._agents))
                spec = _spec(entry.id, ask)
                if ask.is_async:
                    spec = dataclasses.replace(spec, is_async=True)
        return dataclasses.replace(spec, **self.options(entry, spec, at))

    def options(self, entry: doc.Work, spec: StepSpec, at: At) -> dict[str, Any]:
        """What the entry says of the step that its function does not say."""
        found: dict[str, Any] = {}
        retry = {key: getattr(entry, key) for key in _RETRY}
        retry |= {key: seconds(given) for key in ("delay", "cap") if (given := getattr(entry, key)) is not None}
        if entry.retry_on is not None:
            several = entry.retry_on if isinstance(entry.retry_on, list) else [entry.retry_on]
            errors = [self.code(one, (*at, "retry_on")) for one in several]
            retry["retry_on"] = tuple(errors) if isinstance(entry.retry_on, list) else errors[0]
        if any(value is not None for value in retry.values()):
            found["retry"] = (spec.retry or RetryPolicy()).changed(**retry)
        if entry.timeout is not None:
            found["timeout"] = seconds(entry.timeout)
        for key in _CODE:
            if (address := getattr(entry, key)) is not None:
                found[key] = self.code(address, (*at, key))
        if isinstance(entry.restarts, doc.Restarts):
            from wfkernel.engine.restarts import RestartPolicy

            told = entry.restarts
            found["restarts"] = RestartPolicy(
                told.max_restarts, seconds(told.within), seconds(told.delay), told.backoff
            )
        elif entry.restarts is not None:
            found["restarts"] = entry.restarts
        if entry.outputs is not None:
            found["outputs"] = Reshape(entry.outputs)
        for key in ("worker", "description"):
            if given := getattr(entry, key):
                found[key] = given
        if entry.metadata:
            found["metadata"] = entry.metadata
        return found


def _spec(id_: str, function: Any) -> StepSpec:
    """The spec of a function made here; it has no docstring of its own to show."""
    return dataclasses.replace(spec_of(function).renamed(_base(id_)), description="")


def _base(id_: str) -> str:
    """The id without the number of its use."""
    return id_.partition("#")[0]


def _nothing() -> None:
    """In place of code that was not found, so that the rest of the file can be checked."""


def _mentioned(entry: doc.Placed) -> Iterable[str]:
    """The steps the expressions of an entry refer to."""
    for text in _texts(entry.model_dump(by_alias=True)):
        for piece in expression.parts(text):
            if piece.is_expression:
                yield from (m.name for m in expression.mentions(piece.text) if m.root in ("steps", "status") and m.name)


def _texts(data: Any) -> Iterable[str]:
    if isinstance(data, str):
        if "${{" in data:
            yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)
