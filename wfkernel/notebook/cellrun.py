"""One execution, or one restore, of a step cell: the object a transformed cell talks to.

The transformed cell (see `wfkernel.notebook.transform`) calls `next_attempt` and `attempt` around its statements, or
`restore` in their place. What must be on disk before a step counts as finished is on disk when `attempt` ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wfkernel.engine import events as ev
from wfkernel.engine.context import running
from wfkernel.engine.script import StepRun
from wfkernel.errors import RunStopped, RunSuspended, ValueUnreadable
from wfkernel.notebook.shown import Shown, flush_figures, keeping, show_again
from wfkernel.notebook.timelimit import time_limit
from wfkernel.store.codecs import encode_names
from wfkernel.store.digest import digest_value
from wfkernel.store.displayed import active_kinds, may_show, sign_displays, without_active

if TYPE_CHECKING:
    from types import FunctionType, ModuleType  # noqa: F401

    from wfkernel.notebook.session import Session
    from wfkernel.notebook.stepline import StepLine
    from wfkernel.plan.cell import CellStep

__all__ = ["CellExecution", "CellFailure", "CellRestore", "CellSkip", "checkpoint"]


class CellFailure:
    """A cell that only reports why it cannot run."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def report(self) -> None:
        raise self._error


class CellRestore:
    """A step whose result is already there."""

    def __init__(self, session: Session, step: CellStep, values: dict[str, Any], line: StepLine, begun: float) -> None:
        self._session, self._step, self._values, self._line, self._begun = session, step, values, line, begun

    def restore(self) -> None:
        """Put the step's values into the namespace."""
        session, name = self._session, self._step.name
        done = session.run.state.step(name).done
        assert done is not None
        for record in done["outputs"]:
            if record["name"] in self._values:
                session.namespace.bind(record["name"], self._values[record["name"]], name, record["digest"])
        for gone in self._step.names.deletes:
            session.namespace.values.pop(gone, None)
        session.run.restored(name, time.perf_counter() - self._begun, len(self._values))
        self._show_again(done.get("shown"))
        session.check_finished()
        self._line.finish()

    def _show_again(self, kept: dict[str, Any] | None) -> None:
        if kept is None or not self._step.options.keep_output:
            return
        session = self._session
        try:
            outputs = session.store.decode(kept)
        except ValueUnreadable as error:
            session.run.emit(ev.STEP_OUTPUT, {"text": f"its output cannot be shown again: {error}"}, self._step.name)
            return
        if not may_show(kept, outputs):
            said = f"its {', '.join(active_kinds(outputs))} was shown by another user or machine and could run their code here"
            session.run.emit(ev.STEP_OUTPUT, {"text": f"{said}. If you trust it: wf trust STORE"}, self._step.name)
            outputs = without_active(outputs)
        show_again(session.shell, outputs)


class CellSkip:
    """A step whose ``--when`` does not hold."""

    def __init__(self, session: Session, run: StepRun, line: StepLine) -> None:
        self._session, self._run, self._line = session, run, line

    def skip(self) -> None:
        self._run.skip()
        self._session.check_finished()
        self._line.finish()


class CellExecution:
    """A step that runs: up to 1 + retries attempts, then its bound names are checkpointed."""

    def __init__(self, session: Session, step: CellStep, run: StepRun, line: StepLine) -> None:
        self._session, self._step, self.run, self._line = session, step, run, line
        self._again = True
        self._shown = Shown() if step.options.keep_output else None

    def next_attempt(self) -> bool:
        again, self._again = self._again, False
        return again

    @staticmethod
    def show(value: Any) -> None:
        """Display a value the way IPython displays an expression of a cell."""
        sys.displayhook(value)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        session, options = self._session, self._step.options
        self.run.start()
        self._line.start()
        try:
            limit = time_limit(session.stops.interrupts, self._step.name, options.timeout)
            with running(self.run), limit, keeping(self._shown):
                yield
                flush_figures()
            self._checkpoint(self.run.elapsed())
        except RunSuspended:
            self._line.finish()
            raise
        except BaseException as error:
            self._settle(session.stops.interrupts.cause_of(error))
        else:
            self._line.finish()
            if (stopped := session.stops.interrupts.pending()) is not None:  # too late for this step, not for the next
                session.stops.note(stopped)
                raise stopped

    def _settle(self, cause: BaseException) -> None:
        """After an attempt that did not end well: raise what ended the step, or wait for the next attempt."""
        session, options = self._session, self._step.options
        if not isinstance(cause, RunStopped):
            delay = self.run.failed(cause, options.retries, options.delay, _record(session, self._shown))
            if delay is None:
                self._line.finish()
                raise cause
            try:
                time.sleep(delay)
            except BaseException as error:
                cause = session.stops.interrupts.cause_of(error)
            else:
                self._again = True
                return
        session.stops.note(cause, self._line)
        raise cause from None

    def _checkpoint(self, seconds: float) -> None:
        session, names = self._session, self._step.names
        values = session.namespace.values
        bound = {name: values[name] for name in sorted(names.binds) if name in values}
        bound.update(self._changed_in_place())
        checkpoint(session, self.run, bound, seconds, self._shown)

    def _changed_in_place(self) -> dict[str, Any]:
        """Inputs whose content the body changed without binding them: they count as bound."""
        names, inputs, values = self._step.names, self.run.inputs, self._session.namespace.values
        changed = {}
        for name in sorted((names.stores | names.mutates) - names.binds):
            if name in inputs and name in values and not _is_code(values[name]):
                if digest_value(values[name]) != inputs[name]["digest"]:
                    changed[name] = values[name]
        return changed


def checkpoint(session: Session, run: StepRun, bound: dict[str, Any], seconds: float, shown: Shown | None) -> None:
    """Save what a step bound and showed; when this returns the step is finished, whatever happens next.

    The run's end, if this was its last step, is written with it: both are on disk after one fdatasync.
    """
    records = encode_names(bound, session.store.blobs)
    last = session.ends_with(run.path)
    run.succeed(records, seconds, _record(session, shown), durable=not last)
    if last:
        session.run.finish("success")
    for record in records:
        session.namespace.bind(record["name"], bound[record["name"]], run.path, record["digest"])


def _record(session: Session, shown: Shown | None) -> dict[str, Any] | None:
    """What a step showed, as a stored value."""
    if shown is None or not shown.outputs:
        return None
    record = session.store.encode(shown.outputs, durable=True)
    sign_displays(record, shown.outputs)
    return record


def _is_code(value: Any) -> bool:
    """Modules, classes and functions are not data that a step hands on by changing it."""
    from types import BuiltinFunctionType, FunctionType, ModuleType

    return isinstance(value, ModuleType | type | FunctionType | BuiltinFunctionType)
