"""The commands people give a notebook's run, whatever they come through: run view, JupyterLab panel, another process.

A command is a dict with an `op`; its reply is a dict with `ok`, and `problems` ([field, text] pairs) where it was refused.
With a `run` that this kernel does not write, it is handed on to the process that does. A command with a `view` is that
view's: it may show another run, and knows more commands (`wfkernel.notebook.runview`). Nothing here waits for a cell, so
that a command can be done in the kernel's control thread while one is running:

    suspend, cancel     stop what executes, now; the steps that were cut short run again
    resume              answer a suspended step (`step`, `data`), or go on with a run a person suspended
    continue            execute the answered step here, for front ends that cannot run the notebook's cells
    retry               forget the result of `step` and of what is made from it
    travel              go back to where `step` began: it and every step below it are forgotten
    status              where the run stands
    runs                the newest runs of the store

After resume, retry and travel the reply names the cell (`cell_id`) from which the page has to run the notebook.
"""

from __future__ import annotations

import contextvars
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.commands import Command, Reply
from wfkernel.errors import AnswerInvalid, DefinitionError, RunNotSuspended, WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState
    from wfkernel.notebook.session import Session

__all__ = ["Command", "Commands", "Reply"]

REMEMBERED: Final = 100
"""Replies kept, so that a command that arrives twice is done once."""
LISTED: Final = 50


class Commands:
    """The commands of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._replies: OrderedDict[str, Reply] = OrderedDict()
        self._lock = threading.Lock()

    def do(self, command: Command, by: str, context: contextvars.Context | None = None) -> Reply:
        """Do one command and reply to it. `context` is where output of a step that `continue` executes goes."""
        identity = str(command.get("id") or "")
        with self._lock:
            known = self._replies.get(identity) if identity else None
        if known is not None:
            return known
        reply = self._reply(command, by, context)
        with self._lock:
            if identity and not reply.keys() & {"picture", "still"}:  # large, and the same whenever it is asked for
                self._replies[identity] = reply
            while len(self._replies) > REMEMBERED:
                self._replies.popitem(last=False)
        return reply

    def _reply(self, command: Command, by: str, context: contextvars.Context | None) -> Reply:
        view = self._session.view(command.get("view"))
        if view is not None:
            return view.command({name: value for name, value in command.items() if name not in ("view", "id")})
        actions: dict[str, Callable[[], Reply]] = {
            "suspend": lambda: self._stop("suspended", by),
            "cancel": lambda: self._stop("canceled", by),
            "resume": lambda: self._resume(command.get("step"), command.get("data"), by),
            "continue": lambda: self._continue(command.get("step") or "", context),
            "retry": lambda: self._go_back(command.get("step") or "", by, below=False),
            "travel": lambda: self._go_back(command.get("step") or "", by, below=True),
            "status": self._status,
            "runs": self._runs,
        }
        action = actions.get(command.get("op", ""))
        try:
            if action is None:
                raise DefinitionError(f"unknown command {command.get('op')!r}. Known: {', '.join(actions)}")
            if self._is_elsewhere(command):
                return self._session.store.send(command["run"], {**command, "by": by}, timeout=2.0)
            return {"ok": True, **action()}
        except AnswerInvalid as error:
            return {"ok": False, "problems": [list(problem) for problem in error.problems]}
        except WorkflowError as error:
            return {"ok": False, "problems": [["", str(error)]]}

    def _is_elsewhere(self, command: Command) -> bool:
        """Whether the command is for a run that another process executes."""
        session, wanted = self._session, command.get("run")
        return bool(wanted) and not (session.has_run and session.run.run_id == wanted)

    # -- each of them --------------------------------------------------------------------------------------------------

    def _stop(self, status: Any, by: str) -> Reply:
        self._session.stops.request(status, by)
        return {}

    def _resume(self, step: str | None, data: Any, by: str) -> Reply:
        session = self._session
        state = session.run.state
        stopped = state.stopped_steps
        if state.suspended_steps:
            path = session.resume(data, step, by)
        elif state.status == "suspended":
            session.run.emit(ev.RUN_RESUME, {"status": "running", "by": by}, durable=True)
            path = stopped[0].path if stopped else next((s.path for s in state.steps.values() if not s.done), "")
        else:
            raise RunNotSuspended(
                f"run {state.run_id} is not suspended, it is {state.status}: there is nothing to resume"
            )
        return self._from_cell(path)

    def _continue(self, path: str, context: contextvars.Context | None) -> Reply:
        session = self._session
        known = session.cells.get(path)
        if known is None or known.step.names.uses_await:
            return {"message": f"Run the cell of step '{path}' and the cells below it."}
        loop = session.shell.kernel.io_loop.asyncio_loop  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(session.execute_shown, path, context=context or contextvars.copy_context())
        return {"message": "Run the cells below to continue."}

    def _go_back(self, path: str, by: str, *, below: bool) -> Reply:
        session = self._session
        state = session.run.state
        if path not in state.steps:
            raise DefinitionError(f"run {state.run_id} has no step '{path}'; steps: {', '.join(state.steps) or 'none'}")
        if any(step.status == "running" for step in state.steps.values()):
            raise DefinitionError("a step is executing: suspend the run first")
        dropped = _from_here(state, path) if below else _made_from(state, path)
        session.run.emit(ev.RUN_TRAVEL, {"status": "running", "to": path, "dropped": dropped, "by": by}, durable=True)
        session.plan_run(session.steps())  # what was forgotten is still to come
        return self._from_cell(path)

    def _from_cell(self, path: str) -> Reply:
        known = self._session.cells.get(path)
        return {"step": path, "cell_id": (known.cell_id or "") if known else ""}

    def _status(self) -> Reply:
        session = self._session
        return {
            "run": self._current() if session.has_run else None,
            "busy": session.stops.busy,
            "views": [view.widget.view_id for view in list(session.views.values())],
        }

    def _runs(self) -> Reply:
        session = self._session
        rows = session.store.runs(limit=LISTED)
        for row in rows:
            row["started_at"] = row["started_at"].isoformat() + "Z" if row["started_at"] else None
        current = self._current() if session.has_run else None
        wanted = ("run_id", "workflow", "notebook", "mode", "status", "started_at", "seconds", "error", "interrupted")
        return {"runs": [{name: row[name] for name in wanted} for row in rows], "current": current}

    def _current(self) -> dict[str, Any]:
        """The run in a few words: what a toolbar and a list need."""
        state = self._session.run.state
        steps = list(state.steps.values())
        return {
            "run_id": state.run_id,
            "workflow": state.workflow,
            "notebook": state.notebook,
            "status": state.status,
            "busy": self._session.stops.busy,
            "steps": len(steps),
            "done": sum(step.status in ("success", "skipped") for step in steps),
            "running": [self._from_cell(step.path) for step in steps if step.status == "running"],
            "waiting": [
                {**self._from_cell(step.path), "message": step.suspension.message}
                for step in state.suspended_steps
                if step.suspension is not None
            ],
            "stopped": [self._from_cell(step.path) for step in state.stopped_steps],
        }


def _from_here(state: RunState, path: str) -> list[str]:
    """The step and every step after it in the notebook's order."""
    order = [known for known in state.steps if "[" not in known]
    return order[order.index(path) :] if path in order else [path]


def _made_from(state: RunState, path: str) -> list[str]:
    """The step and every finished step whose inputs came, directly or not, from it."""
    made = [path]
    for step in state.steps.values():
        if step.path not in made and any(entry.get("from") in made for entry in step.inputs.values()):
            made.append(step.path)
    return made
