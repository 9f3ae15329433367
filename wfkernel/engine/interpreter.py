"""The interpreter: walks a plan and runs what is not done yet.

A run is always walked from its beginning, also when it is resumed, restarted or taken back in time. Every step has a
path; a path whose result the run's state holds is not executed, its output is passed on at the cost of a look-up. What
branches and loops decided is kept too, so nothing is decided twice. There is therefore one way through a plan and no
separate code for "continuing".

Here are the walk and the two kinds of bodies, steps and nested workflows; each other kind of entry has a file of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.arms import run_branch, run_parallel
from wfkernel.engine.attempt import UNKNOWN, can_be_kept, execute, known_result
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import fail
from wfkernel.engine.failures import Bailed, Canceled, StepFailed, StepInputInvalid, Suspended
from wfkernel.engine.foreach import run_foreach
from wfkernel.engine.graph import run_graph
from wfkernel.engine.hooks import Replace, Retry, Skip
from wfkernel.engine.loops import run_loop
from wfkernel.engine.mapping import run_map
from wfkernel.engine.nested import Nesting
from wfkernel.engine.pipeline import is_pipeline, run_pipeline
from wfkernel.engine.scope import StateScope
from wfkernel.engine.sleeping import run_sleep
from wfkernel.engine.terms import SKIPPED, run_on_terms
from wfkernel.engine.values import reveal
from wfkernel.plan import nodes
from wfkernel.plan.builder import Definition
from wfkernel.plan.nodes import PLAIN, Body
from wfkernel.plan.shape import Misfit

__all__ = ["run_nested", "run_plan"]


async def run_plan(
    core: Core, plan: Definition, prefix: str, value: Any, scope: StateScope, outer: Frame | None = None
) -> Any:
    """Run `plan` with the input `value`; its steps' paths begin with `prefix`. Returns the output of its last entry."""
    frame = Frame(plan, prefix, value, outer)
    entries = plan.nodes
    position = 0
    while position < len(entries):
        node = entries[position]
        if core.signal.is_set():
            raise Canceled
        kind = type(node)
        if kind is nodes.Step and is_pipeline(entries, position):
            value, position = await run_pipeline(core, frame, entries, position, value, scope)
            continue
        position += 1
        if kind is nodes.Step or kind is nodes.Nested:
            path = f"{prefix}{node.key}"  # type: ignore[union-attr]
            if position == len(entries) and not prefix and core.hooks is None:
                core.last = path
            outcome = await run_body(core, frame, node, path, value, scope)  # type: ignore[arg-type]
            value = value if outcome is SKIPPED else outcome
        else:
            value = await _ENTRIES[kind](core, frame, node, value, scope, run_body)
    return value


# -- bodies ----------------------------------------------------------------------------------------------------------


def _step(
    core: Core,
    frame: Frame,
    body: nodes.Step,
    path: str,
    value: Any,
    scope: StateScope,
    iteration: int = 0,
    index: int | None = None,
) -> Coroutine[Any, Any, Any]:
    spec = core.spec(path, body.spec)
    known = known_result(core, path, iteration, scope)
    if known is not UNKNOWN:
        if spec.compensate is not None:
            core.functions[path] = spec
        return _known(known)
    return execute(core, spec, path, value, scope, frame, iteration, index)


async def _known(result: Any) -> Any:
    return result


async def run_nested(
    core: Core,
    frame: Frame,
    body: nodes.Nested,
    path: str,
    value: Any,
    scope: StateScope,
    iteration: int = 0,
    index: int | None = None,
) -> Any:
    """A workflow as a step: a bail inside ends only it, what it sets in the state is written back when it ends.

    Its input is that of its first life, with what hooks made of it.
    """
    known = core.state.steps.get(path)
    result = known_result(core, path, iteration, scope)
    if result is not UNKNOWN:
        return result
    plan = body.plan
    inner = scope.fork()
    nesting = Nesting(core, plan.program or plan, path, inner)
    output = UNKNOWN
    called_with = value
    if known is not None and known.iteration == iteration and known.started_at is not None:
        first, value = False, reveal(known.input, core.recorder.codec)
    else:
        first = True
        verdict, value = await core.fire("step.start", path, value, 1, iteration, scope)
        if isinstance(verdict, Replace | Skip):
            output = verdict.value if isinstance(verdict, Replace) else value
    problem: Misfit | StepFailed | None = None
    try:
        if output is UNKNOWN:
            checked = plan.input_shape.check(value) if core.validate and plan.input_shape is not None else value
            begun = await nesting.begin(checked, first=first)
            value, checked = (value, checked) if begun is checked else (begun, begun)
    except (Misfit, StepFailed) as refused:
        problem = refused
    if first:
        payload: dict[str, Any] = {"input": value}
        if value is not called_with:
            payload["called_with"] = called_with
        if iteration:
            payload["iteration"] = iteration
        if index is not None:
            payload["index"] = index
        core.recorder.emit(ev.STEP_START, payload, path, 1)
    if isinstance(problem, Misfit):
        fail(core, path, StepInputInvalid(problem.problems))
    if problem is not None:
        _emit_failed(core, path, problem)
        raise problem
    try:
        if output is UNKNOWN:
            output = await nesting.over(_inside(nesting.core, frame, plan, path, checked, inner))
            output = await nesting.finished(output)
    except Bailed as bailed:
        output = await nesting.finished(bailed.value)
    except StepFailed as failed:
        output = await nesting.failed(failed)
        if output is UNKNOWN:
            _emit_failed(core, path, failed)
            raise
    except (Suspended, Canceled) as halt:
        await nesting.stopped("suspended" if isinstance(halt, Suspended) else "canceled")
        raise
    _, output = await core.fire("step.finish", path, output, 1, iteration, scope, refused=frozenset({Retry}))
    payload = {"status": "success", "output": output}
    if inner.changes:
        payload["state"] = inner.changes
    await core.recorder.record(ev.STEP_RESULT, payload, path, 1)
    scope.apply(inner.changes)
    return output


def _inside(
    core: Core, frame: Frame, plan: Definition, path: str, value: Any, scope: StateScope
) -> Coroutine[Any, Any, Any]:
    """What a nested workflow does: its plan, or its code."""
    if plan.program is not None:
        return plan.program.nested(core, path, value, scope)  # type: ignore[no-any-return]
    return run_plan(core, plan, f"{path}.", value, scope, frame if plan.inline else None)


def _emit_failed(core: Core, path: str, failed: StepFailed) -> None:
    payload: dict[str, Any] = {"status": "failed", "error": failed.error}
    if core.keeps_exceptions and failed.exception is not None and can_be_kept(failed.exception):
        payload["output"] = failed.exception
    if core.is_excused(path, failed.error):
        payload["excused"] = True
    core.recorder.emit(ev.STEP_RESULT, payload, path, 1, durable=True)


def run_body(
    core: Core,
    frame: Frame,
    body: Body,
    path: str,
    value: Any,
    scope: StateScope,
    iteration: int = 0,
    index: int | None = None,
) -> Coroutine[Any, Any, Any]:
    """Run a step or nested workflow; to be awaited at once. Its output, `SKIPPED` if its terms do not let it run."""
    run: Any = _step if isinstance(body, nodes.Step) else run_nested
    if body.terms is PLAIN:
        return run(core, frame, body, path, value, scope, iteration, index)  # type: ignore[no-any-return]
    return run_on_terms(core, frame, body, path, value, scope, iteration, index, run)


_ENTRIES: Final[dict[type, Callable[..., Awaitable[Any]]]] = {
    nodes.Parallel: run_parallel,
    nodes.Branch: run_branch,
    nodes.Loop: run_loop,
    nodes.Foreach: run_foreach,
    nodes.Map: run_map,
    nodes.Sleep: run_sleep,
    nodes.Graph: run_graph,
}
