"""Undoing what finished steps did, when a later one fails the run (a saga).

Steps with ``compensate=`` are undone in the reverse order of their completion, each by a call of its compensation with
the step's output (and its input, and the error, as far as the function has parameters of these names). Every one is
recorded when it is done, so a process that dies in the middle continues with the next one on restart and repeats at most
the one it was in. A compensation that fails is recorded and the others still run. (Garcia-Molina and Salem, "Sagas", 1987.)
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import error_of
from wfkernel.engine.core import Core
from wfkernel.engine.hooks import Skip
from wfkernel.engine.values import reveal
from wfkernel.plan.retry import RetryPolicy
from wfkernel.plan.step import StepSpec

__all__ = ["compensate"]


async def compensate(core: Core, error: dict[str, Any], *, after: int = 0) -> None:
    """Undo what this run has done since its event `after`, as far as it can be undone and is not undone yet."""
    recorder = core.recorder
    state = core.state
    steps = sum(state.step(path).done_seq > after for path, _, _ in state.compensable)
    if not steps:
        return
    if state.failure is None:
        await recorder.record(ev.RUN_COMPENSATING, {"error": error, "steps": steps})
    while state.compensated < steps:
        path, given, output = state.compensable[-1 - state.compensated]
        spec: StepSpec | None = core.functions.get(path)
        output, given = reveal(output, recorder.codec), reveal(given, recorder.codec)
        verdict, _ = await core.fire("compensation.start", path, output)
        failed: Exception | None = None
        status = "success"
        if isinstance(verdict, Skip):
            status = "skipped"
        else:
            recorder.emit(ev.STEP_COMPENSATING, {"output_of": path}, path)
            try:
                if spec is None or spec.compensate is None:
                    raise LookupError(f"step '{path}' is not in the workflow any more, nothing undoes it")
                await _call(spec.compensate, spec.retry or RetryPolicy(), core, output, given, error)
            except Exception as problem:
                failed, status = problem, "failed"
        body = {"status": status, "error": error_of(failed) if failed is not None else None}
        await recorder.record(ev.STEP_COMPENSATED, body, path)
        await core.fire("compensation.finish", path, failed)


async def _call(function: Any, policy: RetryPolicy, core: Core, output: Any, given: Any, error: dict[str, Any]) -> None:
    named = {"input": given, "error": error}
    parameters = list(inspect.signature(function).parameters)
    keywords = {name: named[name] for name in parameters[1:] if name in named}
    arguments = (output,) if parameters else ()
    failures = 0
    while True:
        try:
            if inspect.iscoroutinefunction(function):
                await function(*arguments, **keywords)
            else:
                await asyncio.to_thread(function, *arguments, **keywords)
            return
        except Exception as problem:
            failures += 1
            if failures > policy.retries or not policy.applies_to(problem):
                raise
            await core.clock.sleep(policy.wait(failures))
