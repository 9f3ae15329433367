"""What a run's steps had made when one of them began: for looking at it, and for trying that step by hand.

The run is folded up to the moment the step was last executed, so what later steps, or a later execution of an earlier
step, made of a name does not show. Values are opened as everywhere: a pickle that is not trusted is not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.state import ENGINE_MODES, fold
from wfkernel.engine.values import reveal
from wfkernel.errors import DefinitionError, ValueNotTrusted, ValueUnreadable
from wfkernel.store.decoder import Decoder

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState
    from wfkernel.store.store import Store

__all__ = ["Replay", "replay"]


@dataclass(frozen=True, slots=True)
class Replay:
    """The names there were when a step began."""

    run_id: str
    step: str
    """Empty: at the end of the run."""
    names: dict[str, Any]
    made_by: dict[str, str]
    """name -> the step that made it."""
    missing: dict[str, str]
    """name -> why its value is not there."""
    source: str
    """The notebook or workflow, where it is known."""


def replay(store: Store, run_id: str, step: str | None = None) -> Replay:
    """The values a run had when `step` began last; without a step, or for one that never began, those it has now.

    Steps of a notebook bind names; of a workflow, a step's output has the step's name and ``input`` is what the step was
    given (what the run was given, without a step). Raises `RunNotFound`, and `DefinitionError` for an unknown step.
    """
    events = store.events(run_id)
    now = store.load(run_id)
    if step is not None and step not in now.steps:
        raise DefinitionError(f"run {run_id} has no step '{step}'. It has {', '.join(now.steps) or 'none'}.")
    begun = next((e for e in reversed(events) if e.type == ev.STEP_START and e.path == step), None)
    state = fold(e for e in events if begun is None or e.seq < begun.seq)
    names: dict[str, Any] = {}
    made_by: dict[str, str] = {}
    missing: dict[str, str] = {}

    def keep(name: str, maker: str, value: Any) -> None:
        made_by[name] = maker
        names.pop(name, None)
        missing.pop(name, None)
        try:
            names[name] = value()
        except (ValueUnreadable, ValueNotTrusted) as error:
            missing[name] = str(error)

    if state.mode in ENGINE_MODES:
        _of_workflow(store, state, begun, keep)
    else:
        _of_notebook(store, state, keep, missing, made_by)
    return Replay(run_id, step or "", names, made_by, missing, now.notebook or now.source)


def _of_notebook(store: Store, state: RunState, keep: Any, missing: dict[str, str], made_by: dict[str, str]) -> None:
    finished = [step for step in state.steps.values() if step.done is not None and "[" not in step.path]
    for step in sorted(finished, key=lambda step: (step.done_seq, step.ended_at or 0.0)):
        decoder = Decoder(store.blobs, {"__name__": "__main__"}, step.path)  # names of one object get one object
        for record in (step.done or {})["outputs"]:
            if record.get("why"):
                missing[record["name"]], made_by[record["name"]] = record["why"], step.path
            else:
                keep(record["name"], step.path, functools.partial(decoder.decode, record))


def _of_workflow(store: Store, state: RunState, begun: Event | None, keep: Any) -> None:
    given = begun.payload.get("input") if begun is not None else state.input
    keep("input", "", lambda: reveal(given, store))
    for step in state.steps.values():
        if step.status == "success" and step.path.isidentifier():
            keep(step.path, step.path, lambda step=step: reveal(step.output, store))
