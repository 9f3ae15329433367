"""Executing a call in the thread one is in: what all workers but `inline` end in."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wfkernel.engine.context import running
from wfkernel.engine.signal import CancelSignal, signalled_by
from wfkernel.engine.worker import Call, StepStopped
from wfkernel.errors import DefinitionError

if TYPE_CHECKING:
    from wfkernel.engine.context import StepContext

__all__ = ["Outcome", "begin", "execute", "stopped_before"]


@dataclass(frozen=True)
class Outcome:
    """How a call ended. An outcome and not a raised exception, because futures do not take a `StopIteration`."""

    value: Any = None
    error: BaseException | None = None

    def get(self) -> Any:
        """The result; raises the exception if there was one."""
        __tracebackhide__ = True  # IPython leaves this frame out
        if self.error is not None:
            try:
                raise self.error
            finally:
                del self  # the exception's traceback holds this frame: do not let the frame hold the exception
        return self.value


def stopped_before(path: str, signal: CancelSignal) -> StepStopped:
    """The error of a call whose signal was set before it began."""
    return StepStopped(f"step '{path}' was not begun: {signal.reason or 'canceled'}")


def begin(call: Call, signal: CancelSignal) -> None:
    """To be called before the function: raises `StepStopped` when it must not begin any more."""
    if signal.is_set():
        raise stopped_before(call.path, signal)


def execute(call: Call, step: StepContext, signal: CancelSignal) -> Outcome:
    """Execute the call here and now, a coroutine on an event loop of its own."""
    try:
        begin(call, signal)
        with running(step), signalled_by(signal):
            result = call.function(*call.args, **call.kwargs)
            if inspect.isawaitable(result):
                import asyncio  # takes a third of the start of a worker process, which may never need it

                result = asyncio.run(_awaited(result))
        if inspect.isasyncgen(result) or inspect.isgenerator(result):
            raise DefinitionError(f"step '{call.path}' yields its results one by one: give it worker=\"inline\".")
    except BaseException as error:  # also RunSuspended and SystemExit, raised again by whoever awaits the call
        return Outcome(error=error)
    return Outcome(result)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result
