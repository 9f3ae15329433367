"""The running step in another process: its calls are relayed to the real one.

`RemoteStep` is what `suspend`, `write` and `progress` find there. `write` and `progress` travel as they are made.
`suspend` cannot wait for a message to come back (on a cluster there is no way back), so the answers travel with the call:
the n-th `suspend` returns the n-th of them, and where there is none the step ends there. Either way the question is
relayed too; the real step sees the same calls in the same order as if the function ran beside it, and it is the real
step that writes the suspension to the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wfkernel.engine.script import validate_answer
from wfkernel.errors import AnswerInvalid, RunSuspended, WorkflowError
from wfkernel.workers.base import Call
from wfkernel.workers.execute import Outcome
from wfkernel.workers.shipping import Parts, Suspended, pack, unpack

if TYPE_CHECKING:
    from pydantic import BaseModel

    from wfkernel.engine.context import StepContext

__all__ = ["Relay", "RemoteStep"]


class RemoteStep:
    """A `StepContext` that hands on every call as parts for `Relay.receive`."""

    def __init__(self, call: Call, send: Callable[[Parts], None]) -> None:
        self.path, self.attempt, self.environment = call.path, call.attempt, call.environment
        self._answers = call.answers
        self._asked = 0
        self._send = send

    def answer(self, model: type[BaseModel] | None, message: str, payload: Any) -> Any:
        index = self._asked
        self._asked += 1
        self._send(pack(("answer", (model, message, payload))))
        if index < len(self._answers):
            try:
                return validate_answer(self.path, model, self._answers[index])
            except AnswerInvalid as refused:
                message = f"{message} ({refused})"
        raise RunSuspended(str(self.environment.get("run_id", "")), self.path, message)

    def write(self, text: str) -> None:
        self._send(pack(("write", (text,))))

    def progress(self, done: float, total: float | None, label: str) -> None:
        self._send(pack(("progress", (done, total, label))))


class Relay:
    """The near end: makes the calls on the real step, and settles how the call ended."""

    def __init__(self, step: StepContext) -> None:
        self._step = step
        self._raised: BaseException | None = None

    def receive(self, parts: Parts) -> None:
        """Make one call the remote step was given."""
        method, arguments = unpack(parts)
        if method != "answer":
            getattr(self._step, method)(*arguments)
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
        return Outcome(error=self._raised or WorkflowError(
            f"step '{self._step.path}' suspended in its worker but has an answer here: "
            "the call was not given all answers."
        ))  # fmt: skip
