"""Going back in a run: the events that take it to a step, or its state to what it was then. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.answers import answer_event, plain_answer
from wfkernel.engine.failures import TimeTravelRefused
from wfkernel.engine.options import Program
from wfkernel.engine.state import RunState, StepState, parent_path
from wfkernel.engine.values import Codec, reveal_fields, stored_value

__all__ = [
    "START",
    "Change",
    "Given",
    "done_after",
    "encoded",
    "forgetting",
    "retry_events",
    "rollback_seq",
    "state_after",
    "state_at",
    "travel_events",
]

START: Final = "start"
"""Where a run began, as a place to roll back to."""
_LISTS: Final = ("dropped", "undecided", "reopened")

Change = tuple[str, str, dict[str, Any]]
"""(type, path, payload) of an event to be added."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is to take the place of what the run recorded; ``...``: nothing."""

    input: Any
    state: dict[str, Any] | None
    context: dict[str, Any]
    resume_data: Any


def travel_events(program: Program, known: RunState, target: str, given: Given, codec: Codec | None) -> list[Change]:
    """The events that take the run `known` back to `target`. Raises `TimeTravelRefused`."""
    has_input = given.input is not ...
    body = program.plan_travel(known, target, given.context, has_input)
    predecessor = body.pop("predecessor", None)
    outputs = {**given.context, predecessor: given.input} if has_input else given.context
    body["given"] = encoded(outputs, codec)
    if given.state is not None:
        body["state"] = encoded(given.state, codec)
    events: list[Change] = [(ev.RUN_TRAVEL, "", {"status": "running", "to": target, **body})]
    if given.resume_data is not ...:
        waiting = [step for step in known.suspended_steps if step.path not in body["dropped"]]
        for step in waiting[:1]:
            schema = step.suspension.schema if step.suspension is not None else {}
            answer = answer_event(len(step.answers), plain_answer(given.resume_data), "time travel", schema)
            events.append((ev.STEP_RESUMED, step.path, answer))
    return events


def forgetting(known: RunState, target: str) -> dict[str, list[str]]:
    """What a run forgets to go back to `target` where no plan says what comes after what: all that began after it.

    What is around it goes on. Raises `TimeTravelRefused` for a step the run does not have.
    """
    paths = list(known.steps)
    if target not in known.steps:
        raise TimeTravelRefused(
            f"Cannot time travel to step '{target}': the run has no such step. It has {', '.join(paths) or 'none'}."
        )
    around = _around(target)
    undecided = [path for path in known.decisions if path not in known.steps and parent_path(path) in around]
    dropped = [path for path in paths[paths.index(target) :] if path not in around]
    return {"dropped": dropped, "undecided": undecided, "reopened": around}


def retry_events(program: Program, known: RunState, codec: Codec | None) -> list[Change]:
    """The events that take a run that ended early back to where it was before that: what failed or was cut short is to be
    done again, what is finished is not, items of a foreach and answers included.

    A run that was compensated for goes back to the earliest step that was undone, one that was rolled back to where that led.
    """
    if known.again:
        bodies = [program.plan_travel(known, path, {}, False) for path in known.again]
        lists = {name: list(dict.fromkeys(path for body in bodies for path in body[name])) for name in _LISTS}
        lists["reopened"] = [path for path in lists["reopened"] if path not in lists["dropped"]]
        return [(ev.RUN_TRAVEL, "", {"status": "running", "to": known.again[0], **lists})]
    undone = {path for path, _, _ in known.compensable[len(known.compensable) - known.compensated :]}
    if undone:
        first = next(path for path in known.steps if path in undone)
        return travel_events(program, known, first.partition("[")[0], Given(..., None, {}, ...), codec)
    failed = [step for step in known.steps.values() if step.status == "failed" and not step.excused]
    if known.mode == "function":
        failed = _uncaught(known, failed)
    cut_short = [step for step in known.steps.values() if step.status == "canceled"]
    innermost = max(failed, key=lambda step: len(step.path), default=None)
    body = {
        "status": "running", "to": innermost.path if innermost else "", "dropped": [],
        "reopened": [step.path for step in (*failed, *cut_short)],
    }  # fmt: skip
    return [(ev.RUN_TRAVEL, "", body)]


def _uncaught(known: RunState, failed: list[StepState]) -> list[StepState]:
    """The failed steps whose exception a durable function did not catch: after one it caught, it went on with others."""
    last = max((step.started_at or 0.0 for step in known.steps.values()), default=0.0)
    why = known.error or {}
    same = [
        step for step in failed if all((step.error or {}).get(part) == why.get(part) for part in ("type", "message"))
    ]
    cause = max(same, key=lambda step: step.ended_at or 0.0, default=None)
    return [step for step in failed if step is cause or (step.ended_at or 0.0) >= last]


def rollback_seq(known: RunState, to: str) -> int:
    """The event with which step `to` ended; 0 for `START` and for a step that has not finished."""
    at = known.steps.get(to)
    return at.done_seq if at is not None else 0


def state_at(known: RunState, to: str, codec: Codec | None) -> dict[str, Any]:
    """The run's state when step `to` had ended; for `START` and a step that has not finished what the run began with."""
    at = known.steps.get(to)
    return state_after(known, at, codec) if at is not None and at.done_seq else reveal_fields(known.initial, codec)


def done_after(known: RunState, to: str) -> list[str]:
    """The steps that a run which was rolled back to `to` has to do again, without what is inside them."""
    point, around = rollback_seq(known, to), _around(to)
    return [
        path
        for path, step in known.steps.items()
        if step.started_at and path not in {to, *around} and parent_path(path) in {"", *around}
        and (not step.done_seq or step.done_seq > point)
    ]  # fmt: skip


def _around(path: str) -> list[str]:
    """What the step at `path` is inside of, the innermost first."""
    found = []
    while path := parent_path(path):
        found.append(path)
    return found


def state_after(known: RunState, at: StepState, codec: Codec | None) -> dict[str, Any]:
    """The run's state as it was when the step `at` had ended, as that step saw it.

    What a step inside a workflow or a foreach set counts as long as the one around it had not ended; from then on it is
    among what that one set. Steps inside others beside `at` are not seen by it.
    """
    values = reveal_fields(known.initial, codec)
    around = {at.path, *_around(at.path)}
    for step in sorted(known.steps.values(), key=lambda step: step.done_seq):
        if step.changes and step.done_seq <= at.done_seq and parent_path(step.path) in {"", *around}:
            if step is at or step.path not in around:
                values.update(reveal_fields(step.changes, codec))
    return values


def encoded(values: Mapping[str, Any], codec: Codec | None) -> dict[str, Any]:
    """The values as events carry them."""
    if codec is None:
        return dict(values)
    return {key: stored_value(value, codec, durable=True) for key, value in values.items()}
