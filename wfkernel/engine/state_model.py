"""The state of a stored run and the model the code has for it: what brings one to the other when a run is taken up again.

A run notes the digest of its workflow's state model (`Shape.digest`) when it begins. As long as that is the code's, nothing
is looked at. Where it is not, the stored state has to fit the model as it is now:

- a field the model has gained with a default gets that default, in a ``run.migrated`` event;
- a field that is gone, one that is new and required, or a value that is of another type now is `PlanDrift`: a renamed field
  would otherwise be lost without a word, its old value under a name nobody reads. The run stays as it is.

The way out is to say how the state is to change: migrations (`wfkernel.engine.migration`), which are applied here, or a
state given to `time_travel`. A run that is pinned to the code it was started with keeps the state that code knows. What steps
put into the state under names that are in no model is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wfkernel.engine import events as ev
from wfkernel.engine.migration import FIRST, Version, migrated, newest
from wfkernel.engine.result import run_state_values
from wfkernel.engine.travel import Change, encoded
from wfkernel.errors import PlanDrift, StateMigrationError
from wfkernel.plan.refit import refitted

if TYPE_CHECKING:
    from wfkernel.engine.options import Options, Program
    from wfkernel.engine.state import RunState

__all__ = ["bring_up", "kept_model"]


def kept_model(program: Program, options: Options) -> dict[str, Any]:
    """What the start of a run says about its state: the version, unless it is the first, and the model's digest."""
    version = newest(options.migrations, program.id)
    shape = program.state_shape if options.validate else None
    return {
        **({} if version == FIRST else {"state_version": version}),
        **({} if shape is None else {"state_model": shape.digest()}),
    }


def bring_up(program: Program, options: Options, state: RunState, *, given: bool = False) -> list[Change]:
    """The events that bring a run's state to what the code has. Raises `StateMigrationError` or `PlanDrift`.

    `given`: a state for the run to go on with was given, and fits.
    """
    if state.started_at is None:
        return []
    version = newest(options.migrations, program.id)
    if state.state_version != version:
        return [_migration(program, options, state, version)]
    shape = program.state_shape if options.validate and not given else None
    if shape is None or shape.digest() == state.state_model or (program.on_drift == "pin" and state.function):
        return []
    codec = options.codec
    stored = run_state_values(state, codec)
    fitting, problems = refitted(shape, stored, state.initial or ())
    if problems:
        raise PlanDrift(_told(program.id, state, problems, version))
    gained = {name: value for name, value in fitting.items() if name not in stored}
    if not gained:
        return []
    body = {"from": version, "to": version, "gained": encoded(gained, codec), "state_model": shape.digest()}
    return [(ev.RUN_MIGRATED, "", body)]


def _migration(program: Program, options: Options, state: RunState, version: Version) -> Change:
    codec, whose = options.codec, f"run '{state.run_id}'"
    values = migrated(run_state_values(state, codec), state.state_version, options.migrations, whose)
    if options.validate and program.state_shape is not None:
        values, problems = refitted(program.state_shape, values, ())
        if problems:
            raise StateMigrationError(
                f"the state of {whose} after its migration from version {state.state_version} to {version} does not fit the "
                f"workflow's: {_listed(problems)}. Nothing was changed."
            )
    body = {"from": state.state_version, "to": version, "state": encoded(values, codec)}
    return ev.RUN_MIGRATED, "", body | kept_model(program, options)


def _told(workflow: str, state: RunState, problems: list[tuple[str, str]], version: Version) -> str:
    steps = _stands_at(state)
    later = repr(version + 1) if isinstance(version, int) else "..."
    named = f" stands at step {', '.join(map(repr, steps))} with" if steps else " has"
    travel = f", or give the state: run.time_travel({steps[0]!r}, state={{...}})" if steps else ""
    return (
        f"run '{state.run_id}' of workflow '{workflow}'{named} a state of an older model. {_listed(problems)}. Say how it becomes one of "
        f"today's: @state_migration({version!r}, {later}) on a function of the state, in migrations=[...] of the "
        f"workflow{travel}. Nothing was changed."
    )


def _listed(problems: list[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {message}" for name, message in problems)


def _stands_at(state: RunState) -> list[str]:
    """The steps the run waits for or was cut off in, else the one that ended last."""
    steps = list(state.steps.values())
    under_way = [s.path for s in steps if s.status in ("suspended", "running", "waiting", "failed") and not s.excused]
    if not under_way and steps:
        return [max(steps, key=lambda step: step.done_seq).path]
    return [path for path in under_way if not any(other.startswith((f"{path}.", f"{path}[")) for other in under_way)]
