"""Which suspended step an answer is for."""

from __future__ import annotations

from typing import Any

from wfkernel.engine.failures import ResumeTargetUnknown
from wfkernel.engine.result import suspended_paths
from wfkernel.engine.state import INDEX, RunState
from wfkernel.plan.builder import Definition
from wfkernel.plan.step import spec_of

__all__ = ["choose_targets", "path_of"]


def path_of(step: Any) -> str:
    """The path a user means by an id, a dotted path, a step, a workflow, or a list of these."""
    if isinstance(step, str):
        return step
    if isinstance(step, list | tuple):
        return ".".join(path_of(part) for part in step)
    return step.id if isinstance(getattr(step, "__wf_plan__", step), Definition) else spec_of(step).id


def choose_targets(state: RunState, step: Any, label: str | None, index: int | None) -> list[str]:
    """Paths of the suspended steps to resume. Empty: the item addressed has been answered already.

    Raises `ResumeTargetUnknown`.
    """
    suspended = state.suspended_steps
    if not suspended:
        raise ResumeTargetUnknown("No suspended steps found in this workflow run")
    if label is not None:
        return _labelled(state, label, index)
    paths = suspended_paths(state)
    if step is None:
        if len(paths) > 1:
            listed = ", ".join(f"[{', '.join(path)}]" for path in paths)
            raise ResumeTargetUnknown(
                f'Multiple suspended steps found: {listed}. Please specify which step to resume using the "step" parameter.'
            )
        wanted = ".".join(paths[0])
    else:
        wanted = path_of(step)
    plain = INDEX.sub("", wanted)
    if index is None:
        inside = [
            s.path
            for s in suspended
            if _is_in(s.path, wanted) or (_is_in(INDEX.sub("", s.path), plain) and plain == wanted)
        ]
        if inside:
            # A workflow's id alone means the first suspended step in it; the items of a foreach are all meant.
            first = INDEX.sub("", inside[0])
            return [path for path in inside if INDEX.sub("", path) == first]
    else:
        return _item(state, wanted, index)
    available = ", ".join(dict.fromkeys(path[0] for path in paths))
    raise ResumeTargetUnknown(
        f'This workflow step "{wanted}" was not suspended. Available suspended steps: [{available}]'
    )


def _labelled(state: RunState, label: str, index: int | None) -> list[str]:
    """The suspended step of that label; where items of a foreach share it, the one of that index, or all."""
    labels: dict[str, list[str]] = {}
    for step in state.suspended_steps:
        for name in step.suspension.labels if step.suspension is not None else ():
            labels.setdefault(name, []).append(step.path)
    if label not in labels:
        raise ResumeTargetUnknown(f'Resume label "{label}" not found. Available labels: [{", ".join(labels)}]')
    meant = list(dict.fromkeys(INDEX.sub("", path) for path in labels[label]))
    if len(meant) > 1:
        raise ResumeTargetUnknown(
            f'Several suspended steps have the label "{label}": {", ".join(meant)}. Please specify which one to resume using '
            'the "step" parameter.'
        )
    return labels[label] if index is None else _item(state, meant[0], index)


def _item(state: RunState, wanted: str, index: int) -> list[str]:
    """The suspended steps of one item of a foreach: of the one named, with the indexes of those around it, else of the
    outermost in or around `wanted`."""
    plain = INDEX.sub("", wanted)
    loops = dict.fromkeys(
        s.path[: match.start()]
        for s in state.suspended_steps
        for match in INDEX.finditer(s.path)
        if _is_in(INDEX.sub("", s.path), plain)
    )
    if not loops:
        raise ResumeTargetUnknown(f'This workflow step "{wanted}" was not suspended as part of a foreach.')
    loop = wanted if wanted in loops else next(iter(loops))
    items = len([child for child in state.children.get(loop, ()) if child.endswith("]")])
    progress = state.step(loop).progress
    count = int(progress["total"]) if progress else items
    if not 0 <= index < count:
        raise ResumeTargetUnknown(
            f"Invalid index {index} for the foreach '{loop}': expected an index in the range [0, {count - 1}]. "
            "Nothing was changed."
        )
    item = f"{loop}[{index}]"
    targets = [s.path for s in state.suspended_steps if _is_in(s.path, item)]
    if targets:
        return targets[:1]
    if item in state.steps and state.steps[item].status == "success":
        return []
    raise ResumeTargetUnknown(f"item {index} of the foreach '{loop}' was not suspended.")


def _is_in(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))
