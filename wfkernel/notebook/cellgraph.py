"""Cells as a graph: ``%workflow run`` and ``%%workflow NAME``.

The engine's interpreter decides what runs when; each step does what its cell would do: it is restored where its result
holds, otherwise its body is executed by a worker, and its names end up in the namespace and in the notebook's run. So a
graph run and Run All are two ways through the same steps, and what one finished the other restores.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError, RunSuspended, StepWaiting
from wfkernel.plan.outline import Outline
from wfkernel.plan.step import step as make_step_function

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session
    from wfkernel.plan.cell import CellStep

__all__ = ["CellGraphs"]

WORDS: Final = ("then", "parallel", "branch", "do_while", "do_until", "sleep", "sleep_until", "add")
"""What a composition can begin with: the builder's words that make sense for steps that pass values by name."""


class CellGraphs:
    """The workflows made of a session's cells."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.composed: dict[str, Workflow] = {}
        self._beside: dict[asyncio.Task[Any], BaseException | None] = {}
        """Graph runs that no cell waits for, with what they were stopped by."""

    def by_data_flow(self, only: frozenset[str] | None = None) -> Workflow:
        """All steps of the notebook, or `only` some, each starting as soon as the steps it reads from are done."""
        steps = self._session.steps()
        if not steps:
            raise DefinitionError("there is no step to run: put `%%step NAME` on a cell's first line")
        needs = Outline(steps=steps).needs()
        graph = Workflow("notebook")
        for step in steps:
            if only is None or step.name in only:
                graph.add(self._function(step), needs=[s for s in needs[step.name] if only is None or s in only])
        return graph.commit()

    def stale(self) -> Workflow | None:
        """The steps an edit made stale, with what they need and is not finished; None where nothing is stale."""
        chosen = set(self._session.stale.find())
        if not chosen:
            return None
        steps, states = self._session.steps(), self._session.run.state.steps
        needs = Outline(steps=steps).needs()
        for step in reversed(steps):
            if step.name in chosen:
                chosen |= {n for n in needs[step.name] if n not in states or states[n].done is None}
        return self.by_data_flow(frozenset(chosen))

    def compose(self, name: str, expression: str) -> Workflow:
        """Make and keep the workflow an expression describes, for example ``then(load).parallel(clean, weather)``.

        Raises `DefinitionError` for an unknown step or anything that is not a composition.
        """
        names: dict[str, Any] = dict(self._session.namespace.values)
        names.update({word: _starter(name, word) for word in WORDS})
        names.update({step.name.replace("-", "_"): self._function(step) for step in self._session.steps()})
        names.update({other: workflow for other, workflow in self.composed.items() if other != name})
        try:
            made = eval(compile(ast.parse(expression.strip(), mode="eval"), f"<%%workflow {name}>", "eval"), names)
        except SyntaxError as error:
            raise DefinitionError(f"%%workflow {name}: not an expression: {error.msg} (line {error.lineno})") from None
        except NameError as error:
            known = ", ".join(step.name for step in self._session.steps()) or "none"
            raise DefinitionError(f"%%workflow {name}: there is no step '{error.name}'; steps: {known}") from None
        if not isinstance(made, Workflow):
            raise DefinitionError(
                f"%%workflow {name}: expected steps composed with {', '.join(WORDS)}, for example then(a).parallel(b, c)"
            )
        self.composed[name] = made.commit()
        return made

    def find(self, name: str | None) -> Workflow:
        """The composed workflow of that name, or the data flow graph for None."""
        if name is None:
            return self.by_data_flow()
        if name not in self.composed:
            known = ", ".join(self.composed) or "none"
            raise DefinitionError(f"there is no workflow '{name}': make it with %%workflow {name}. Known: {known}")
        return self.composed[name]

    def run(self, graph: Workflow) -> None:
        """Run a graph and wait for it. Raises what its first failed step raised, `RunSuspended` or `RunStopped`."""
        self._finish(self._session.stops.wait_for(graph.create_run().start(None)))

    async def run_beside(self, name: str | None) -> None:
        """`run`, on the engine's loop while cells come and go; `stop` stops it."""
        task = asyncio.current_task()
        assert task is not None
        self._beside[task] = None
        try:
            self._finish(await self.find(name).create_run().start(None))
        except asyncio.CancelledError:
            cause = self._beside[task]
            if cause is None:
                raise
            self._session.stops.note(cause)
            raise cause from None
        finally:
            del self._beside[task]

    @property
    def busy(self) -> bool:
        """Whether a graph runs beside the cells."""
        return bool(self._beside)

    def stop(self, cause: BaseException) -> bool:
        """Stop what runs beside cells, from any thread; tells whether there was anything."""
        tasks = list(self._beside)
        for task in tasks:
            self._beside[task] = cause
            task.get_loop().call_soon_threadsafe(task.cancel)
        return bool(tasks)

    def _finish(self, result: Any) -> None:
        """Turn the result of a graph run into what a cell shows."""
        state = self._session.run.state
        for step in state.suspended_steps:
            raise RunSuspended(state.run_id, step.path, step.suspension.message if step.suspension else "")
        if result.exception is not None:
            raise result.exception
        result.unwrap()

    def _function(self, step: CellStep) -> Callable[..., Any]:
        async def execute() -> None:
            try:
                await self._session.run_in_graph(step)
            except RunSuspended as suspended:
                # The notebook's run holds the suspension; here it only keeps what comes after from starting.
                raise DefinitionError(str(suspended)) from None
            except StepWaiting as waiting:
                raise DefinitionError(str(waiting)) from None

        # Inline: waiting for the worker blocks nothing. Retries and time limits are the cell's own.
        return make_step_function(id=step.name, worker="inline", retries=0)(execute)


def _starter(name: str, word: str) -> Callable[..., Workflow]:
    def start(*arguments: Any, **options: Any) -> Workflow:
        made: Workflow = getattr(Workflow(name), word)(*arguments, **options)
        return made

    return start
