"""One attempt of a step: what the step's code can see and do. It is what a parameter named ``ctx`` gets.

The same object stands behind the plain functions `suspend`, `write`, `progress` of `wfkernel.engine.context`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from wfkernel.engine import events as ev
from wfkernel.engine.answers import (
    Asked,
    answer_event,
    answer_schema,
    checked_question,
    opened_answer,
    prepared_answers,
    validate_answer,
)
from wfkernel.engine.context import Label, current_step, labels_of
from wfkernel.engine.events import STEP_OUTPUT
from wfkernel.engine.failures import Bailed, StateInvalid, SuspendDataInvalid
from wfkernel.engine.group_commit import DONE
from wfkernel.engine.remember import remembered
from wfkernel.engine.values import reveal
from wfkernel.errors import AnswerInvalid, DefinitionError, RunSuspended
from wfkernel.plan.missing import MISSING
from wfkernel.plan.shape import is_model

if TYPE_CHECKING:
    from wfkernel.engine.core import Core, Frame
    from wfkernel.engine.scope import StateScope
    from wfkernel.engine.signal import CancelSignal
    from wfkernel.plan.step import StepSpec

__all__ = ["ConditionContext", "StepRun", "Writer", "previous_output"]


class _Room:
    """Awaitable: there is room again in the slowest stream."""

    __slots__ = ("_hub",)

    def __init__(self, hub: Any) -> None:
        self._hub = hub

    def __await__(self) -> Generator[Any, None, None]:
        return self._hub.room().__await__()  # type: ignore[no-any-return]


class Writer:
    """Writes to the run's stream while the step runs. What one step writes arrives in its order.

    Both methods may be called from plain functions; a coroutine that awaits them is slowed down to the pace of the
    slowest stream that blocks.
    """

    __slots__ = ("_attempt", "_hub", "_path", "_recorder")

    def __init__(self, step: StepRun) -> None:
        self._recorder, self._hub = step.core.recorder, step.core.recorder.hub
        self._path, self._attempt = step.path, step.attempt

    def write(self, value: Any) -> Awaitable[None]:
        """Send any value: a `step.output` event with ``payload["output"]``."""
        self._recorder.emit(STEP_OUTPUT, {"output": value}, self._path, self._attempt)
        return self._wait() if self._hub.full else DONE

    def custom(self, event: Mapping[str, Any]) -> Awaitable[None]:
        """Send an event of your own: ``{"type": ..., ...}``, as a `step.custom` event with ``payload["data"]``."""
        if not isinstance(event, Mapping) or not isinstance(event.get("type"), str):
            raise DefinitionError(
                f"writer.custom() in step '{self._path}' takes a dict with a text under 'type', not {event!r}."
            )
        self._recorder.emit(ev.STEP_CUSTOM, {"type": event["type"], "data": dict(event)}, self._path, self._attempt)
        return self._wait() if self._hub.full else DONE

    def _wait(self) -> Awaitable[None]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._hub.wait_for_room()  # a thread: it can wait right here
            return DONE
        return _Room(self._hub)


class ConditionContext:
    """What conditions, maps and durations of a workflow see of the run."""

    def __init__(self, core: Core, scope: StateScope, frame: Frame, value: Any, iteration: int = 0) -> None:
        self.core, self._scope, self._frame = core, scope, frame
        self.input = value
        self.iteration = iteration
        """Which iteration of the loop has just ended, from 1; 0 outside loops."""

    @property
    def state(self) -> dict[str, Any]:
        """The state of the run."""
        return self._scope.snapshot()

    @property
    def run_id(self) -> str:
        return self.core.state.run_id

    @property
    def workflow_id(self) -> str:
        """The workflow the step belongs to: the nested one inside nested workflows."""
        return self._frame.plan.id

    @property
    def resource(self) -> str:
        return self.core.state.resource

    @property
    def session(self) -> Any:
        """The run's `Session`, None without one."""
        return self.core.session

    @property
    def signal(self) -> CancelSignal:
        """Tells when the run is told to stop."""
        return self.core.signal

    @property
    def item(self) -> Any:
        """The item of the foreach around the step, None outside of one."""
        frame: Frame | None = self._frame
        while frame is not None and frame.item is MISSING:
            frame = frame.outer
        return frame.item if frame is not None else None

    @property
    def vars(self) -> dict[str, Any]:
        """The constants of the workflow."""
        return self._frame.owner().plan.vars

    def inputs(self) -> Any:
        """The input of the workflow the step belongs to, past groups of steps that are part of it."""
        return self._frame.owner().init

    def step_status(self, id_: str) -> str:
        """How a step of the same workflow stands: ``pending`` before it began."""
        known = self._frame.latest(self.core, id_)
        return known.status if known is not None else "pending"

    def init_data(self) -> Any:
        """The input of the workflow the step belongs to."""
        return self._frame.init

    def step_result(self, step: Any) -> Any:
        """Output of a step of the same workflow, None unless it succeeded."""
        return self._frame.output_of(self.core, step)


class StepRun(ConditionContext):
    """One attempt of a step."""

    def __init__(
        self,
        core: Core,
        spec: StepSpec,
        path: str,
        attempt: int,
        value: Any,
        scope: StateScope,
        frame: Frame,
        iteration: int,
        index: int | None,
        signal: CancelSignal,
    ) -> None:
        self.core, self.spec, self.path, self.attempt = core, spec, path, attempt
        self._scope, self._frame = scope, frame
        self.input, self.iteration = value, iteration
        self.index = index
        """Which item of a foreach this is, from 0."""
        self.changes: dict[str, Any] | None = None
        self._signal = signal
        self._asked = 0
        self._state: Any = None

    @property
    def signal(self) -> CancelSignal:
        """Tells when this step should stop: the run was canceled, or the attempt takes too long."""
        return self._signal

    @property
    def retry_count(self) -> int:
        """How many attempts failed before this one."""
        return self.attempt - 1

    @property
    def writer(self) -> Writer:
        return Writer(self)

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        """The run's state as it was when the step began: a dict, or the step's `state` model."""
        if self._state is None:
            snapshot = self._scope.snapshot()
            model = self.spec.state
            self._state = snapshot if model is None else _validated(model, snapshot, StateInvalid)
        return self._state

    def set_state(self, changes: Any) -> None:
        """Set top-level keys of the run's state when this step ends well. Of several calls the last one counts."""
        if changes is None:
            return
        if self.spec.state is not None:
            given = changes.model_dump(exclude_unset=True) if is_model(type(changes)) else changes
            checked = _validated(self.spec.state, given, StateInvalid)
            self.changes = {name: getattr(checked, name) for name in checked.model_fields_set}
        elif is_model(type(changes)):
            self.changes = {name: getattr(changes, name) for name in type(changes).model_fields}
        elif isinstance(changes, Mapping):
            self.changes = dict(changes)
        else:
            raise DefinitionError(f"set_state() in step '{self.path}' takes a dict or a model, not {changes!r}.")

    # -- suspend ----------------------------------------------------------------------------------------------------

    @property
    def resume_data(self) -> Any:
        """The last answer given to this step, as its `resume` model; None before the first."""
        answers = self._known.answers
        if not answers:
            return None
        return validate_answer(self.path, self.spec.resume, opened_answer(self.path, answers[-1]))

    @property
    def suspend_data(self) -> Any:
        """The payload this step last suspended with."""
        return self._known.suspend_payload

    @property
    def _known(self) -> Any:
        return self.core.state.step(self.path)

    def suspend(self, model: Any = None, message: str = "", *, payload: Any = None, label: Any = ()) -> Any:
        """Suspend the run until this step is answered; see `wfkernel.suspend`. Returns the answer on resume."""
        return self.answer(model, message, payload, label)

    def answer(self, model: Asked, message: str, payload: Any, label: Label = ()) -> Any:
        model = self.spec.resume if model is None else checked_question(self.path, model)
        index, self._asked = self._asked, self._asked + 1
        for data in prepared_answers(self.path)[index : index + 1] if index >= len(self._known.answers) else ():
            body = answer_event(index, data, "settings", answer_schema(model))
            self.core.recorder.emit(ev.STEP_RESUMED, body, self.path, self.attempt)
        answers = self._known.answers
        refused = None
        if index < len(answers):
            try:
                return validate_answer(self.path, model, opened_answer(self.path, answers[index]))
            except AnswerInvalid as error:
                refused = error
        self._emit_suspension(index, model, message, payload, labels_of(label))
        if refused is not None:
            problems = [list(problem) for problem in refused.problems]
            self.core.recorder.emit(ev.STEP_ANSWER_REFUSED, {"problems": problems}, self.path, self.attempt)
            message = f"{message} ({refused})"
        raise RunSuspended(self.core.state.run_id, self.path, message) from None

    def _emit_suspension(self, index: int, model: Any, message: str, payload: Any, labels: list[str]) -> None:
        from pydantic_core import PydanticSerializationError, to_jsonable_python

        if payload is not None and self.spec.suspend is not None:
            payload = _validated(self.spec.suspend, payload, SuspendDataInvalid)
        try:
            payload = to_jsonable_python(payload)
        except PydanticSerializationError as error:
            raise DefinitionError(f"suspend() in step '{self.path}': the payload is not JSON-safe: {error}") from None
        schema = answer_schema(model)
        body = {"index": index, "message": message, "schema": schema, "payload": payload, "labels": labels}
        if self.changes:
            body["state"] = self.changes
        self.core.recorder.emit(ev.STEP_SUSPENDED, body, self.path, self.attempt)

    # -- ending early -------------------------------------------------------------------------------------------------

    def bail(self, value: Any = None) -> NoReturn:
        """End the workflow here, successfully, with `value` as its result. Later steps never run."""
        raise Bailed(value)

    def abort(self, reason: str = "aborted by the step") -> None:
        """Cancel the run from inside. The step may still finish."""
        self.core.signal.set(reason)

    # -- output -------------------------------------------------------------------------------------------------------

    def write(self, text: str, shown: dict[str, Any] | None = None) -> None:
        self.core.recorder.emit(STEP_OUTPUT, {"text": text, **(shown or {})}, self.path, self.attempt)

    def progress(self, done: float, total: float | None = None, label: str = "") -> None:
        """Say how far the step has come."""
        self.core.recorder.emit(
            ev.STEP_PROGRESS, {"done": done, "total": total, "label": label}, self.path, self.attempt
        )

    def remember(self, text: str, meta: dict[str, Any]) -> None:
        """Keep a text to be found by a search; see `wfkernel.remember`."""
        self.core.recorder.emit(ev.CONTEXT_REMEMBER, remembered(text, meta), self.path, self.attempt)

    # -- elsewhere ----------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, Any]:
        """What a step in another process can know about its run."""
        return {
            "run_id": self.run_id,
            "workflow_id": self.workflow_id,
            "resource": self.resource,
            "input": self.input,
            "iteration": self.iteration,
            "index": self.index,
            "state": self.state,
            "resume": self.spec.resume,
            "resume_data": self.resume_data,
            "suspend_data": self.suspend_data,
        }

    def __reduce__(self) -> Any:
        return current_step, ()  # in another process the step is the one that is executed there


def previous_output(core: Core, path: str) -> Any:
    """Output of a step that succeeded, None otherwise."""
    step = core.state.steps.get(path)
    return reveal(step.output, core.recorder.codec) if step is not None and step.status == "success" else None


def _validated(model: Any, value: Any, kind: type[Exception]) -> Any:
    from pydantic import ValidationError

    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
        raise kind(problems) from None
