"""The builder: a workflow as a chain of calls, each adding one entry.

    Definition("report", input=Order).then(load).parallel(check, price).branch((is_big, review)).commit()

It checks what can be checked without running anything, so that a mistake is told where it is made. What comes out is a
tuple of nodes (`wfkernel.plan.nodes`). The engine's `Workflow` is a `Definition` that can also run.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Self

from wfkernel.errors import DefinitionError
from wfkernel.plan.duration import Duration, seconds, timestamp
from wfkernel.plan.nodes import (
    PLAIN,
    Body,
    Branch,
    Call,
    Foreach,
    Graph,
    Loop,
    Map,
    Nested,
    Node,
    Parallel,
    Sleep,
    Step,
    Terms,
    Vertex,
)
from wfkernel.plan.retry import RetryPolicy
from wfkernel.plan.shape import Shape
from wfkernel.plan.step import checked_id, spec_of

__all__ = ["Condition", "Definition", "bodies_of", "clone_step", "placed"]

Condition = Callable[..., Any]
"""A function of the value, of the context ``ctx``, of both or of nothing."""
_UNGIVEN: Final = object()


class Definition:
    """What a workflow is. `nodes` is its flow; `input`, `output` and `state` are types or None."""

    def __init__(
        self,
        id: str,
        *,
        input: Any = None,
        output: Any = None,
        state: Any = None,
        description: str = "",
        retries: int = 0,
        delay: Duration = 0.0,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = checked_id(id)
        self.input, self.output, self.state = input, output, state
        self.input_shape = Shape(input) if input is not None else None
        self.state_shape = Shape(state) if state is not None else None
        self.description = description
        self.metadata = dict(metadata or {})
        self.vars: dict[str, Any] = {}
        """Constants that expressions see."""
        self.inline = False
        """Whether this is a part of the workflow around it: its expressions see that one's inputs and steps."""
        self.retry = RetryPolicy(retries, seconds(delay))
        self.nodes: tuple[Node, ...] = ()
        self.program: Any = None
        """What executes it where its flow is code and not nodes: a durable function."""
        self.committed = False
        self._uses: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {' > '.join(node.id for node in self.nodes) or 'empty'}>"

    def __eq__(self, other: object) -> bool:
        """Two definitions are equal if they do the same: same flow, same functions, same types."""
        if not isinstance(other, Definition):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _WHAT_IT_IS)

    def __hash__(self) -> int:
        return hash(self.id)

    # -- entries ----------------------------------------------------------------------------------------------------

    def then(
        self, step: Any, *, id: str | None = None, when: Condition | str | None = None, given: Any = _UNGIVEN,
        continue_on_error: bool = False,
    ) -> Self:  # fmt: skip
        """Run `step` (a function or a workflow) with the output of the entry before; for the rest see `placed`."""
        return self._add(self._body(_terms(step, id, when, given, continue_on_error)))

    def parallel(self, *steps: Any, fail_fast: bool = False, id: str | None = None) -> Self:
        """Run all `steps` at the same time with the same input. Output: ``{step id: output}``.

        When one fails the others still end, or are stopped at once with `fail_fast`.
        """
        arms = tuple(self._body(s) for s in _flat("parallel", steps))
        _no_twins(self.id, "parallel", [arm.id for arm in arms])
        return self._add(Parallel(self.free_id("parallel", id), arms, fail_fast))

    def branch(self, *arms: tuple[Condition, Any], id: str | None = None) -> Self:
        """Run every arm ``(condition, step)`` whose condition holds, at the same time. Output: ``{step id: output}``."""
        pairs = _flat("branch", arms)
        for arm in pairs:
            if not isinstance(arm, tuple | list) or len(arm) != 2 or not callable(arm[0]):
                raise DefinitionError(f"workflow '{self.id}': an arm of branch is (condition, step), not {arm!r}.")
        bodies = tuple((Call(condition), self._body(s)) for condition, s in pairs)
        _no_twins(self.id, "branch", [body.id for _, body in bodies])
        return self._add(Branch(self.free_id("branch", id), bodies))

    def do_while(self, step: Any, condition: Condition) -> Self:
        """Run `step` once, then again with its own output as long as `condition` holds for it."""
        return self._loop(step, condition, until=False)

    def do_until(self, step: Any, condition: Condition) -> Self:
        """Run `step` once, then again with its own output until `condition` holds for it."""
        return self._loop(step, condition, until=True)

    def _loop(self, step: Any, condition: Condition, *, until: bool) -> Self:
        if not callable(condition):
            raise DefinitionError(f"workflow '{self.id}': the condition of a loop is a function, not {condition!r}.")
        body = self._body(step)
        return self._add(Loop(body.key, body, Call(condition), until))

    def foreach(self, step: Any, *, concurrency: int | Condition = 1) -> Self:
        """Run `step` for every item of the list before it, at most `concurrency` at a time. Output: list in that order."""
        if not callable(concurrency) and (not isinstance(concurrency, int) or isinstance(concurrency, bool)):
            raise DefinitionError(
                f"workflow '{self.id}': concurrency is a whole number or a function, not {concurrency!r}."
            )
        body = self._body(step)
        return self._add(Foreach(body.key, body, Call(concurrency) if callable(concurrency) else max(1, concurrency)))

    def map(self, mapping: Condition | Mapping[str, Any], *, id: str | None = None) -> Self:
        """Make a new value: ``fn(value)``, or ``{key: source}`` (see `wfkernel.plan.sources`)."""
        id_ = self.free_id(f"mapping_{self.id}", id)
        if callable(mapping):
            return self._add(Map(id_, Call(mapping)))
        if not isinstance(mapping, Mapping):
            raise DefinitionError(f"workflow '{self.id}': map takes a function or a mapping, not {mapping!r}.")
        from wfkernel.plan.sources import compile_mapping

        return self._add(Map(id_, None, tuple(compile_mapping(mapping))))

    def sleep(self, duration: Duration | Condition, *, id: str | None = None) -> Self:
        """Pass the value on after `duration`: seconds, text like ``"2h"``, or a function that gives either."""
        amount = Call(duration) if callable(duration) else seconds(duration)
        return self._add(Sleep(self.free_id("sleep", id), amount, until=False))

    def sleep_until(self, moment: datetime | float | str | Condition, *, id: str | None = None) -> Self:
        """Pass the value on at `moment`; at once if it is past."""
        amount = Call(moment) if callable(moment) else timestamp(moment)
        return self._add(Sleep(self.free_id("sleep", id), amount, until=True))

    def add(
        self, step: Any, *, needs: Any = None, id: str | None = None, when: Condition | str | None = None,
        given: Any = _UNGIVEN, continue_on_error: bool = False, after: tuple[str, ...] = (), exclusive: bool = False,
        graph: str | None = None,
    ) -> Self:  # fmt: skip
        """Add a step to a dependency graph: it starts as soon as the steps it `needs` have ended well.

        `needs` are steps or ids; without it the step's own ``@step(needs=...)``. Consecutive calls make one graph.
        It also waits for the steps `after` names, without getting their outputs. An `exclusive` step runs only while
        nothing else of the graph does. `graph` is the id of the graph it belongs to, where one follows another. For the
        rest see `placed`.
        """
        body = self._body(_terms(step, id, when, given, continue_on_error))
        if needs is None:
            needs = body.spec.needs if isinstance(body, Step) else ()
        wanted = tuple(
            _id_of(n) for n in ([needs] if isinstance(needs, str) or not isinstance(needs, list | tuple) else needs)
        )
        vertex = Vertex(body, wanted, after, exclusive)
        last = self.nodes[-1] if self.nodes else None
        if isinstance(last, Graph) and graph in (None, last.id):
            self._open()
            self.nodes = (*self.nodes[:-1], Graph(last.id, (*last.vertices, vertex)))
            return self
        return self._add(Graph(self.free_id("graph", graph), (vertex,)))

    def _add(self, node: Node) -> Self:
        self._open()
        self.nodes = (*self.nodes, node)
        return self

    def _body(self, given: Any, id_: str | None = None) -> Body:
        body = _body(given, id_)
        number = self._uses[body.id] = self._uses.get(body.id, 0) + 1
        return dataclasses.replace(body, key=body.id if number == 1 else f"{body.id}#{number}")

    def _open(self) -> None:
        if self.committed:
            raise DefinitionError(
                f"workflow '{self.id}' is committed and can no longer be changed: use clone('new-id')."
            )

    def free_id(self, kind: str, id_: str | None = None) -> str:
        """`id_`, or a name for an entry made of `kind` and the first number that is free."""
        taken = {node.id for node in self.nodes}
        if id_ is not None:
            return checked_id(id_)
        number = 1
        while f"{kind}_{number}" in taken:
            number += 1
        return f"{kind}_{number}"

    def commit(self) -> Self:
        """Freeze the flow after checking it as a whole."""
        if self.committed:
            return self
        self.nodes = tuple(_checked_graph(self.id, n) if isinstance(n, Graph) else n for n in self.nodes)
        self.committed = True
        return self

    def clone(self, id: str) -> Self:
        """The same workflow, everything included, under another id."""
        cloned = copy.copy(self)
        cloned.id = checked_id(id)
        return cloned

    def check_runnable(self) -> None:
        """Raise `DefinitionError` unless the workflow can run."""
        if self.program is not None:
            return
        if not self.nodes:
            raise DefinitionError(
                f"Execution flow of workflow '{self.id}' is not defined. Add steps to the workflow via .then(), .branch(), etc."
            )
        if not self.committed:
            raise DefinitionError(
                f"Uncommitted step flow changes detected in workflow '{self.id}'. Call .commit() to register the steps."
            )

    def body(self, id_: str) -> Body | None:
        """The step or nested workflow of that id, wherever it stands in the flow."""
        for node in self.nodes:
            for body in bodies_of(node):
                if body.id == id_:
                    return body
        return None


_WHAT_IT_IS: Final = (
    "id",
    "nodes",
    "input",
    "output",
    "state",
    "description",
    "metadata",
    "retry",
    "vars",
    "inline",
    "program",
)


def placed(
    step: Any, *, id: str | None = None, when: Condition | str | None = None, given: Any = _UNGIVEN,
    continue_on_error: bool = False, name: str = "",
) -> Body:  # fmt: skip
    """A step or workflow on terms of its own, for every place of a flow that takes a step.

    Args:
        id: its name there.
        when: a condition, or an expression like ``"${{ inputs.month > 3 }}"``: it is skipped where this is false. In a
            sequence the value before is passed on then, elsewhere its output is None.
        given: what it gets instead of the output before: a function, or a value with ``${{ expressions }}`` in it.
        continue_on_error: whether the run goes on when it fails; its output is None then.
        name: what people read in place of the id.
    """
    body = _body(step, id)
    condition = _condition_of(when) if isinstance(when, str) else when
    if condition is not None and not callable(condition):
        raise DefinitionError(f"step '{body.id}': when= is a function or an expression, not {when!r}.")
    if given is _UNGIVEN:
        source = body.terms.given
    elif callable(given):
        source = Call(given)
    else:
        from wfkernel.plan.expression import Filled

        source = Call(Filled(given))
    terms = Terms(
        Call(condition) if condition is not None else body.terms.when,
        source,
        continue_on_error or body.terms.continue_on_error,
        name or body.terms.name,
    )
    return body if terms == PLAIN else dataclasses.replace(body, terms=terms)


def _terms(step: Any, id_: str | None, when: Any, given: Any, continue_on_error: bool) -> Body:
    return placed(step, id=id_, when=when, given=given, continue_on_error=continue_on_error)


def _condition_of(text: str) -> Condition:
    from wfkernel.plan.expression import Condition as ConditionText
    from wfkernel.plan.expression import single_expression

    source = single_expression(text)
    if source is None:
        raise DefinitionError(f"{text!r} is no condition: write a function, or one ${{{{ expression }}}}.")
    return ConditionText(source)


def bodies_of(node: Node) -> tuple[Body, ...]:
    """The steps and workflows a node runs."""
    match node:
        case Step() | Nested():
            return (node,)
        case Parallel():
            return node.arms
        case Branch():
            return tuple(body for _, body in node.arms)
        case Loop() | Foreach():
            return (node.body,)
        case Graph():
            return tuple(vertex.body for vertex in node.vertices)
        case _:
            return ()


def clone_step(function: Any, *, id: str) -> Any:
    """A step like `function`, with everything but its id."""
    spec = spec_of(function)

    def cloned(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    cloned.__wf_step__ = spec.renamed(id)  # type: ignore[attr-defined]
    cloned.__name__ = id
    return cloned


def _body(given: Any, id_: str | None = None) -> Body:
    if isinstance(given, Step | Nested):
        return given if id_ is None else dataclasses.replace(given, id=checked_id(id_))
    plan = given if isinstance(given, Definition) else getattr(given, "__wf_plan__", None)
    if isinstance(plan, Definition):
        plan.check_runnable()
        return Nested(checked_id(id_) if id_ is not None else plan.id, plan)
    spec = spec_of(given)
    return Step(checked_id(id_) if id_ is not None else spec.id, spec)


def _id_of(given: Any) -> str:
    return given if isinstance(given, str) else _body(given).id


def _flat(word: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """`f(a, b)` and `f([a, b])` mean the same."""
    if len(given) == 1 and isinstance(given[0], list):
        given = tuple(given[0])
    if not given:
        raise DefinitionError(f".{word}() needs at least one step.")
    return given


def _no_twins(workflow: str, word: str, ids: list[str]) -> None:
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            raise DefinitionError(
                f"workflow '{workflow}': two steps of {word} have the id '{id_}'. Use clone_step for one."
            )
        seen.add(id_)


def _checked_graph(workflow: str, graph: Graph) -> Graph:
    """The graph with its ends, after making sure that every need exists and nothing needs itself."""
    ids = [vertex.body.id for vertex in graph.vertices]
    _no_twins(workflow, "the graph", ids)
    needs = {vertex.body.id: (*vertex.needs, *vertex.after) for vertex in graph.vertices}
    for id_, wanted in needs.items():
        for need in wanted:
            if need not in needs:
                raise DefinitionError(
                    f"workflow '{workflow}': step '{id_}' needs '{need}', which is not in the graph. It has {', '.join(ids)}."
                )
    from wfkernel.plan.graph import circular

    if found := circular(needs):
        paths = ", and ".join(" -> ".join(circle) for circle in found.circles)
        raise DefinitionError(f"workflow '{workflow}': the steps need each other in a circle: {paths}.", found)
    needed = {need for vertex in graph.vertices for need in (*vertex.needs, *vertex.after)}
    return Graph(graph.id, graph.vertices, tuple(id_ for id_ in ids if id_ not in needed))
