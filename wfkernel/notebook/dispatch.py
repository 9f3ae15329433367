"""Executing a step's body away from the main thread: in a worker, for every item of a list, or as part of a graph.

The body becomes a function whose globals hold exactly the names it reads, so steps that run at the same time cannot see
each other's names; what it binds comes back and is put into the namespace. Everything else is as for any step: it is
restored where its result holds, retried, suspended, checkpointed, and written to the same run.

An item of ``--foreach`` is a step of its own (``fetch[3]``): a crash costs the items that were not finished.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import time
from types import CodeType
from typing import TYPE_CHECKING, Any

from wfkernel.engine.failures import StepTimeout
from wfkernel.engine.script import Inputs, StepRun
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call, get_worker
from wfkernel.errors import DefinitionError, RunSuspended
from wfkernel.notebook.cellrun import checkpoint
from wfkernel.notebook.displays import display, displaying
from wfkernel.notebook.shown import Shown, keeping
from wfkernel.store.codecs import encode_names
from wfkernel.store.digest import digest_value

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session
    from wfkernel.notebook.stepline import StepLine
    from wfkernel.plan.cell import CellStep

__all__ = ["DispatchedCell", "execute_body"]

SHOW = "__wfkernel_show__"


class DispatchedCell:
    """A step cell whose body is executed by a worker."""

    def __init__(self, session: Session, step: CellStep, inputs: Inputs, run: StepRun, line: StepLine) -> None:
        self._session, self._step, self._inputs, self.run, self._line = session, step, inputs, run, line
        self._signal = CancelSignal()
        self._shown = Shown() if step.options.keep_output else None

    def execute(self) -> None:
        """Run the step and wait for it; an interrupt stops it."""
        self._session.stops.wait_for(self.run_async())

    async def run_async(self) -> None:
        """Run the step: all its items, or its body once."""
        with keeping(self._shown):
            await self._run_async()

    async def _run_async(self) -> None:
        self._line.start()
        try:
            if self._step.options.foreach is None:
                bound = await self._attempts(self.run, self._seeds())
            else:
                bound = await self._items(*self._step.options.foreach)
            checkpoint(self._session, self.run, bound, self.run.elapsed(), self._shown)
        except asyncio.CancelledError:
            self._session.stops.cut_short.append(self._line)  # its last word is said when it is noted who stopped it
            raise
        except BaseException:
            self._line.finish()
            raise
        self._line.finish()

    def _seeds(self) -> dict[str, Any]:
        values = self._session.namespace.values
        return {name: values[name] for name in self._step.names.reads if name in values}

    # -- one execution of the body -----------------------------------------------------------------------------------

    async def _attempts(self, run: StepRun, seeds: dict[str, Any]) -> dict[str, Any]:
        options = self._step.options
        worker = get_worker(options.worker or "threads")
        code = _compiled(self._step, self._session.cells[self._step.name].file)
        function = execute_async_body if code.co_flags & inspect.CO_COROUTINE else execute_body
        arguments = (code, seeds, self._step.names.binds)
        run.on_display = lambda data, metadata: self._session.shell.display_pub.publish(data=data, metadata=metadata)
        while True:
            run.start()
            call = Call(function, arguments, path=run.path, attempt=run.attempt, answers=list(run.state.answers))
            try:
                async with asyncio.timeout(options.timeout) as limit:
                    return dict(await worker.run(call, run, self._signal))
            except (RunSuspended, asyncio.CancelledError):
                raise
            except BaseException as raised:
                problem = raised
                if limit.expired():
                    problem = StepTimeout(f"step '{run.path}' took longer than {options.timeout:g} s")
                delay = run.failed(problem, options.retries, options.delay)
                if delay is None:
                    raise problem from None
            await asyncio.sleep(delay)

    # -- for every item ----------------------------------------------------------------------------------------------

    async def _items(self, name: str, expression: str) -> dict[str, Any]:
        """What the body binds for every item, as lists in the order of the items.

        The first item that fails or suspends stops new ones; those that run end first.
        """
        self.run.start()
        seeds = self._seeds()
        try:
            items = _listed(self._step.name, eval(expression, dict(seeds)))
        except Exception as error:
            self.run.fail(error)
            raise
        results: list[dict[str, Any] | None] = [None] * len(items)
        waiting = iter(enumerate(items))
        stopped: list[BaseException] = []
        finished = 0

        async def work() -> None:
            nonlocal finished
            for index, item in waiting:
                if stopped:
                    return
                try:
                    results[index] = await self._item(index, name, item, seeds)
                except BaseException as error:
                    stopped.append(error)
                    return
                finished += 1
                self.run.progress(finished, len(items), "items")

        await asyncio.gather(*(work() for _ in range(min(self._step.options.concurrency, len(items)))))
        if stopped:
            first = next((e for e in stopped if not isinstance(e, RunSuspended)), stopped[0])
            if not isinstance(first, RunSuspended):
                self.run.fail(first)
            raise first
        return {
            bound: [result.get(bound) if result else None for result in results]
            for bound in sorted(self._step.names.binds)
        }

    async def _item(self, index: int, name: str, item: Any, seeds: dict[str, Any]) -> dict[str, Any]:
        session, path = self._session, f"{self._step.name}[{index}]"
        inputs = {**self._inputs, name: {"digest": digest_value(item), "from": self._step.name}}
        if session.run.decide(path, self._step.code, inputs) == "restore":
            done = session.run.state.step(path).done
            assert done is not None
            begun = time.perf_counter()
            restored = session.decode(done["outputs"], path)
            session.run.restored(path, time.perf_counter() - begun, len(restored))
            return restored
        run = session.run.begin(path, self._step.code, inputs, [name], self._step.names.binds)
        bound = await self._attempts(run, {**seeds, name: item})
        run.succeed(encode_names(bound, session.store.blobs), run.elapsed())
        return bound


def _listed(step: str, items: Any) -> list[Any]:
    if isinstance(items, str | bytes | dict) or not hasattr(items, "__iter__"):
        raise DefinitionError(f"step '{step}': --foreach needs a list of items, not {type(items).__name__}")
    return list(items)


def _compiled(step: CellStep, file: str) -> CodeType:
    """The body as code, with its last expression shown where the body is executed."""
    statements = list(step.body.body)
    if statements and isinstance(last := statements[-1], ast.Expr):
        shown = ast.Call(ast.Name(SHOW, ast.Load()), [last.value], [])
        statements[-1] = ast.copy_location(ast.Expr(ast.copy_location(shown, last.value)), last)
    module = ast.fix_missing_locations(ast.Module(statements, step.body.type_ignores))
    code: CodeType = compile(module, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def execute_body(code: CodeType, seeds: dict[str, Any], binds: frozenset[str]) -> dict[str, Any]:
    """Execute a cell's code with `seeds` as its globals; returns what it bound of `binds`."""
    namespace = _globals(seeds)
    with displaying(code):
        exec(code, namespace)
    return _bound(namespace, binds)


async def execute_async_body(code: CodeType, seeds: dict[str, Any], binds: frozenset[str]) -> dict[str, Any]:
    """`execute_body` for a body that awaits."""
    namespace = _globals(seeds)
    with displaying(code):
        await eval(code, namespace)
    return _bound(namespace, binds)


def _globals(seeds: dict[str, Any]) -> dict[str, Any]:
    return {"__name__": "__main__", "display": display, SHOW: _show, **seeds}


def _bound(namespace: dict[str, Any], binds: frozenset[str]) -> dict[str, Any]:
    return {name: namespace[name] for name in sorted(binds) if name in namespace}


def _show(value: Any) -> None:
    """Show the body's last expression as a cell's output."""
    if value is not None:
        display(value)
