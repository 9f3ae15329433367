"""Graphs: steps with needs, each started the moment what it needs is done."""

from __future__ import annotations

import asyncio
from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.arms import merge_states
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import RunBody
from wfkernel.engine.failures import Bailed, Canceled, Halt, StepFailed
from wfkernel.engine.scope import StateScope
from wfkernel.engine.together import raise_most_serious
from wfkernel.plan import nodes

__all__ = ["run_graph"]


async def run_graph(
    core: Core, frame: Frame, node: nodes.Graph, value: Any, scope: StateScope, run_body: RunBody
) -> Any:
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
            outputs[id_] = await run_body(core, frame, vertex.body, f"{frame.prefix}{vertex.body.key}", given, own)
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
    raise_most_serious(halts)
    joined = f"{frame.prefix}{node.id}:joined"
    live = joined not in core.state.decisions
    merge_states(core, joined, [(id_, own_changes[id_]) for id_ in by_id], scope, tell=live)
    if live:
        core.recorder.emit(ev.PARALLEL_JOINED, {"arms": list(by_id)}, joined)
    ends = {id_: outputs[id_] for id_ in node.ends}
    return next(iter(ends.values())) if len(ends) == 1 else ends
