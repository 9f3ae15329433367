"""Map: a new value from the one before, by a function or key by key."""

from __future__ import annotations

from typing import Any

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import UNKNOWN, known_result
from wfkernel.engine.core import Core, Frame, MapScope
from wfkernel.engine.entries import RunBody, ask, fail
from wfkernel.engine.scope import StateScope
from wfkernel.engine.step_run import ConditionContext
from wfkernel.plan import nodes
from wfkernel.plan.nodes import Call

__all__ = ["run_map"]


async def run_map(core: Core, frame: Frame, node: nodes.Map, value: Any, scope: StateScope, run_body: RunBody) -> Any:
    from wfkernel.plan.sources import UserFunction

    path = f"{frame.prefix}{node.id}"
    known = known_result(core, path, 0, scope)
    if known is not UNKNOWN:
        return known
    core.recorder.emit(ev.STEP_START, {"input": value}, path, 1)
    context = ConditionContext(core, scope, frame, value)
    try:
        if node.function is not None:
            output = await ask(node.function, value, context)
        else:
            output, seen = {}, MapScope(core, frame, scope, value)
            for key, source in node.sources:
                if isinstance(source, UserFunction):
                    output[key] = await ask(Call(source.function), value, context)
                else:
                    output[key] = source(seen)
    except Exception as error:
        fail(core, path, error)
    await core.recorder.record(ev.STEP_RESULT, {"status": "success", "output": output}, path, 1)
    return output
