"""The outline of a notebook: which steps it has, in which order, and what is wrong with them, without running anything.

A notebook runs from top to bottom, so a name a step reads comes from the nearest cell above that binds it. What no cell
above can give is a mistake that is better told before an hour of work than after it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wfkernel.errors import DefinitionError
from wfkernel.plan.analyse import analyse
from wfkernel.plan.cell import CellStep, parse_cell, to_python
from wfkernel.plan.graph import Circular

__all__ = ["Outline", "find_cycle", "outline", "outline_of", "unordered_needs"]

# Magics that may bind names nobody can see in the source.
_OPAQUE_MAGIC: Final = re.compile(
    r"^\s*%(run|pylab|store|macro|load|edit|bookmark)\b|^\s*%%(?!time\b|timeit\b|step\b)", re.M
)


@dataclass(slots=True)
class Outline:
    """What can be said about a notebook's cells by reading them."""

    steps: list[CellStep] = field(default_factory=list)
    plain: dict[str, list[int]] = field(default_factory=dict)
    """name -> indices of the cells that are not steps and bind it."""
    opaque: bool = False
    """Some cell may bind names that cannot be seen (a star import, ``%run``): missing names prove nothing."""
    problems: list[str] = field(default_factory=list)
    circles: list[list[str]] = field(default_factory=list)
    """Paths from a step back to itself, of steps that read from each other."""

    def check_circles(self) -> None:
        """Raise `DefinitionError`, with their graph, where steps need each other."""
        if self.circles:
            paths = ", and ".join(" -> ".join(circle) for circle in self.circles)
            graph = Circular(unordered_needs(self.steps), tuple(map(tuple, self.circles)))
            raise DefinitionError(f"the steps need each other: {paths}", graph)

    def step(self, name: str) -> CellStep | None:
        return next((step for step in self.steps if step.name == name), None)

    def binders(self, name: str) -> list[CellStep]:
        """The steps that bind `name` or store into it, in order."""
        return [s for s in self.steps if name in s.names.binds or name in s.names.stores]

    def needs(self) -> dict[str, list[str]]:
        """step -> the steps whose values it reads, each name from the nearest step above that binds it."""
        graph: dict[str, list[str]] = {}
        last: dict[str, str] = {}
        for step in self.steps:
            wanted = {last[name] for name in step.names.reads if name in last}
            graph[step.name] = sorted(wanted - {step.name})
            last.update(dict.fromkeys(step.names.binds | step.names.stores, step.name))
        return graph


def outline_of(cells: Iterable[Mapping[str, Any]]) -> Outline:
    """The outline of a notebook given its cells, each with ``cell_type`` and its ``source`` as one text."""
    return outline([cell["source"] if cell["cell_type"] == "code" else None for cell in cells])


def outline(sources: Sequence[str | None]) -> Outline:
    """The outline of a notebook given the source of every cell, None for cells that are not code."""
    result = Outline()
    first_at: dict[str, CellStep] = {}
    for position, source in enumerate(sources):
        if not source:
            continue
        try:
            step = parse_cell(source, position)
        except DefinitionError as error:
            result.problems.append(f"cell {position + 1}: {error}")
            result.opaque = True
            continue
        if step is None:
            _read_plain(result, source, position)
        elif step.name in first_at:
            other = first_at[step.name].position + 1
            result.problems.append(
                f"cell {position + 1}: there are two steps named '{step.name}' (cells {other} and {position + 1}): rename one"
            )
        else:
            first_at[step.name] = step
            result.steps.append(step)
    _check_names(result)
    return result


def _read_plain(result: Outline, source: str, position: int) -> None:
    if _OPAQUE_MAGIC.search(source):
        result.opaque = True
    try:
        names = analyse(ast.parse(to_python(source)))
    except (SyntaxError, DefinitionError):  # a star import, another language: it may bind anything
        result.opaque = True
        return
    for name in names.binds:
        result.plain.setdefault(name, []).append(position)


def _check_names(result: Outline) -> None:
    available: set[str] = set()
    positions = {name: at[0] for name, at in result.plain.items()}
    for step in result.steps:
        for name in sorted(step.names.needs - available):
            if positions.get(name, step.position) < step.position:
                continue
            later = [s for s in result.binders(name) if s.position > step.position]
            if later:
                # As if order did not matter: does the step that binds the name read, in the end, from this one?
                cycle = find_cycle(unordered_needs(result.steps), step.name)
                if cycle:
                    result.circles.append(cycle)
                    result.problems.append(f"{step.label}: the steps need each other: {' -> '.join(cycle)}")
                else:
                    result.problems.append(
                        f"{step.label} reads '{name}', which is bound only further down, by {later[0].label}: "
                        "move that cell up"
                    )
            elif name in positions and positions[name] > step.position:
                result.problems.append(
                    f"{step.label} reads '{name}', which is bound only further down, in cell {positions[name] + 1}: "
                    "move that cell up"
                )
            elif not result.opaque:
                result.problems.append(
                    f"{step.label} reads '{name}', which no step or cell defines: define it, or list what the step "
                    "reads with --in"
                )
        available |= step.names.binds


def unordered_needs(steps: Iterable[CellStep]) -> dict[str, list[str]]:
    binders: dict[str, list[str]] = {}
    steps = list(steps)
    for step in steps:
        for name in step.names.binds:
            binders.setdefault(name, []).append(step.name)
    return {
        step.name: sorted({b for name in step.names.reads for b in binders.get(name, ()) if b != step.name})
        for step in steps
    }


def find_cycle(needs: dict[str, list[str]], start: str) -> list[str]:
    """A path from `start` back to itself along `needs`, or an empty list."""
    path: list[str] = []
    seen: set[str] = set()

    def walk(node: str) -> bool:
        path.append(node)
        for needed in needs.get(node, ()):
            if needed == start:
                path.append(start)
                return True
            if needed not in seen:
                seen.add(needed)
                if walk(needed):
                    return True
        path.pop()
        return False

    return path if walk(start) else []
