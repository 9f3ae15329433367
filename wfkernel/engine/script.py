"""A run of a script: steps in the order the script comes to them, each remembered by its name, code and inputs.

A notebook run from top to bottom is such a script. For every step the script asks `decide`: was this step finished in
this run with the same code and the same inputs? Then it is restored, otherwise executed. What happens is written as
events, each applied to the run's state as it is written, so the state in memory and the stored one are the same fold.

This file knows nothing of notebooks or of DuckDB: the log it writes to is given to it.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

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
from wfkernel.engine.context import Label, labels_of
from wfkernel.engine.durability import Durability, RunLog
from wfkernel.engine.error_kinds import causes, classified
from wfkernel.engine.events import Event
from wfkernel.engine.group_commit import EventLog
from wfkernel.engine.redaction import redactor
from wfkernel.engine.remember import doc_once, remembered
from wfkernel.engine.state import RunState, StepState
from wfkernel.engine.uninterrupted import Uninterrupted
from wfkernel.errors import AnswerInvalid, DefinitionError, RunSuspended

if TYPE_CHECKING:
    pass

__all__ = ["EventLog", "Inputs", "ScriptRun", "StepRun"]

Inputs = dict[str, dict[str, Any]]
"""name -> {"digest": content digest, "from": name of the step that bound it, "" for a plain cell}."""
_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"


class ScriptRun:
    """The writing side of one run. One process has it at a time; safe to use from several threads."""

    def __init__(
        self,
        log: EventLog,
        state: RunState,
        on_event: Callable[[Event], None] | None = None,
        *,
        durability: Durability = "fsync",
    ) -> None:
        self.state = state
        self._sink = log
        self._on_event = on_event
        self._lock = threading.RLock()
        self._log = RunLog(log, durability, self._lock)

    @property
    def run_id(self) -> str:
        return self.state.run_id

    def emit(
        self, type_: str, payload: dict[str, Any], path: str = "", attempt: int = 0, *, durable: bool = False
    ) -> None:
        """Write one event and fold it into `state`."""
        with Uninterrupted(), self._lock:
            event = Event(self.state.run_id, self.state.seq + 1, time.time(), type_, path, attempt, payload)
            self._log.append(event, durable=durable)
            self.state.apply(event)
        if self._on_event is not None:
            self._on_event(event)

    def configure(self, durability: Durability | None = None, checkpoints: str | None = None) -> None:
        """Go on with another durability or other checkpoints; whoever takes the run up does as well."""
        changed: dict[str, Any] = {} if durability is None else {"durability": durability}
        if checkpoints is not None:
            changed["checkpoints"] = checkpoints
        with self._lock:
            if durability is not None:
                log = RunLog(self._sink, durability, self._lock)
                self._log.flush()
                self._log = log
            self.emit(ev.RUN_SETTINGS, changed)

    def flush(self) -> None:
        """Write what the durability ``exit`` still holds: this process leaves the run."""
        with self._lock:
            self._log.flush()

    # -- the run -----------------------------------------------------------------------------------------------------

    def plan(self, steps: list[dict[str, Any]]) -> None:
        """Tell the steps known so far, in order: dicts with `path`, `reads`, `binds`. Nothing is written if unchanged."""
        known = [{"path": s.path, "reads": s.reads, "binds": s.binds} for s in self.state.steps.values()]
        if known[: len(steps)] != steps:
            self.emit(ev.STEP_PLANNED, {"steps": steps})

    def finish(self, status: Literal["success", "failed", "canceled"], error: dict[str, Any] | None = None) -> None:
        """End the run; does nothing when it already ended so."""
        if self.state.status != status:
            self.emit(ev.RUN_FINISH, {"status": status, "error": error}, durable=True)

    def stop(self, steps: Iterable[str], status: str, by: str) -> None:
        """A person stopped the run (`status`: suspended or canceled) while `steps` were executing.

        When these run next they begin from their start.
        """
        with Uninterrupted(), self._lock:
            paths = [path for path in steps if self.state.step(path).status == "running"]
            for path in paths:
                step = self.state.step(path)
                payload = {
                    "status": status,
                    "by": by,
                    "duration": max(0.0, time.time() - (step.started_at or time.time())),
                }
                self.emit(ev.STEP_RESULT, payload, path, step.attempt)
            if status == "canceled":
                self.emit(ev.RUN_CANCEL, {"status": "canceled", "reason": by})
                self.emit(ev.RUN_FINISH, {"status": "canceled", "error": None}, durable=True)
            else:
                self.emit(ev.RUN_SUSPENDED, {"status": "suspended", "paths": paths, "by": by}, durable=True)

    # -- a step ------------------------------------------------------------------------------------------------------

    def decide(self, path: str, code: str, inputs: Inputs) -> Literal["restore", "execute"]:
        """Whether the step's finished result still holds: same code, same content of every input."""
        done = self.state.step(path).done
        if done is None or done["code"] != code or _digests(done["inputs"]) != _digests(inputs):
            return "execute"
        return "restore"

    def restored(self, path: str, seconds: float, count: int) -> None:
        """The step's values are back in place."""
        self.emit(ev.STEP_RESTORED, {"duration": seconds, "values": count}, path)

    def begin(
        self, path: str, code: str, inputs: Inputs, reads: Iterable[str], binds: Iterable[str], doc: str = ""
    ) -> StepRun:
        """Start executing a step. A finished run is opened again first: something in it runs once more.

        So is a run that a person suspended; one that waits for an answer goes on waiting.
        """
        if self.state.status == "suspended" and not self.state.suspended_steps:
            self.emit(ev.RUN_RESUME, {"status": "running", "by": f"step '{path}'"})
        elif self.state.status not in ("running", "suspended"):
            self.emit(ev.RUN_RESTART, {"status": "running", "reason": f"step '{path}' runs again"})
        return StepRun(self, path, code, inputs, sorted(reads), sorted(binds), doc)

    def answer(self, path: str, data: Any, by: str) -> None:
        """Give a suspended step its answer, already validated."""
        step = self.state.step(path)
        schema = step.suspension.schema if step.suspension is not None else {}
        self.emit(ev.STEP_RESUMED, answer_event(len(step.answers), data, by, schema), path)
        self.emit(ev.RUN_RESUME, {"status": "running", "by": by}, durable=True)

    def refuse(self, path: str, problems: list[tuple[str, str]]) -> None:
        """Note that an answer was refused."""
        self.emit(ev.STEP_ANSWER_REFUSED, {"problems": [list(p) for p in problems]}, path)


class StepRun:
    """One execution of a step, over all its attempts. Also the `StepContext` behind `suspend`, `write`, `progress`."""

    def __init__(
        self, run: ScriptRun, path: str, code: str, inputs: Inputs, reads: list[str], binds: list[str], doc: str = ""
    ) -> None:
        self.run, self.path = run, path
        self.inputs = inputs
        self._code, self._reads, self._binds, self._doc = code, reads, binds, doc
        self.attempt = 0
        self.model: Asked = None
        """What was asked for in the suspension the step ended with, to validate its answer in this process."""
        self._asked = 0
        self._begun = 0.0
        self.on_display: Callable[[dict[str, Any], dict[str, Any]], object] | None = None
        """Shows a bundle of formats with its metadata; for steps whose body another process executes."""

    @property
    def state(self) -> StepState:
        return self.run.state.step(self.path)

    def start(self) -> None:
        """Begin the next attempt."""
        self.attempt += 1
        self._asked = 0
        self._begun = time.perf_counter()
        payload = {"code": self._code, "inputs": self.inputs, "reads": self._reads, "binds": self._binds}
        known = self.run.state
        payload |= doc_once(known.owner, known.notebook or known.workflow, self.path, self._doc)
        self.run.emit(ev.STEP_START, payload, self.path, self.attempt)

    def elapsed(self) -> float:
        """Seconds since the current attempt began."""
        return time.perf_counter() - self._begun

    def succeed(
        self,
        outputs: list[dict[str, Any]],
        seconds: float,
        shown: dict[str, Any] | None = None,
        *,
        durable: bool = True,
    ) -> None:
        """The step is finished; when this returns its result survives anything. `shown`: record of what it showed.

        Not `durable`: it survives anything once the next durable event is written, which has to follow at once.
        """
        payload: dict[str, Any] = {"status": "success", "outputs": outputs, "duration": seconds}
        if shown is not None:
            payload["shown"] = shown
        self.run.emit(ev.STEP_RESULT, payload, self.path, self.attempt, durable=durable)

    def failed(
        self, error: BaseException, retries: int, delay: float, shown: dict[str, Any] | None = None
    ) -> float | None:
        """The attempt failed. Returns the seconds to wait before the next one, None when there is none.

        The wait doubles with every attempt. Only an `Exception` is tried again: an interrupt is not the step's failure.
        `shown`: record of what the step showed.
        """
        if not isinstance(error, Exception) or self.attempt > retries:
            self.fail(error, shown)
            return None
        wait: float = delay * 2 ** (self.attempt - 1)
        self.write(f"attempt {self.attempt} failed: {type(error).__name__}: {error}")
        self.run.emit(ev.STEP_RETRY, {"error": describe_error(error), "delay": wait}, self.path, self.attempt)
        return wait

    def skip(self) -> None:
        """The step's condition does not hold: it is not executed and binds nothing."""
        self.run.emit(ev.STEP_RESULT, {"status": "skipped", "duration": 0.0}, self.path, self.attempt, durable=True)

    def fail(self, error: BaseException, shown: dict[str, Any] | None = None) -> None:
        """The step and with it the run failed. `shown`: record of what the step showed before."""
        described = describe_error(error)
        payload = {"status": "failed", "error": described, "duration": self.elapsed()}
        if shown is not None:
            payload["shown"] = shown
        self.run.emit(ev.STEP_RESULT, payload, self.path, self.attempt)
        self.run.finish("failed", {**described, "step": self.path})

    # -- StepContext -------------------------------------------------------------------------------------------------

    def answer(self, model: Asked, message: str, payload: Any, label: Label = ()) -> Any:
        model = checked_question(self.path, model)
        index, self._asked = self._asked, self._asked + 1
        answers = self.state.answers
        if index >= len(answers):
            for data in prepared_answers(self.path)[index : index + 1]:
                given = answer_event(index, data, "settings", answer_schema(model))
                self.run.emit(ev.STEP_RESUMED, given, self.path, self.attempt)
        if index < len(answers := self.state.answers):
            try:
                return validate_answer(self.path, model, opened_answer(self.path, answers[index]))
            except AnswerInvalid as refused:
                self._suspend(index, model, message, payload, label)
                self.run.refuse(self.path, refused.problems)
                raise RunSuspended(self.run.run_id, self.path, f"{message} ({refused})") from None
        self._suspend(index, model, message, payload, label)
        raise RunSuspended(self.run.run_id, self.path, message)

    def _suspend(self, index: int, model: Asked, message: str, payload: Any, label: Label) -> None:
        self.model = model
        body = {
            "index": index,
            "message": message,
            "schema": answer_schema(model),
            "payload": _json_safe(self.path, payload),
            "labels": labels_of(label),
        }
        self.run.emit(ev.STEP_SUSPENDED, body, self.path, self.attempt)
        self.run.emit(ev.RUN_SUSPENDED, {"status": "suspended", "paths": [self.path]}, durable=True)

    def write(self, text: str, shown: dict[str, Any] | None = None) -> None:
        self.run.emit(ev.STEP_OUTPUT, {"text": text, **(shown or {})}, self.path, self.attempt)

    def display(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        if self.on_display is not None:
            self.on_display(data, metadata)

    def progress(self, done: float, total: float | None, label: str) -> None:
        self.run.emit(ev.STEP_PROGRESS, {"done": done, "total": total, "label": label}, self.path, self.attempt)

    def remember(self, text: str, meta: dict[str, Any]) -> None:
        self.run.emit(ev.CONTEXT_REMEMBER, remembered(text, meta), self.path, self.attempt)


def describe_error(error: BaseException, depth: int = 1) -> dict[str, Any]:
    """An exception as JSON: type, message, traceback text and `depth` of its causes; and what kind of failure it is.

    Without what looks like a secret in it (`wfkernel.engine.redaction`).
    """
    redacted = redactor()
    described: dict[str, Any] = {
        "type": type(error).__name__,
        "message": redacted(str(error)) or type(error).__name__,
        "traceback": redacted(_users_part(error))[-20_000:],
        **classified(error),
    }
    chain = described
    for cause in islice(causes(error), depth):
        chain["cause"] = {"type": type(cause).__name__, "message": redacted(str(cause))}
        chain = chain["cause"]
    return described


def _users_part(error: BaseException) -> str:
    """The traceback without the frames of wfkernel's own, which tell a reader nothing about the mistake."""
    told = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = told
    while part is not None:
        part.stack = _users_frames(part.stack)
        part = part.__cause__ or part.__context__
    return "".join(told.format())


def _users_frames(stack: traceback.StackSummary) -> traceback.StackSummary:
    theirs = [frame for frame in stack if not frame.filename.startswith(_OURS)]
    return traceback.StackSummary.from_list(theirs) if theirs else stack


def _digests(inputs: Inputs) -> dict[str, str]:
    return {name: entry["digest"] for name, entry in inputs.items()}


def _json_safe(path: str, payload: Any) -> Any:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(payload)
    except PydanticSerializationError as error:
        raise DefinitionError(f"suspend() in step '{path}': the payload is not JSON-safe: {error}") from None
