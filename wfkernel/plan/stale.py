"""Which finished steps an edit made stale, and why: found from definitions and records, without running anything.

A finished step is stale when its code is no longer what ran, when something it read has another content now, or when a step
it reads from is stale. Whether it will really run is decided when its turn comes: where an edit upstream turns out to bind
the same values as before, the steps below are restored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wfkernel.plan.cell import CellStep

__all__ = ["stale_steps"]


def stale_steps(
    steps: Iterable[CellStep], done: Mapping[str, Mapping[str, Any]], present: Callable[[str], str | None]
) -> dict[str, str]:
    """step -> why it is stale, in the order of the steps.

    Args:
        done: of every finished step its record: `code`, `inputs`, `outputs`, as `StepState.done` holds it.
        present: the content digest of a name that no step binds, None where it is not known.
    """
    stale: dict[str, str] = {}
    binder: dict[str, str] = {}
    for step in steps:
        record = done.get(step.name)
        reason = _reason(step, record, done, stale, binder, present) if record is not None else None
        if reason is not None:
            stale[step.name] = reason
        binder.update(dict.fromkeys(step.names.binds | step.names.stores, step.name))
    return stale


def _reason(
    step: CellStep,
    record: Mapping[str, Any],
    done: Mapping[str, Mapping[str, Any]],
    stale: Mapping[str, str],
    binder: Mapping[str, str],
    present: Callable[[str], str | None],
) -> str | None:
    if record["code"] != step.code:
        return "its code changed"
    for name, read in sorted(record["inputs"].items()):
        above = binder.get(name)
        if above in stale:
            return f"it reads '{name}' of step '{above}', which is stale"
        if above is None:
            digest = present(name) if not read["from"] else None
        else:
            outputs = done.get(above, {}).get("outputs", ())
            digest = next((o["digest"] for o in outputs if o["name"] == name and not o.get("why")), None)
        if digest is not None and digest != read["digest"]:
            return f"'{name}' changed" if above is None else f"step '{above}' bound '{name}' anew"
    return None
