"""Parallel and branch: arms that run at the same time, each on a state of its own until they join."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import error_of
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import RunBody, ask
from wfkernel.engine.failures import StateConflict, StepFailed
from wfkernel.engine.scope import StateScope, merge
from wfkernel.engine.step_run import ConditionContext
from wfkernel.engine.terms import SKIPPED
from wfkernel.engine.together import all_of
from wfkernel.plan import nodes
from wfkernel.plan.nodes import Body

__all__ = ["merge_states", "run_branch", "run_parallel"]


async def run_parallel(
    core: Core, frame: Frame, node: nodes.Parallel, value: Any, scope: StateScope, run_body: RunBody
) -> Any:
    path = f"{frame.prefix}{node.id}"
    arms = await _chosen(core, "parallel.fork", path, node.arms, scope)
    return await _arms(core, frame, node.id, arms, value, scope, f"{path}:joined", run_body, fail_fast=node.fail_fast)


async def run_branch(
    core: Core, frame: Frame, node: nodes.Branch, value: Any, scope: StateScope, run_body: RunBody
) -> Any:
    path = f"{frame.prefix}{node.id}"
    chosen = core.state.decisions.get(path)
    if chosen is None:
        context = ConditionContext(core, scope, frame, value)
        verdicts = await asyncio.gather(
            *(ask(condition, value, context) for condition, _ in node.arms), return_exceptions=True
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
    return await _arms(core, frame, node.id, arms, value, scope, f"{path}:joined", run_body)


async def _chosen(core: Core, point: str, path: str, arms: Sequence[Body], scope: StateScope) -> list[Body]:
    verdict, ids = await core.fire(point, path, [arm.id for arm in arms], scope=scope)
    return [arm for arm in arms if arm.id in ids] if verdict is None else list(arms)


async def _arms(
    core: Core,
    frame: Frame,
    id_: str,
    arms: Sequence[Body],
    value: Any,
    scope: StateScope,
    joined: str,
    run_body: RunBody,
    *,
    fail_fast: bool = False,
) -> Any:
    """Run arms at the same time, each on a state of its own, and merge what they set."""
    scopes = [scope.fork() for _ in arms]

    async def run(arm: Body, own: StateScope) -> Any:
        return await run_body(core, frame, arm, f"{frame.prefix}{arm.key}", value, own)

    outputs = await all_of(core, [run(arm, own) for arm, own in zip(arms, scopes, strict=True)], fail_fast=fail_fast)
    live = joined not in core.state.decisions
    merge_states(core, joined, [(arm.id, own.changes) for arm, own in zip(arms, scopes, strict=True)], scope, tell=live)
    if live:
        core.recorder.emit(ev.PARALLEL_JOINED, {"arms": [arm.id for arm in arms]}, joined)
    output: Any = {arm.id: None if found is SKIPPED else found for arm, found in zip(arms, outputs, strict=True)}
    _, output = await core.fire("parallel.join", f"{frame.prefix}{id_}", output, scope=scope)
    return output


def merge_states(
    core: Core, path: str, arms: list[tuple[str, dict[str, Any]]], scope: StateScope, *, tell: bool
) -> None:
    """Apply what arms that ran at the same time set; `tell`: conflicts become events."""
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
