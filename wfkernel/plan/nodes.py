"""The parts a plan is made of. Pure data: the engine's interpreter gives them their meaning.

A *body* is what a control-flow node runs: a step or a whole plan. Every node has an id that is unique within its plan;
ids joined by dots, with ``[i]`` for the i-th item of a foreach, make the path under which a result is kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wfkernel.plan.step import CONTEXT_PARAMETER, StepSpec

if TYPE_CHECKING:
    from wfkernel.plan.builder import Definition

__all__ = [
    "PLAIN",
    "Body",
    "Branch",
    "Call",
    "Foreach",
    "Graph",
    "Loop",
    "Map",
    "Nested",
    "Node",
    "Parallel",
    "Sleep",
    "Step",
    "Terms",
    "Vertex",
]


class Call:
    """A user's small function (condition, map, duration): called with the value, the context, both or nothing."""

    __slots__ = ("function", "takes_context", "takes_value")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            self.takes_context, self.takes_value = False, True
        else:
            self.takes_context = CONTEXT_PARAMETER in parameters
            self.takes_value = len(parameters) > self.takes_context

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self.function == other.function

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Call({self.function!r})"

    def __call__(self, value: Any, make_context: Callable[[], Any]) -> Any:
        arguments = (value,) if self.takes_value else ()
        return self.function(*arguments, ctx=make_context()) if self.takes_context else self.function(*arguments)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a step or nested workflow runs, wherever it stands."""

    when: Call | None = None
    """It is skipped where this is false: in a sequence the value before is passed on, elsewhere its output is None."""
    given: Call | None = None
    """What it gets, made of the value before and of what else the run knows; None: the value before."""
    continue_on_error: bool = False
    """Whether the run goes on when it fails; its output is None then. A tripwire still trips."""
    name: str = ""
    """What people read in place of the id."""


PLAIN: Final = Terms()
"""No terms: compared by identity where speed counts."""


@dataclass(frozen=True, slots=True)
class Step:
    """Run a step with the output of the entry before."""

    id: str
    spec: StepSpec
    key: str = ""
    """The id as part of a path: a step used for the n-th time in a plan is ``id#n`` there."""
    terms: Terms = PLAIN


@dataclass(frozen=True, slots=True)
class Nested:
    """Run a plan as one step."""

    id: str
    plan: Definition
    key: str = ""
    terms: Terms = PLAIN


Body = Step | Nested


@dataclass(frozen=True, slots=True)
class Parallel:
    """All arms get the same input; the output is ``{arm id: output}``."""

    id: str
    arms: tuple[Body, ...]
    fail_fast: bool = False
    """Whether the first arm that fails stops the others."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Every arm whose condition holds runs; the output holds those that ran."""

    id: str
    arms: tuple[tuple[Call, Body], ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Run the body at least once, then again while the condition holds (or until it does)."""

    id: str
    body: Body
    condition: Call
    until: bool


@dataclass(frozen=True, slots=True)
class Foreach:
    """Run the body for every item of a list; the output keeps the order of the list."""

    id: str
    body: Body
    concurrency: int | Call


@dataclass(frozen=True, slots=True)
class Map:
    """Make a new value: by a function, or key by key."""

    id: str
    function: Call | None
    sources: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Sleep:
    """Pass the value on after a while, or at a point in time."""

    id: str
    amount: Any
    """Seconds, a point in time in epoch seconds, or a `Call` that gives one."""
    until: bool


@dataclass(frozen=True, slots=True)
class Vertex:
    """One step of a graph: it starts as soon as everything it needs has succeeded."""

    body: Body
    needs: tuple[str, ...]
    after: tuple[str, ...] = ()
    """Steps it waits for without getting their outputs: those its expressions refer to."""
    exclusive: bool = False
    """It runs only while nothing else of the graph does."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps with needs. A step gets the output of its one need, or ``{id: output}`` of several, or the graph's input."""

    id: str
    vertices: tuple[Vertex, ...]
    ends: tuple[str, ...] = ()
    """Ids of the steps nothing needs: their outputs are the graph's."""


Node = Step | Nested | Parallel | Branch | Loop | Foreach | Map | Sleep | Graph
