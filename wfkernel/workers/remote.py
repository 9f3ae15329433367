"""The running step in another process: its calls are relayed to the real one.

`RemoteStep` is what `suspend`, `write` and `progress` find there, and what a function's ``ctx`` becomes. Calls that return
nothing travel as they are made. `suspend` cannot wait for a message to come back (on a cluster there is no way back), so
the answers travel with the call: the n-th `suspend` returns the n-th of them, and where there is none the step ends
there. Either way the question is relayed too; the real step sees the same calls in the same order as if the function ran
beside it, and it is the real step that writes the suspension to the run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn

from wfkernel.engine.context import Label, running
from wfkernel.engine.remember import remembered
from wfkernel.engine.signal import CancelSignal, cancel_signal, signalled_by
from wfkernel.engine.worker import Call
from wfkernel.errors import AnswerInvalid, RunSuspended, WorkflowError
from wfkernel.workers.execute import Outcome
from wfkernel.workers.shipping import Parts, Suspended, pack, unpack

if TYPE_CHECKING:
    from wfkernel.engine.answers import Asked
    from wfkernel.engine.context import StepContext

__all__ = ["Relay", "RemoteStep", "open_call"]


class _Sent:
    """What a relayed call returns: nothing, and it can be awaited."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_SENT: Final = _Sent()


class RemoteStep:
    """A `StepContext` that hands on every call as parts for `Relay.receive`.

    What the call's `environment` holds can be read as attributes: `run_id`, `state`, ...
    """

    def __init__(self, send: Callable[[Parts], None]) -> None:
        self._send = send
        self._asked = 0
        self._answers: list[Any] = []
        self.path, self.attempt = "", 1
        self.environment: dict[str, Any] = {}

    def take(self, call: Call) -> None:
        """Be the step of this call. Not done when it is made: the call's arguments may hold the step."""
        self.path, self.attempt = call.path, call.attempt
        self.environment, self._answers = call.environment, call.answers

    def __getattr__(self, name: str) -> Any:
        environment = self.__dict__.get("environment", {})
        if name in environment:
            return environment[name]
        raise AttributeError(f"'{name}' of a step cannot be used in another process. Use worker='threads' or 'inline'.")

    def _relay(self, method: str, *arguments: Any) -> _Sent:
        self._send(pack((method, arguments)))
        return _SENT

    # -- suspend ----------------------------------------------------------------------------------------------------

    def answer(self, model: Asked, message: str, payload: Any, label: Label = ()) -> Any:
        from wfkernel.engine.answers import validate_answer  # most calls ask nothing, and a worker is to start soon

        index = self._asked
        self._asked += 1
        self._relay("answer", model, message, payload, label)
        if index < len(self._answers):
            try:
                return validate_answer(self.path, model or self.environment.get("resume"), self._answers[index])
            except AnswerInvalid as refused:
                message = f"{message} ({refused})"
        raise RunSuspended(str(self.environment.get("run_id", "")), self.path, message)

    def suspend(self, model: Any = None, message: str = "", *, payload: Any = None, label: Any = ()) -> Any:
        """Suspend the run until this step is answered; see `wfkernel.suspend`."""
        return self.answer(model, message, payload, label)

    # -- output -----------------------------------------------------------------------------------------------------

    def write(self, text: str, shown: dict[str, Any] | None = None) -> None:
        self._relay("write", text, shown)

    def display(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show something rich: formats by MIME type."""
        self._relay("display", data, metadata)

    def progress(self, done: float, total: float | None = None, label: str = "") -> None:
        self._relay("progress", done, total, label)

    def remember(self, text: str, meta: dict[str, Any]) -> None:
        """Keep a text to be found by a search."""
        said = remembered(text, meta)  # refused here, where the mistake was made
        self._relay("remember", said["text"], {**said["meta"], "kind": said["kind"]})

    @property
    def writer(self) -> _Writer:
        """Writes to the run's stream while the step runs."""
        return _Writer(self._relay)

    # -- the run ----------------------------------------------------------------------------------------------------

    @property
    def signal(self) -> CancelSignal:
        """Tells when this step should stop."""
        return cancel_signal()

    @property
    def retry_count(self) -> int:
        """How many attempts failed before this one."""
        return self.attempt - 1

    def set_state(self, changes: Any) -> None:
        """Set keys of the run's state when this step ends well."""
        self._relay("set_state", changes)

    def abort(self, reason: str = "aborted by the step") -> None:
        """Cancel the run from inside."""
        self._relay("abort", reason)

    def bail(self, value: Any = None) -> NoReturn:
        """End the workflow here, successfully, with `value` as its result."""
        from wfkernel.engine.failures import Bailed

        raise Bailed(value)


def open_call(parts: Parts, step: RemoteStep, signal: CancelSignal) -> Call:
    """Unpickle a call that `step` and `signal` belong to; among its arguments they may be themselves."""
    with running(step), signalled_by(signal):
        call: Call = unpack(parts)
    step.take(call)
    return call


class _Writer:
    def __init__(self, relay: Callable[..., _Sent]) -> None:
        self._relay = relay

    def write(self, value: Any) -> _Sent:
        """Send any value."""
        return self._relay("writer.write", value)

    def custom(self, event: Mapping[str, Any]) -> _Sent:
        """Send an event of your own: ``{"type": ..., ...}``."""
        return self._relay("writer.custom", event)


class Relay:
    """The near end: makes the calls on the real step, and settles how the call ended."""

    def __init__(self, step: StepContext) -> None:
        self._step = step
        self._raised: BaseException | None = None

    def receive(self, parts: Parts) -> None:
        """Make one call the remote step was given."""
        method, arguments = unpack(parts)
        if method != "answer":
            attrgetter(method)(self._step)(*arguments)
            return
        self._raised = None
        try:
            self._step.answer(*arguments)
        except BaseException as raised:  # RunSuspended; it is raised when the function has ended too
            self._raised = raised

    def settle(self, outcome: Outcome | Suspended) -> Outcome:
        """The outcome, a suspension being what the real step raised."""
        if isinstance(outcome, Outcome):
            return outcome
        if self._raised is not None:
            return Outcome(error=self._raised)
        return Outcome(
            error=WorkflowError(
                f"step '{self._step.path}' suspended in its worker but has an answer here: "
                "the call was not given all answers."
            )
        )
