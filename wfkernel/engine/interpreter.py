"""The interpreter: walks a plan and runs what is not done yet.

A run is always walked from its beginning, also when it is resumed, restarted or taken back in time. Every step has a
path; a path whose result the run's state holds is not executed, its output is passed on at the cost of a look-up. What
branches and loops decided is kept too, so nothing is decided twice. There is therefore one way through a plan and no
separate code for "continuing".

Entries that run several things at once wait for all of them; then the most serious outcome counts: canceled, failed,
bailed, suspended, sleeping, paused, success.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import UNKNOWN, error_of, execute, known_result
from wfkernel.engine.core import Core, Frame, MapScope
from wfkernel.engine.failures import (
    Bailed,
    Canceled,
    Halt,
    IterationLimit,
    Parked,
    Paused,
    StateConflict,
    StepFailed,
    StepInputInvalid,
    Suspended,
)
from wfkernel.engine.hooks import Replace, Skip
from wfkernel.engine.pipeline import is_pipeline, run_pipeline
from wfkernel.engine.scope import StateScope, merge
from wfkernel.engine.step_run import ConditionContext
from wfkernel.engine.values import reveal
from wfkernel.plan import nodes
from wfkernel.plan.builder import Definition
from wfkernel.plan.duration import seconds, timestamp
from wfkernel.plan.nodes import Body, Call
from wfkernel.plan.shape import Misfit
from wfkernel.plan.sources import UserFunction
from wfkernel.plan.step import code_differs

__all__ = ["SEVERITY", "run_nested", "run_plan", "sleep_until"]

SEVERITY: Final[tuple[type[BaseException], ...]] = (Canceled, StepFailed, Bailed, Suspended, Parked, Paused)


async def run_plan(core: Core, plan: Definition, prefix: str, value: Any, scope: StateScope) -> Any:
    """Run `plan` with the input `value`; its steps' paths begin with `prefix`. Returns the output of its last entry."""
    frame = Frame(plan, prefix, value)
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
        if kind is nodes.Step:
            value = await _step(core, frame, node, f"{prefix}{node.key}", value, scope)  # type: ignore[union-attr,arg-type]
        else:
            value = await _ENTRIES[kind](core, frame, node, value, scope)
    return value


# -- bodies ----------------------------------------------------------------------------------------------------------


async def _step(
    core: Core,
    frame: Frame,
    body: nodes.Step,
    path: str,
    value: Any,
    scope: StateScope,
    iteration: int = 0,
    index: int | None = None,
) -> Any:
    known = known_result(core, path, iteration, scope)
    if known is not UNKNOWN:
        if body.spec.compensate is not None:
            core.functions[path] = body.spec
        digest = core.state.steps[path].digest
        if digest and code_differs(digest, body.spec.digest()):  # told, and its recorded result counts
            changes = [{"step": path, "what": "code"}]
            core.recorder.emit(ev.RUN_DRIFT, {"changes": changes, "policy": "continue"})
        return known
    return await execute(core, body.spec, path, value, scope, frame, iteration, index)


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
    """A workflow as a step: a bail inside ends only it, what it sets in the state is written back when it ends."""
    known = core.state.steps.get(path)
    result = known_result(core, path, iteration, scope)
    if result is not UNKNOWN:
        return result
    emit = core.recorder.emit
    if known is None or known.iteration != iteration or known.started_at is None:
        await core.fire("step.start", path, value, 1, iteration, scope)
        payload: dict[str, Any] = {"input": value}
        if iteration:
            payload["iteration"] = iteration
        if index is not None:
            payload["index"] = index
        emit(ev.STEP_START, payload, path, 1)
    inner = scope.fork()
    try:
        if core.validate and body.plan.input_shape is not None:
            value = body.plan.input_shape.check(value)
        output = await run_plan(core, body.plan, f"{path}.", value, inner)
    except Misfit as misfit:
        described = error_of(StepInputInvalid(misfit.problems))
        emit(ev.STEP_RESULT, {"status": "failed", "error": described}, path, 1, durable=True)
        raise StepFailed(path, described, StepInputInvalid(misfit.problems)) from None
    except Bailed as bailed:
        output = bailed.value
    except StepFailed as failed:
        emit(ev.STEP_RESULT, {"status": "failed", "error": failed.error}, path, 1, durable=True)
        raise
    _, output = await core.fire("step.finish", path, output, 1, iteration, scope)
    payload = {"status": "success", "output": output}
    if inner.changes:
        payload["state"] = inner.changes
    emit(ev.STEP_RESULT, payload, path, 1, durable=True)
    scope.apply(inner.changes)
    return output


def _run_body(
    core: Core,
    frame: Frame,
    body: Body,
    path: str,
    value: Any,
    scope: StateScope,
    iteration: int = 0,
    index: int | None = None,
) -> Coroutine[Any, Any, Any]:
    run = _step if isinstance(body, nodes.Step) else run_nested
    return run(core, frame, body, path, value, scope, iteration, index)  # type: ignore[arg-type]


async def _nested_entry(core: Core, frame: Frame, node: nodes.Nested, value: Any, scope: StateScope) -> Any:
    return await run_nested(core, frame, node, f"{frame.prefix}{node.key}", value, scope)


# -- several at once ---------------------------------------------------------------------------------------------------


async def _outcome(work: Awaitable[Any]) -> tuple[Halt | None, Any]:
    try:
        return None, await work
    except Halt as halt:
        return halt, None


async def _all(core: Core, work: Sequence[Coroutine[Any, Any, Any]], *, fail_fast: bool = False) -> list[Any]:
    """The results of all of `work`, run at the same time; raises the most serious `Halt` once all have ended."""
    if core.per_step:  # one step is to be executed: in order, the first that is not done
        outcomes = [await _outcome(one) for one in work]
    else:
        tasks = [asyncio.ensure_future(_outcome(one)) for one in work]
        try:
            if fail_fast:
                await _until_one_fails(tasks)
            outcomes = [await task for task in tasks]
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
    _raise_most_serious([halt for halt, _ in outcomes if halt is not None])
    return [value for _, value in outcomes]


async def _until_one_fails(tasks: list[asyncio.Task[tuple[Halt | None, Any]]]) -> None:
    """Wait for all tasks. Raises the first `StepFailed` as soon as it is there."""
    for task in asyncio.as_completed(tasks):
        halt, _ = await task
        if isinstance(halt, StepFailed):
            raise halt


def _raise_most_serious(halts: list[Halt]) -> None:
    if not halts:
        return
    for kind in SEVERITY:
        same = [halt for halt in halts if isinstance(halt, kind)]
        if not same:
            continue
        if kind is Suspended:
            raise Suspended([path for halt in same for path in halt.paths])  # type: ignore[attr-defined]
        if kind is Parked:
            raise Parked(min(halt.wake_at for halt in same))  # type: ignore[attr-defined]
        raise same[0]


async def _arms(
    core: Core,
    frame: Frame,
    id_: str,
    arms: Sequence[Body],
    value: Any,
    scope: StateScope,
    joined: str,
    *,
    fail_fast: bool = False,
) -> Any:
    """Run arms at the same time, each on a state of its own, and merge what they set."""
    scopes = [scope.fork() for _ in arms]
    outputs = await _all(
        core,
        [
            _run_body(core, frame, arm, f"{frame.prefix}{arm.key}", value, own)
            for arm, own in zip(arms, scopes, strict=True)
        ],
        fail_fast=fail_fast,
    )
    live = joined not in core.state.decisions
    _merge(core, joined, [(arm.id, own.changes) for arm, own in zip(arms, scopes, strict=True)], scope, tell=live)
    if live:
        core.recorder.emit(ev.PARALLEL_JOINED, {"arms": [arm.id for arm in arms]}, joined)
    output: Any = {arm.id: found for arm, found in zip(arms, outputs, strict=True)}
    _, output = await core.fire("parallel.join", f"{frame.prefix}{id_}", output, scope=scope)
    return output


def _merge(core: Core, path: str, arms: list[tuple[str, dict[str, Any]]], scope: StateScope, *, tell: bool) -> None:
    if not any(changes for _, changes in arms):
        return
    try:
        changes, conflicts = merge(arms, core.conflict)
    except StateConflict as error:
        raise StepFailed(path, error_of(error), error) from None
    if tell:
        for key, values, chosen in conflicts:
            rule = core.conflict if isinstance(core.conflict, str) else "function"
            body = {"key": key, "arms": list(values), "rule": rule, "values": {**values, "merged": chosen}}
            core.recorder.emit(ev.STATE_CONFLICT, body, path)
    scope.apply(changes)


async def _parallel(core: Core, frame: Frame, node: nodes.Parallel, value: Any, scope: StateScope) -> Any:
    path = f"{frame.prefix}{node.id}"
    arms = await _chosen(core, "parallel.fork", path, node.arms, scope)
    return await _arms(core, frame, node.id, arms, value, scope, f"{path}:joined", fail_fast=node.fail_fast)


async def _chosen(core: Core, point: str, path: str, arms: Sequence[Body], scope: StateScope) -> list[Body]:
    verdict, ids = await core.fire(point, path, [arm.id for arm in arms], scope=scope)
    return [arm for arm in arms if arm.id in ids] if verdict is None else list(arms)


async def _branch(core: Core, frame: Frame, node: nodes.Branch, value: Any, scope: StateScope) -> Any:
    path = f"{frame.prefix}{node.id}"
    chosen = core.state.decisions.get(path)
    if chosen is None:
        context = ConditionContext(core, scope, frame, value)
        verdicts = await asyncio.gather(
            *(_ask(condition, value, context) for condition, _ in node.arms), return_exceptions=True
        )
        problems = {}
        chosen = []
        for (_, body), verdict in zip(node.arms, verdicts, strict=True):
            if isinstance(verdict, Exception):  # a condition that raises does not hold
                problems[body.id] = error_of(verdict)
            elif isinstance(verdict, BaseException):
                raise verdict
            elif verdict:
                chosen.append(body.id)
        target = core.target
        if target is not None and any(f"{frame.prefix}{b.key}" == target and b.id in chosen for _, b in node.arms):
            chosen = [body.id for _, body in node.arms if f"{frame.prefix}{body.key}" == target]
        _, chosen = await core.fire("branch", path, chosen, scope=scope)
        core.recorder.emit(ev.BRANCH_SELECTED, {"arms": list(chosen), "problems": problems}, path)
    arms = [body for _, body in node.arms if body.id in chosen]
    return await _arms(core, frame, node.id, arms, value, scope, f"{path}:joined")


async def _ask(call: Call, value: Any, context: ConditionContext) -> Any:
    found = call(value, lambda: context)
    return await found if inspect.isawaitable(found) else found


async def _foreach(core: Core, frame: Frame, node: nodes.Foreach, value: Any, scope: StateScope) -> Any:
    path = f"{frame.prefix}{node.id}"
    known = known_result(core, path, 0, scope)
    if known is not UNKNOWN:
        return known
    emit, steps = core.recorder.emit, core.state.steps
    if path not in steps or steps[path].started_at is None:
        emit(ev.STEP_START, {"input": value}, path, 1)
    if not isinstance(value, list | tuple):
        error = StepInputInvalid([("", f"foreach takes a list, not {type(value).__name__}")])
        _fail(core, path, error)
    width = node.concurrency
    if isinstance(width, Call):
        context = ConditionContext(core, scope, frame, value)
        try:
            width = int(await _ask(width, value, context))
        except (ValueError, OverflowError, TypeError):
            width = 1
    own = scope.fork()
    outputs: list[Any] = [None] * len(value)
    halts: list[Halt] = []
    done = _finished_items(core, path, own)
    queue = iter(range(len(value)))
    counted = len(done)

    async def item(index: int) -> None:
        nonlocal counted
        item_path = f"{path}[{index}]"
        if index in done:
            outputs[index] = reveal(steps[item_path].output, core.recorder.codec)
            return
        status = "success"
        try:
            verdict, given = await core.fire("iteration.start", item_path, value[index], 1, index + 1, own)
            if isinstance(verdict, Replace | Skip):
                outputs[index] = verdict.value if isinstance(verdict, Replace) else given
            else:
                outputs[index] = await _run_body(core, frame, node.body, item_path, given, own, 0, index)
            _, outputs[index] = await core.fire("iteration.finish", item_path, outputs[index], 1, index + 1, own)
        except Halt as halt:
            halts.append(halt)
            status = "suspended" if isinstance(halt, Suspended) else "failed"
            if not isinstance(halt, Suspended | StepFailed):
                return
        else:
            counted += 1
        progress = {"done": counted, "total": len(value), "label": "", "index": index, "status": status}
        if status == "success":
            progress["output"] = outputs[index]
        emit(ev.STEP_PROGRESS, progress, path, 1)

    async def take(first: int) -> None:
        await item(first)
        for index in queue:
            if halts:  # nothing new begins, what is under way ends
                return
            await item(index)

    waiting = [index for index in range(len(value)) if _is_suspended(core, f"{path}[{index}]")]
    if waiting:  # on a resume every item that can go on does, before the run suspends again
        queue = iter([index for index in range(len(value)) if index not in set(waiting)])
    slots = max(1, min(width, len(value)))
    under_way = [index for _, index in zip(range(1 if core.per_step else slots), queue, strict=False)]
    if len(under_way) == 1:
        await take(under_way[0])
    elif under_way:
        await _all(core, [take(first) for first in under_way])
    for index in waiting:
        halts.append(Suspended(_suspended_below(core, f"{path}[{index}]")))
    failed = next((halt for halt in halts if isinstance(halt, StepFailed)), None)
    if failed is not None:
        emit(ev.STEP_RESULT, {"status": "failed", "error": failed.error}, path, 1, durable=True)
    _raise_most_serious(halts)
    _, outputs = await core.fire("loop.finish", path, outputs, scope=own)
    payload: dict[str, Any] = {"status": "success", "output": outputs}
    if own.changes:
        payload["state"] = own.changes
    emit(ev.STEP_RESULT, payload, path, 1, durable=True)
    scope.apply(own.changes)
    return outputs


def _finished_items(core: Core, path: str, scope: StateScope) -> set[int]:
    """Which items are done; what they set is applied in the order in which they ended."""
    finished = [
        core.state.steps[child]
        for child in core.state.children.get(path, ())
        if child.endswith("]") and child in core.state.steps and core.state.steps[child].status == "success"
    ]
    for step in sorted(finished, key=lambda step: step.done_seq):
        core.adopt(step.path, scope)
    return {int(step.path[len(path) + 1 : -1]) for step in finished}


def _is_suspended(core: Core, path: str) -> bool:
    return bool(_suspended_below(core, path))


def _suspended_below(core: Core, path: str) -> list[str]:
    """The suspended steps at or inside `path`, none if one inside it has been answered and can go on."""
    found: list[str] = []
    steps = core.state.steps
    pending = [path]
    while pending:
        at = pending.pop()
        step = steps.get(at)
        if step is not None and step.status == "suspended":
            found.append(at)
        elif step is not None and step.status == "pending" and step.answers:
            return []
        pending.extend(core.state.children.get(at, ()))
    return found


# -- loops -------------------------------------------------------------------------------------------------------------


async def _loop(core: Core, frame: Frame, node: nodes.Loop, value: Any, scope: StateScope) -> Any:
    path = f"{frame.prefix}{node.id}"
    known = core.state.steps.get(path)
    decided = core.state.decisions.get(path, (0, True))
    iteration, again = decided[0], decided[1]
    if known is not None and iteration:
        core.adopt(path, scope)
        value = (
            reveal(known.output, core.recorder.codec)
            if known.iteration == iteration
            else reveal(known.input, core.recorder.codec)
        )
    limit = core.limits.iterations
    hooked = core.hooks is not None
    while again:
        core.check()
        iteration += 1
        if limit is not None and iteration > limit:
            _fail(core, path, IterationLimit(f"the loop over '{path}' went round {limit} times, its limit."))
        outcome: Any = UNKNOWN
        if hooked:
            verdict, value = await core.fire("iteration.start", path, value, 1, iteration, scope)
            if isinstance(verdict, Replace | Skip):
                outcome = verdict.value if isinstance(verdict, Replace) else value
        if outcome is UNKNOWN:
            outcome = await _run_body(core, frame, node.body, path, value, scope, iteration)
        value = outcome
        if hooked:
            _, value = await core.fire("iteration.finish", path, value, 1, iteration, scope)
        core.check()
        try:
            verdict = await _ask(node.condition, value, ConditionContext(core, scope, frame, value, iteration))
        except Exception as error:
            raise StepFailed(path, error_of(error), error) from None
        again = not verdict if node.until else bool(verdict)
        core.recorder.emit(ev.STEP_ITERATION, {"iteration": iteration, "again": again}, path)
    if hooked:
        _, value = await core.fire("loop.finish", path, value, 1, iteration, scope)
    return value


def _fail(core: Core, path: str, error: Exception) -> None:
    described = error_of(error)
    core.recorder.emit(ev.STEP_RESULT, {"status": "failed", "error": described}, path, 1, durable=True)
    raise StepFailed(path, described, error)


# -- map, sleep ----------------------------------------------------------------------------------------------------------


async def _map(core: Core, frame: Frame, node: nodes.Map, value: Any, scope: StateScope) -> Any:
    path = f"{frame.prefix}{node.id}"
    known = known_result(core, path, 0, scope)
    if known is not UNKNOWN:
        return known
    core.recorder.emit(ev.STEP_START, {"input": value}, path, 1)
    context = ConditionContext(core, scope, frame, value)
    try:
        if node.function is not None:
            output = await _ask(node.function, value, context)
        else:
            output, seen = {}, MapScope(core, frame, scope, value)
            for key, source in node.sources:
                if isinstance(source, UserFunction):
                    output[key] = await _ask(Call(source.function), value, context)
                else:
                    output[key] = source(seen)
    except Exception as error:
        _fail(core, path, error)
    core.recorder.emit(ev.STEP_RESULT, {"status": "success", "output": output}, path, 1, durable=True)
    return output


async def _sleep(core: Core, frame: Frame, node: nodes.Sleep, value: Any, scope: StateScope) -> Any:
    path = f"{frame.prefix}{node.id}"
    known = known_result(core, path, 0, scope)
    if known is not UNKNOWN:
        return value
    step = core.state.steps.get(path)
    if step is None or step.wake_at is None:
        amount = node.amount
        if isinstance(amount, Call):
            try:
                amount = await _ask(amount, value, ConditionContext(core, scope, frame, value))
                amount = timestamp(amount) if node.until else seconds(amount)
            except Exception as error:
                _fail(core, path, error)
        wake_at = amount if node.until else core.clock.now() + amount
    else:
        wake_at = step.wake_at
    await sleep_until(core, path, value, wake_at, scope)
    return value


async def sleep_until(core: Core, path: str, value: Any, wake_at: float, scope: StateScope) -> None:
    """Sleep as a step: the time to wake up is stored first, so that another process sleeps only what is left."""
    emit, state = core.recorder.emit, core.state
    step = state.steps.get(path)
    if step is None or step.wake_at is None:
        emit(ev.STEP_WAITING, {"input": value, "wake_at": wake_at, "status": "waiting"}, path, durable=True)
    left = wake_at - core.clock.now()
    verdict, left = await core.fire("sleep", path, left, scope=scope)
    if not isinstance(verdict, Skip) and left > 0:
        if core.park is not None and left > core.park:
            raise Parked(wake_at)
        core.sleeping.append(wake_at)
        if not core.executing:
            emit(ev.RUN_WAITING, {"status": "waiting", "wake_at": min(core.sleeping)}, durable=True)
        try:
            await core.sleep(left)
        finally:
            core.sleeping.remove(wake_at)
        if core.state.status == "waiting":
            emit(ev.RUN_CONTINUE, {"status": "running"})
    emit(ev.STEP_RESULT, {"status": "success", "output": value}, path, durable=True)


# -- graphs --------------------------------------------------------------------------------------------------------------


async def _graph(core: Core, frame: Frame, node: nodes.Graph, value: Any, scope: StateScope) -> Any:
    """Every step starts as soon as what it needs is done; what it set in the state is visible to those that need it."""
    outputs: dict[str, Any] = {}
    scopes: dict[str, StateScope] = {}
    halts: list[Halt] = []
    left = {vertex.body.id: len(set(vertex.needs)) for vertex in node.vertices}
    after: dict[str, list[str]] = {id_: [] for id_ in left}
    by_id = {vertex.body.id: vertex for vertex in node.vertices}
    for vertex in node.vertices:
        for need in dict.fromkeys(vertex.needs):
            after[need].append(vertex.body.id)
    tasks: set[asyncio.Task[Any]] = set()

    async def run(id_: str) -> None:
        vertex = by_id[id_]
        own = scope.fork()
        for need in vertex.needs:
            own.apply(scopes[need].changes)
        inherited = dict(own.changes)
        needs = {need: outputs[need] for need in vertex.needs}
        given = value if not needs else next(iter(needs.values())) if len(needs) == 1 else needs
        try:
            outputs[id_] = await _run_body(core, frame, vertex.body, f"{frame.prefix}{vertex.body.key}", given, own)
        except Halt as halt:
            halts.append(halt)
            return
        scopes[id_] = own
        own_changes[id_] = {k: v for k, v in own.changes.items() if k not in inherited or inherited[k] is not v}
        for follower in after[id_]:
            left[follower] -= 1
            if not left[follower]:
                ready(follower)

    own_changes: dict[str, dict[str, Any]] = {}
    queue: list[str] = []

    def ready(id_: str) -> None:
        if core.per_step:
            queue.append(id_)
        elif not any(isinstance(halt, StepFailed | Canceled | Bailed) for halt in halts):
            tasks.add(asyncio.ensure_future(run(id_)))

    for id_, count in list(left.items()):
        if not count:
            ready(id_)
    while queue:
        await run(queue.pop(0))
    try:
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            tasks -= done
            for task in done:
                task.result()
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    _raise_most_serious(halts)
    joined = f"{frame.prefix}{node.id}:joined"
    live = joined not in core.state.decisions
    _merge(core, joined, [(id_, own_changes[id_]) for id_ in by_id], scope, tell=live)
    if live:
        core.recorder.emit(ev.PARALLEL_JOINED, {"arms": list(by_id)}, joined)
    ends = {id_: outputs[id_] for id_ in node.ends}
    return next(iter(ends.values())) if len(ends) == 1 else ends


_ENTRIES: Final[dict[type, Callable[..., Awaitable[Any]]]] = {
    nodes.Nested: _nested_entry,
    nodes.Parallel: _parallel,
    nodes.Branch: _branch,
    nodes.Loop: _loop,
    nodes.Foreach: _foreach,
    nodes.Map: _map,
    nodes.Sleep: _sleep,
    nodes.Graph: _graph,
}
