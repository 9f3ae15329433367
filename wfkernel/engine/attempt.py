"""Executing one step: validation, attempts, retries, timeout, worker, state, events. There is no other place for it.

Whoever runs steps (the interpreter, a durable function) calls `execute` and gets the step's output, or one of the `Halt`s
of `wfkernel.engine.failures`. A step whose result is known is never executed: `known_result` answers for it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from wfkernel.engine import events as ev
from wfkernel.engine.answers import answer_event, opened_answer, prepared_answers, shown_answer
from wfkernel.engine.clock import SYSTEM_CLOCK, time_limit
from wfkernel.engine.context import enter, leave
from wfkernel.engine.failures import (
    Bailed,
    Paused,
    PermanentError,
    StepFailed,
    StepInputInvalid,
    StepTimeout,
    Suspended,
    Tripwire,
)
from wfkernel.engine.hooks import Replace, Retry, Skip
from wfkernel.engine.remember import doc_once
from wfkernel.engine.restarts import RestartPolicy, WorkerDied, run_with_restarts
from wfkernel.engine.script import describe_error
from wfkernel.engine.signal import CancelSignal, signalled_by
from wfkernel.engine.state import name_of
from wfkernel.engine.step_run import StepRun
from wfkernel.engine.values import reveal
from wfkernel.engine.worker import Call, get_worker
from wfkernel.errors import RunSuspended, ValueUnreadable
from wfkernel.plan.shape import Misfit

if TYPE_CHECKING:
    from wfkernel.engine.core import Core, Frame
    from wfkernel.engine.scope import StateScope
    from wfkernel.plan.step import StepSpec

__all__ = ["UNKNOWN", "can_be_kept", "error_of", "execute", "known_result"]

UNKNOWN = object()
HOOK_RETRIES = 10
"""How often hooks may ask for one more attempt of a step."""


def known_result(core: Core, path: str, iteration: int, scope: StateScope) -> Any:
    """Output of the step if this run has executed it already, else `UNKNOWN`.

    Raises `Suspended` for a step that waits for its answer, and `StepFailed` for the failure a run is being
    compensated for.
    """
    known = core.state.steps.get(path)
    if known is None or known.iteration != iteration:
        return UNKNOWN
    core.adopt(path, scope)
    if known.status == "success":
        try:
            return reveal(known.output, core.recorder.codec)
        except ValueUnreadable:  # it could not be saved: only the process that made it had it
            return UNKNOWN
    if known.status == "suspended":
        raise Suspended([path])
    if known.status == "failed" and core.state.failure is not None and known.error is not None:
        raise StepFailed(path, known.error, None)
    return UNKNOWN


def execute(
    core: Core,
    spec: StepSpec,
    path: str,
    value: Any,
    scope: StateScope,
    frame: Frame,
    iteration: int = 0,
    index: int | None = None,
) -> Coroutine[Any, Any, Any]:
    """Run the step to its end, whatever number of attempts that takes; to be awaited at once. Gives its output."""
    if core.slots is not None or core.recorder.hub.full:
        attempts = partial(_attempts, core, spec, path, value, scope, frame, iteration, index)
        return _waiting(core, spec, path, attempts)
    _count(core, spec, path)
    return _attempts(core, spec, path, value, scope, frame, iteration, index)


def _count(core: Core, spec: StepSpec, path: str) -> None:
    """One more step begins, if the run goes on and its limits let it. Raises `Canceled`, `Paused` or `StepFailed`."""
    core.check()
    if core.hold.is_set():
        raise Paused
    for meter in core.meters:
        meter.check()
    if core.per_step:
        if core.counts.permits <= 0:
            raise Paused
        core.counts.permits -= 1
    if spec.compensate is not None:
        core.functions[path] = spec


async def _waiting(core: Core, spec: StepSpec, path: str, attempts: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """The same where a step has to wait: for who reads the run's stream, or for a place."""
    if core.recorder.hub.full:
        await core.recorder.hub.room()
    _count(core, spec, path)
    async with core.slots or nullcontext():
        core.check()
        return await attempts()


async def _attempts(
    core: Core,
    spec: StepSpec,
    path: str,
    value: Any,
    scope: StateScope,
    frame: Frame,
    iteration: int,
    index: int | None,
) -> Any:
    emit, hooks = core.recorder.emit, core.hooks
    worker = spec.worker or ("inline" if spec.is_async or spec.is_generator else core.worker)
    policy = spec.retry or frame.plan.retry
    attempt = failures = asked_by_hooks = 0
    core.counts.executing += 1
    try:
        while True:
            attempt += 1
            given, outcome = value, UNKNOWN
            if hooks is not None:
                if attempt == 1 and core.state.step(path).answers:
                    shown = [*map(shown_answer, core.state.step(path).answers)]
                    await core.fire("step.resume", path, shown, attempt, iteration, scope)
                verdict, given = await core.fire("step.start", path, value, attempt, iteration, scope)
                if isinstance(verdict, Replace | Skip):
                    outcome = verdict.value if isinstance(verdict, Replace) else given
            signal = core.signal
            if worker != "inline" or spec.timeout is not None:
                # Its own: a worker sets the signal of a call that is given up, which must not cancel the run.
                signal = CancelSignal()
            step = StepRun(core, spec, path, attempt, given, scope, frame, iteration, index, signal)
            payload: dict[str, Any] = {"input": given}
            if given is not value:
                payload["called_with"] = value
            if core.keeps_exceptions or core.recorder.codec is not None:
                digest = spec.digest()
                if core.state.codes.get(name_of(path)) != digest:  # said once, and again when it changes
                    payload["digest"] = digest
            if iteration:
                payload["iteration"] = iteration
            if index is not None:
                payload["index"] = index
            if spec.description:
                payload |= doc_once(core.state.owner, frame.plan.id, spec.id, spec.description)
            turns = core.recorder.begin(ev.STEP_START, payload, path, attempt)
            if turns is not None:
                await turns.written()
            began = time.perf_counter()
            try:
                if outcome is UNKNOWN:
                    outcome = await _call(core, spec, worker, step, given, signal)
                    if spec.outputs is not None:
                        outcome = spec.outputs(outcome)
                if hooks is not None:
                    verdict, outcome = await core.fire("step.finish", path, outcome, attempt, iteration, scope)
                    if isinstance(verdict, Retry) and asked_by_hooks < HOOK_RETRIES:
                        asked_by_hooks += 1
                        emit(ev.STEP_RETRY, {"error": {"type": "HookRetry", "message": "a hook asked for it"}, "delay": verdict.delay}, path, attempt)  # fmt: skip
                        await core.sleep(verdict.delay)
                        continue
            except RunSuspended:
                if hooks is not None:
                    verdict, _ = await core.fire(
                        "step.suspend", path, core.state.step(path).suspend_payload, attempt, iteration, scope
                    )
                    if isinstance(verdict, Replace):
                        known = core.state.step(path)
                        schema = known.suspension.schema if known.suspension is not None else {}
                        answer = answer_event(len(known.answers), verdict.value, "hook", schema)
                        emit(ev.STEP_RESUMED, answer, path, attempt)
                        continue
                if step.changes:
                    scope.apply(step.changes)
                raise Suspended([path]) from None
            except Bailed as bailed:
                await _succeed(core, step, bailed.value, began, scope)
                raise
            except (Exception, SystemExit) as error:
                if hooks is not None:
                    verdict, _ = await core.fire("step.error", path, error, attempt, iteration, scope)
                    if isinstance(verdict, Replace | Skip):
                        outcome = verdict.value if isinstance(verdict, Replace) else given
                        await _succeed(core, step, outcome, began, scope)
                        return outcome
                    if isinstance(verdict, Retry) and asked_by_hooks < HOOK_RETRIES:
                        asked_by_hooks += 1
                        emit(ev.STEP_RETRY, {"error": describe_error(error), "delay": verdict.delay}, path, attempt)
                        await core.sleep(verdict.delay)
                        continue
                failures += 1
                repeatable = _may_retry(policy, error)  # once for each failure: it may ask a function of the user's
                if repeatable and failures <= policy.retries and not core.signal.is_set():
                    delay = policy.wait(failures)
                    emit(ev.STEP_RETRY, {"error": error_of(error), "delay": delay}, path, attempt)
                    if delay:
                        await core.sleep(delay)
                    continue
                described = error_of(error)
                if not repeatable:
                    described["retryable"] = False
                failed: dict[str, Any] = {
                    "status": "failed", "error": described, "duration": round(time.perf_counter() - began, 6),
                }  # fmt: skip
                if core.is_excused(path, described):
                    failed["excused"] = True
                if core.keeps_exceptions and can_be_kept(error):
                    failed["output"] = error
                await core.recorder.record(ev.STEP_RESULT, failed, path, attempt)
                raise StepFailed(path, described, error) from None
            await _succeed(core, step, outcome, began, scope)
            if hooks is not None:
                await core.fire("checkpoint", path, outcome, attempt, iteration, scope)
            return outcome
    finally:
        core.counts.executing -= 1


async def _succeed(core: Core, step: StepRun, outcome: Any, began: float, scope: StateScope) -> None:
    payload = {"status": "success", "output": outcome, "duration": round(time.perf_counter() - began, 6)}
    if step.changes:
        payload["state"] = step.changes
    if step.spec.compensate is not None:
        payload["compensate"] = True
    try:
        if step.spec.repeatable or step.path == core.last:
            core.recorder.emit(ev.STEP_RESULT, payload, step.path, step.attempt, durable=True, sync=False)
        else:
            await core.recorder.record(ev.STEP_RESULT, payload, step.path, step.attempt)
    except Exception as error:  # the store cannot keep this value
        described = error_of(error)
        body = {"status": "failed", "error": described}
        await core.recorder.record(ev.STEP_RESULT, body, step.path, step.attempt)
        raise StepFailed(step.path, described, error) from None
    if step.changes:
        scope.apply(step.changes)


def can_be_kept(error: BaseException) -> bool:
    """Whether the exception survives pickling, to be raised again in a later life of the run."""
    import pickle

    try:
        return isinstance(pickle.loads(pickle.dumps(error)), type(error))
    except Exception:
        return False


def _may_retry(policy: Any, error: BaseException) -> bool:
    return not isinstance(error, PermanentError | WorkerDied) and policy.applies_to(error)


def _call(
    core: Core, spec: StepSpec, worker: str, step: StepRun, value: Any, signal: CancelSignal
) -> Coroutine[Any, Any, Any]:
    """Call the step's function; to be awaited at once."""
    try:
        args, kwargs = spec.bind(value, validate=core.validate)
    except Misfit as misfit:
        raise StepInputInvalid(misfit.problems) from None
    if spec.takes_context:
        kwargs["ctx"] = step
    call = _on_worker(core, spec, worker, step, args, kwargs, signal)
    return call if signal is core.signal else _signalled(core, spec, worker, step, signal, call)


async def _signalled(
    core: Core, spec: StepSpec, worker: str, step: StepRun, signal: CancelSignal, call: Coroutine[Any, Any, Any]
) -> Any:
    """`call` with a signal of its own, and within the step's time."""
    with core.signal.listening(lambda: signal.set(core.signal.reason)), signalled_by(signal):
        if spec.timeout is None:
            return await call
        try:
            # Work in threads and processes takes real time whatever the run's clock is, and so does its limit.
            async with time_limit(core.clock if worker == "inline" else SYSTEM_CLOCK, spec.timeout) as deadline:
                return await call
        except TimeoutError:
            if not deadline.expired():
                raise  # the step's own TimeoutError
            signal.set(f"timed out after {spec.timeout:g} s")
            raise StepTimeout(f"step '{step.path}' took longer than its timeout of {spec.timeout:g} s") from None


async def _on_worker(
    core: Core,
    spec: StepSpec,
    worker: str,
    step: StepRun,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    signal: CancelSignal,
) -> Any:
    if worker == "inline":
        # The same as the worker of that name, without its ceremony: this is the path whose cost matters.
        token = enter(step)
        try:
            outcome = spec.function(*args, **kwargs)
            if spec.is_async or inspect.isawaitable(outcome):
                return await outcome
            if spec.is_generator:
                return [item async for item in outcome]
            return outcome
        finally:
            leave(token)
    answers = [opened_answer(step.path, kept) for kept in core.state.step(step.path).answers]
    if worker != "threads":  # where the step itself cannot ask for them
        answers += prepared_answers(step.path)[len(answers) :]
    call = Call(
        spec.function, args, kwargs, step.path, step.attempt, answers, step.environment() if worker != "threads" else {}
    )
    token = enter(step)
    try:
        if worker == "threads":
            return await get_worker(worker).run(call, step, signal)
        return await _restarted(core, spec, worker, call, step, signal)
    finally:
        leave(token)


async def _restarted(core: Core, spec: StepSpec, worker: str, call: Call, step: StepRun, signal: CancelSignal) -> Any:
    """Run the call where it may take a process down, as often as the step's policy says."""
    policy = spec.restarts if isinstance(spec.restarts, RestartPolicy) else RestartPolicy(spec.restarts)

    def died(error: WorkerDied, delay: float | None) -> None:
        payload = {"error": describe_error(error), "exit_code": error.exit_code, "signal": error.signal,
                   "last_output": error.last_output, "delay": delay}  # fmt: skip
        core.recorder.emit(ev.STEP_DIED, payload, step.path, step.attempt)

    return await run_with_restarts(get_worker(worker), call, step, signal, policy, clock=core.clock, on_death=died)


def error_of(error: BaseException) -> dict[str, Any]:
    """JSON form of an exception: type, message, traceback, cause chain; tripwires and validation problems typed."""
    described = describe_error(error, depth=19)
    if isinstance(error, Tripwire):
        described["tripwire"] = {"reason": error.reason, "retry": error.retry, "metadata": error.metadata}
    elif isinstance(error, StepInputInvalid):
        described["issues"] = [list(problem) for problem in error.problems]
    return described
