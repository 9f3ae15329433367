"""Foreach: the body for every item of a list, a new item as soon as a slot is free, the output in the order of the list."""

from __future__ import annotations

from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import UNKNOWN, known_result
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import RunBody, ask, fail
from wfkernel.engine.failures import Halt, StepFailed, StepInputInvalid, Suspended
from wfkernel.engine.hooks import Replace, Skip
from wfkernel.engine.scope import StateScope
from wfkernel.engine.step_run import ConditionContext
from wfkernel.engine.terms import SKIPPED
from wfkernel.engine.together import raise_most_serious, side_by_side
from wfkernel.engine.values import reveal
from wfkernel.plan import nodes
from wfkernel.plan.nodes import Call

__all__ = ["run_foreach"]


async def run_foreach(
    core: Core, frame: Frame, node: nodes.Foreach, value: Any, scope: StateScope, run_body: RunBody
) -> Any:
    path = f"{frame.prefix}{node.id}"
    known = known_result(core, path, 0, scope)
    if known is not UNKNOWN:
        return known
    emit, steps = core.recorder.emit, core.state.steps
    if path not in steps or steps[path].started_at is None:
        emit(ev.STEP_START, {"input": value}, path, 1)
    if not isinstance(value, list | tuple):
        error = StepInputInvalid([("", f"foreach takes a list, not {type(value).__name__}")])
        fail(core, path, error)
    width = node.concurrency
    if isinstance(width, Call):
        context = ConditionContext(core, scope, frame, value)
        try:
            width = int(await ask(width, value, context))
        except (ValueError, OverflowError, TypeError):
            width = 1
    own = scope.fork()
    outputs: list[Any] = [None] * len(value)
    halts: list[Halt] = []
    done = _finished_items(core, path, own)
    for index in done:
        outputs[index] = reveal(steps[f"{path}[{index}]"].output, core.recorder.codec)
    left = [index for index in range(len(value)) if index not in done]
    queue = iter(left)
    counted, hooked = len(done), core.hooks is not None

    async def take(index: int) -> None:
        """Run an item, then others as long as there are some, and nothing that stops the loop."""
        nonlocal counted
        while True:
            item_path = f"{path}[{index}]"
            status = "success"
            try:
                verdict, given = None, value[index]
                if hooked:
                    verdict, given = await core.fire("iteration.start", item_path, given, 1, index + 1, own)
                if isinstance(verdict, Replace | Skip):
                    outputs[index] = verdict.value if isinstance(verdict, Replace) else given
                else:
                    inside = Frame(frame.plan, frame.prefix, frame.init, frame.outer, given)
                    outcome = await run_body(core, inside, node.body, item_path, given, own, 0, index)
                    outputs[index] = None if outcome is SKIPPED else outcome
                if hooked:
                    _, outputs[index] = await core.fire(
                        "iteration.finish", item_path, outputs[index], 1, index + 1, own
                    )
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
            emit(ev.STEP_PROGRESS, progress, path, 1, soon=True)
            following = next(queue, None)
            if following is None or halts:  # nothing new begins, what is under way ends
                return
            index = following

    waiting: list[int] = []
    if path in core.state.children:  # some began in an earlier life
        waiting = [index for index in range(len(value)) if _is_suspended(core, f"{path}[{index}]")]
    if waiting:  # on a resume every item that can go on does, before the run suspends again
        queue = iter([index for index in left if index not in set(waiting)])
    slots = max(1, min(width, len(value)))
    under_way = [index for _, index in zip(range(1 if core.per_step else slots), queue, strict=False)]
    if len(under_way) == 1:
        await take(under_way[0])
    elif under_way:
        await side_by_side(core, [take(first) for first in under_way])
    for index in waiting:
        halts.append(Suspended(_suspended_below(core, f"{path}[{index}]")))
    failed = next((halt for halt in halts if isinstance(halt, StepFailed)), None)
    if failed is not None:
        await core.recorder.record(ev.STEP_RESULT, {"status": "failed", "error": failed.error}, path, 1)
    raise_most_serious(halts)
    _, outputs = await core.fire("loop.finish", path, outputs, scope=own)
    payload: dict[str, Any] = {"status": "success", "output": outputs}
    if own.changes:
        payload["state"] = own.changes
    await core.recorder.record(ev.STEP_RESULT, payload, path, 1)
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
