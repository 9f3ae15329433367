"""The `inline` worker: the function runs on the event loop itself.

The cheapest worker, right for coroutines and for functions that return at once. A function that computes or blocks for
longer keeps everything else on the loop waiting: give it `threads` or `processes`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from wfkernel.engine.context import running
from wfkernel.engine.signal import CancelSignal, signalled_by
from wfkernel.engine.worker import Call
from wfkernel.workers.execute import begin

if TYPE_CHECKING:
    from wfkernel.engine.context import StepContext

__all__ = ["InlineWorker"]


class InlineWorker:
    """Calls functions and awaits coroutines in the task it is awaited in."""

    name = "inline"

    async def run(self, call: Call, step: StepContext, signal: CancelSignal) -> Any:
        """See `Worker.run`. An (async) generator is returned as it is, for the engine to stream from."""
        begin(call, signal)
        with running(step), signalled_by(signal):
            result = call.function(*call.args, **call.kwargs)
            if inspect.isawaitable(result):
                result = await result
        return result

    async def close(self) -> None:
        """Nothing to free."""
