"""A plan whose steps were edited while a run of it was under way: what changed, and what happens then.

- ``continue`` (default): recorded results count, the new code goes on from there;
- ``rerun``: the first changed step and all that comes after it are executed again;
- ``pin``: the run keeps to the code its steps had when it was started, which was stored with it. Where steps stand in the
  plan, conditions and maps are those of the plan as it is.

What changed is a ``run.drift`` event in either case. Durable functions see to theirs themselves (`wfkernel.engine.durable`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from wfkernel.engine import events as ev
from wfkernel.engine.state import INDEX
from wfkernel.engine.values import reveal
from wfkernel.errors import DefinitionError
from wfkernel.plan import nodes
from wfkernel.plan.builder import Definition, bodies_of
from wfkernel.plan.step import StepSpec, code_differs

if TYPE_CHECKING:
    from wfkernel.engine.core import Core
    from wfkernel.engine.state import RunState
    from wfkernel.engine.workflow import Workflow

__all__ = ["DriftPolicy", "checked_policy", "code_now", "code_to_keep", "meet_drift"]

DriftPolicy = Literal["continue", "rerun", "pin"]
_POLICIES: Final = get_args(DriftPolicy)


def checked_policy(workflow: str, on_drift: str) -> DriftPolicy:
    """`on_drift`, if it is one. Raises `DefinitionError`."""
    if on_drift not in _POLICIES:
        raise DefinitionError(f"workflow '{workflow}': on_drift is 'continue', 'rerun' or 'pin', not {on_drift!r}.")
    return on_drift  # type: ignore[return-value]


def code_to_keep(plan: Definition, prefix: str = "") -> dict[str, StepSpec]:
    """Every step of the plan by its path, as it can be stored."""
    kept: dict[str, StepSpec] = {}
    for node in plan.nodes:
        for body in bodies_of(node):
            path = f"{prefix}{body.key or body.id}"
            if isinstance(body, nodes.Nested):
                kept |= code_to_keep(body.plan, f"{path}.")
            else:
                kept[path] = spec = replace(body.spec)  # a copy without what is derived and need not be stored
                spec.__dict__["_digest"] = body.spec.digest()
    return kept


def meet_drift(core: Core, workflow: Workflow) -> None:
    """To be called where a run begins or goes on: tell what changed since, and do what the workflow says."""
    policy = workflow.on_drift
    if policy == "rerun":
        _go_back(core, workflow)
    elif policy == "pin" and core.state.function is not None:
        _keep_to(core, workflow)
    elif changed := _changed(core.state, workflow):
        _tell(core, changed, policy)


def _keep_to(core: Core, workflow: Workflow) -> None:
    """Have the run's steps execute the code that was stored with the run."""
    kept: Mapping[str, StepSpec] = reveal(core.state.function, core.recorder.codec)
    now = code_to_keep(workflow)
    changed = [p for p, spec in kept.items() if p not in now or code_differs(spec.digest(), now[p].digest())]
    if changed:
        _tell(core, changed, "pin")
        core.pinned = kept


def _go_back(core: Core, workflow: Workflow) -> None:
    """Have the run forget what its changed steps came to, and all that came after them."""
    if changed := _changed(core.state, workflow):
        _tell(core, changed, "rerun")
    while changed:  # going back to one forgets the others, but for those beside it
        target = changed[0].partition("[")[0]
        body = workflow.plan_travel(core.state, target, {}, False)
        body.pop("predecessor", None)
        core.recorder.emit(ev.RUN_TRAVEL, {"status": "running", "to": target, **body}, durable=True)
        core.went_back()
        changed = _changed(core.state, workflow)


def _changed(state: RunState, workflow: Workflow) -> list[str]:
    """Paths of finished steps whose code is another by now."""
    found = []
    for path, step in state.steps.items():
        spec = workflow.spec_at(path) if step.status == "success" and step.digest else None
        if spec is not None and code_differs(step.digest, spec.digest()):
            found.append(path)
    return found


def code_now(state: RunState, workflow: Workflow) -> dict[str, str]:
    """The digests of the run's steps as `workflow` defines them now."""
    return {path: spec.digest() for path in state.steps if (spec := workflow.spec_at(path)) is not None}


def _tell(core: Core, changed: list[str], policy: str) -> None:
    steps = dict.fromkeys(INDEX.sub("", path) for path in changed)  # the items of a foreach have one code
    body: dict[str, Any] = {"changes": [{"step": path, "what": "code"} for path in steps], "policy": policy}
    core.recorder.emit(ev.RUN_DRIFT, body, durable=True)
