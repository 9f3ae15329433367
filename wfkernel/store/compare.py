"""What differs between two runs: parameters, and of every step its status, its code, how long it took, what it bound.

Values are compared by the content digests in their records, so comparing runs reads no value and takes no longer for large
ones. What a value *is* comes from the few words kept with its record. Works alike for runs of notebooks, whose steps bind
names, and of workflows, whose steps have one output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wfkernel.engine.state import RunState, StepState
from wfkernel.engine.values import RECORD
from wfkernel.store.about import render_json

__all__ = ["Change", "RunComparison", "StepComparison", "compare_runs"]

TEXT_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Change:
    """One name with its text before and after; None where it was not there."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class StepComparison:
    """One step in both runs, the earlier first. A status is None in the run that does not have the step."""

    step: str
    status: tuple[str | None, str | None]
    seconds: tuple[float | None, float | None]
    """How long the body took; None where it was not executed in that run."""
    code_changed: bool
    """Whether the code is known to differ: notebooks and durable functions keep a digest of it with every step."""
    values: list[Change]
    """What it bound, where the content differs; the value of a workflow's step is called ``output``."""

    @property
    def differs(self) -> bool:
        """Whether more than the time it took is different."""
        return self.code_changed or bool(self.values) or self.status[0] != self.status[1]


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs compared, the first one given first."""

    runs: tuple[str, str]
    status: tuple[str, str]
    seconds: tuple[float | None, float | None]
    parameters: list[Change]
    steps: list[StepComparison]
    """In the order of the second run; steps only the first has come last."""

    @property
    def differs(self) -> bool:
        """Whether more than times is different."""
        return self.status[0] != self.status[1] or bool(self.parameters) or any(step.differs for step in self.steps)


def compare_runs(before: RunState, after: RunState) -> RunComparison:
    """Compare two states, as `Store.load` gives them."""
    paths = [*after.steps, *(path for path in before.steps if path not in after.steps)]
    return RunComparison(
        runs=(before.run_id, after.run_id),
        status=(before.status, after.status),
        seconds=(_seconds(before), _seconds(after)),
        parameters=_changes(_texts(before.params), _texts(after.params)),
        steps=[_compare_steps(path, before.steps.get(path), after.steps.get(path)) for path in paths],
    )


def _compare_steps(path: str, before: StepState | None, after: StepState | None) -> StepComparison:
    codes = [code for step in (before, after) if step is not None and (code := _code(step))]
    return StepComparison(
        step=path,
        status=(before.status if before else None, after.status if after else None),
        seconds=(before.duration if before else None, after.duration if after else None),
        code_changed=len(codes) == 2 and codes[0] != codes[1],
        values=_changes(_bound(before), _bound(after)),
    )


def _code(step: StepState) -> str:
    return step.digest or (str(step.done["code"]) if step.done else step.code)


Known = Mapping[str, tuple[str, str]]
"""name -> (what tells whether it is the same, text)."""


def _bound(step: StepState | None) -> Known:
    if step is None:
        return {}
    if isinstance(step.output, dict) and RECORD in step.output:
        return {"output": _of_record(step.output[RECORD])}
    if step.output is not None:
        return _texts({"output": step.output})
    return {r["name"]: _of_record(r) for r in step.done["outputs"]} if step.done else {}


def _of_record(record: Mapping[str, Any]) -> tuple[str, str]:
    if record.get("why"):
        return f"unsaved {record.get('type')}", f"{record.get('type')} (not saved: {record['why']})"
    kind = str(record.get("type", ""))
    if record.get("codec") == "json" and "data" in record:
        text = render_json(record["data"], TEXT_LENGTH)
    else:
        text = f"{kind} {record.get('about', '')}".strip()[:TEXT_LENGTH]
    return str(record.get("digest")), text


def _texts(values: Mapping[str, Any]) -> Known:
    return {name: (repr(value), render_json(value, TEXT_LENGTH)) for name, value in values.items()}


def _changes(before: Known, after: Known) -> list[Change]:
    names: Iterable[str] = dict.fromkeys([*before, *after])
    nothing = (None, None)
    return [
        Change(name, before.get(name, nothing)[1], after.get(name, nothing)[1])
        for name in names
        if before.get(name, nothing)[0] != after.get(name, nothing)[0]
    ]


def _seconds(state: RunState) -> float | None:
    if state.started_at is None or state.ended_at is None:
        return None
    return max(0.0, state.ended_at - state.started_at)
