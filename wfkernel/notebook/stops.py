"""Stopping a notebook's run: what takes place between somebody's wish and the event that notes it.

A wish comes as an interrupt of the kernel or as a command. It ends what is executing (a step in the main thread, steps in
workers, a graph beside the cells) with `RunStopped`; `note` then writes down which steps were cut short. A step that was
stopped has not failed: it keeps nothing of this execution and runs again from its start.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal

from wfkernel.engine.loop import run_sync
from wfkernel.errors import RunNotSuspended, RunStopped
from wfkernel.notebook.frontend import parent_header, publish
from wfkernel.notebook.interrupts import INTERRUPT, Interrupts
from wfkernel.notebook.runs import RUN_VARIABLE

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session
    from wfkernel.notebook.stepline import StepLine

__all__ = ["Stops"]

_ENDED: Final = ("success", "failed", "canceled")


class Stops:
    """Everything that stops the run of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.interrupts = Interrupts(self._stopped, self._stops_run, self._cancel_suspended)
        self.cut_short: list[StepLine] = []
        """Lines of steps in workers that were ended; `note` lets them say how."""

    @property
    def busy(self) -> bool:
        """Whether there is something that can be stopped."""
        return self.interrupts.busy or self._session.graphs.busy

    def request(self, status: Literal["suspended", "canceled"], by: str) -> None:
        """Stop the run now, from any thread. Raises `RunNotSuspended` when there is nothing to stop."""
        session = self._session
        if not session.has_run:
            raise RunNotSuspended("no step has run in this notebook yet: there is nothing to stop")
        cause = self._stopped(status, by)
        beside = session.graphs.stop(cause)
        if self.interrupts.deliver(cause) or beside:
            return
        now = session.run.state.status
        if now in _ENDED or now == status:
            raise RunNotSuspended(f"run {session.run.run_id} is {now}: there is nothing to stop")
        self.note(cause)

    def note(self, cause: BaseException, line: StepLine | None = None) -> None:
        """Write down that the run was stopped by `cause`, and let the lines of its steps say so."""
        if isinstance(cause, RunStopped):
            self._session.run.stop(self._executing(), cause.status, cause.by)
        lines, self.cut_short = self.cut_short, []
        for each in [*lines, *([line] if line else [])]:
            each.finish()

    def wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Wait in the main thread for work on the engine's loop. An interrupt ends the work with `RunStopped`."""
        try:
            return run_sync(work)
        except BaseException as error:
            cause = self.interrupts.cause_of(error)
            if isinstance(cause, RunStopped):
                self.note(cause)
                raise cause from None
            raise

    def after_cell(self, left: BaseException | None, error: BaseException | None) -> None:
        """A cell ended with `error`: note a stop that no step of it has noted."""
        stop = error if isinstance(error, RunStopped) else left
        if isinstance(stop, RunStopped) and self._session.has_run and self._session.run.state.status != stop.status:
            self.note(stop)

    # -- what an interrupt means -------------------------------------------------------------------------------------

    def _executing(self) -> list[str]:
        if not self._session.has_run:
            return []
        return [path for path, step in list(self._session.run.state.steps.items()) if step.status == "running"]

    def _stopped(self, status: str, by: str) -> RunStopped:
        steps = tuple(path for path in self._executing() if "[" not in path)
        return RunStopped(self._session.run.run_id, status, by, steps)

    def _stops_run(self) -> bool:
        return RUN_VARIABLE in os.environ or bool(self._executing())

    def _cancel_suspended(self) -> None:
        """The second interrupt, after the first one has ended the cell."""
        run = self._session.run
        if run.state.status == "suspended" and not run.state.suspended_steps:
            stopped = self._stopped("canceled", INTERRUPT)
            run.stop([], "canceled", INTERRUPT)
            text = f"{stopped._render_traceback_()[0]}\n"
            publish(self._session.shell, parent_header(self._session.shell), "stream", {"name": "stderr", "text": text})
