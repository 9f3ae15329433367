"""What can be said about a graph of steps by looking at it: unknown needs, circles, batches.

Execution knows no batches: a step starts as soon as what it needs is done (see `wfkernel.engine`). Batches are for
people: which steps could run at the same time if all took equally long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

__all__ = ["Circular", "batches", "circular", "find_circle", "width"]

Needs = Mapping[str, Sequence[str]]
"""step -> the steps it needs"""
MOST_CIRCLES: Final = 10
"""That are told of one graph: who mends ten has seen the pattern."""


@dataclass(frozen=True, slots=True)
class Circular:
    """A graph whose steps need each other. An error carries it, so that who shows the error can draw it."""

    needs: dict[str, list[str]]
    circles: tuple[tuple[str, ...], ...]
    """Paths along `needs` from a step back to itself."""


def circular(needs: Needs) -> Circular | None:
    """The circles of a graph, None if there are none. Where circles share a step that needs another, one of them is told."""
    graph = {step: list(dict.fromkeys(needed)) for step, needed in needs.items()}
    left = {step: list(needed) for step, needed in graph.items()}
    circles: list[tuple[str, ...]] = []
    while len(circles) < MOST_CIRCLES and (circle := find_circle(left)):
        circles.append(tuple(circle))
        left[circle[-2]].remove(circle[-1])
    return Circular(graph, tuple(circles)) if circles else None


def find_circle(needs: Needs) -> list[str]:
    """A path along `needs` from a step back to itself, empty if there is none: ``[a, b, a]`` where a needs b and b a."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle[::-1]  # graphlib gives predecessors first
    return []


def batches(needs: Needs) -> list[list[str]]:
    """The steps in batches: each holds what needs only steps of batches before it, in the order given.

    Raises `graphlib.CycleError` if there is a circle.
    """
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    order = {id_: position for position, id_ in enumerate(needs)}
    found = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda id_: order.get(id_, len(order)))
        found.append(ready)
        sorter.done(*ready)
    return found


def width(needs: Needs) -> int:
    """Of the largest batch."""
    return max((len(batch) for batch in batches(needs)), default=0)
