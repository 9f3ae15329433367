"""Graphs: steps with needs, each started the moment what it needs is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.arms import merge_states
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.entries import RunBody
from wfkernel.engine.failures import Bailed, Canceled, Halt, StepFailed
from wfkernel.engine.scope import StateScope
from wfkernel.engine.terms import SKIPPED
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
    left = {vertex.body.id: len({*vertex.needs, *vertex.after}) for vertex in node.vertices}
    after: dict[str, list[str]] = {id_: [] for id_ in left}
    by_id = {vertex.body.id: vertex for vertex in node.vertices}
    for vertex in node.vertices:
        for need in dict.fromkeys((*vertex.needs, *vertex.after)):
            after[need].append(vertex.body.id)
    tasks: set[asyncio.Task[Any]] = set()
    turns = _Turns()

    async def run(id_: str) -> None:
        vertex = by_id[id_]
        own = scope.fork()
        for need in dict.fromkeys((*vertex.needs, *vertex.after)):
            own.apply(scopes[need].changes)
        inherited = dict(own.changes)
        needs = {need: outputs[need] for need in vertex.needs}
        given = value if not needs else next(iter(needs.values())) if len(needs) == 1 else needs
        try:
            async with turns.turn(exclusive=vertex.exclusive):
                outcome = await run_body(core, frame, vertex.body, f"{frame.prefix}{vertex.body.key}", given, own)
        except Halt as halt:
            halts.append(halt)
            return
        outputs[id_] = None if outcome is SKIPPED else outcome
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


class _Turns:
    """Lets steps run at the same time, and an exclusive one only by itself; those that wait go in their order."""

    def __init__(self) -> None:
        self._running = 0
        self._exclusive = False
        self._changed = asyncio.Condition()
        self._queue: list[object] = []

    @asynccontextmanager
    async def turn(self, *, exclusive: bool) -> AsyncIterator[None]:
        me = object()
        async with self._changed:
            self._queue.append(me)
            try:
                await self._changed.wait_for(
                    lambda: self._queue[0] is me and not self._exclusive and not (exclusive and self._running)
                )
            finally:
                self._queue.remove(me)
                self._changed.notify_all()
            self._running += 1
            self._exclusive = exclusive
        try:
            yield
        finally:
            self._running -= 1
            self._exclusive = False
            async with self._changed:
                self._changed.notify_all()
