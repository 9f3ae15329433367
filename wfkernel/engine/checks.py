"""What a run is given from outside, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfkernel.engine.answers import plain_answer
from wfkernel.engine.failures import InputInvalid
from wfkernel.engine.options import Options, Program
from wfkernel.engine.state import RunState
from wfkernel.plan.shape import Misfit, Shape, is_model

__all__ = ["checked_answer", "checked_input", "checked_start", "checked_state"]


def checked_start(program: Program, options: Options, value: Any, state: Any) -> tuple[Any, dict[str, Any]]:
    """Input and initial state of a run. Raises `InputInvalid`."""
    if options.validate:
        value = checked_input(program.input_shape, value, "input data")
    return value, checked_state(program, options, state)


def checked_state(program: Program, options: Options, state: Any) -> dict[str, Any]:
    """The state a run begins with. Raises `InputInvalid`."""
    if options.validate and program.state_shape is not None:
        state = checked_input(program.state_shape, {} if state is None else state, "initial data")
    if state is None:
        return {}
    if is_model(type(state)):
        return {name: getattr(state, name) for name in type(state).model_fields}
    if not isinstance(state, Mapping):
        raise InputInvalid("initial data", [("", f"Input should be an object, not {type(state).__name__}")])
    return dict(state)


def checked_answer(program: Program, known: RunState, path: str, data: Any) -> Any:
    """The answer for the suspended step at `path`, JSON-safe. Raises `InputInvalid`."""
    spec = program.spec_at(path)
    suspension = known.step(path).suspension
    if data is not None:
        if spec is not None and spec.resume is not None:
            checked_input(Shape(spec.resume), data, "resume data")
        elif suspension is not None and suspension.schema:
            from wfkernel.plan.schema import check_schema

            problems = check_schema(suspension.schema, plain_answer(data))
            if problems:
                raise InputInvalid("resume data", problems)
    return plain_answer(data)


def checked_input(shape: Shape | None, value: Any, what: str) -> Any:
    """`value` in the given shape. Raises `InputInvalid`, which says `what` does not fit."""
    if shape is None:
        return value
    try:
        return shape.check(value)
    except Misfit as misfit:
        raise InputInvalid(what, misfit.problems) from None
