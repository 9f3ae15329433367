"""The live run view in a notebook: the widget fed from the run's state, and what its buttons do."""

from __future__ import annotations

import contextvars
import time
from html import escape
from typing import TYPE_CHECKING, Any

from IPython.display import display

from wfkernel.errors import AnswerInvalid, WorkflowError
from wfkernel.notebook.runview import RunView
from wfkernel.notebook.view import view_of

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session

__all__ = ["LiveView", "show_form", "show_run", "show_run_button"]


class LiveView:
    """A `RunView` that follows the session's run."""

    def __init__(self, session: Session, focus: str = "", cell_id: str = "") -> None:
        self._session, self._run = session, session.run
        self._context = contextvars.copy_context()  # output of a later execution goes to the cell that showed us
        self.widget = RunView(self._view(), focus=focus, cell_id=cell_id, on_command=self._command)

    def _view(self) -> dict[str, Any]:
        return view_of(self._run.state, now=time.time())

    def refresh(self) -> None:
        """Bring the widget up to date; called by the session's refresher."""
        self.widget.update(self._view())

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        step = command.get("step")
        try:
            if command.get("op") == "resume":
                known = self._session.cells.get(self._session.resume(command.get("data"), step, by="run view"))
                self.refresh()
                return {"ok": True, "cell_id": (known.cell_id or "") if known else ""}
            if command.get("op") == "continue" and step is not None:
                return self._continue(step)
        except AnswerInvalid as error:
            return {"ok": False, "problems": [list(problem) for problem in error.problems]}
        except WorkflowError as error:
            return {"ok": False, "problems": [["", str(error)]]}
        return {"ok": False, "problems": [["", f"unknown command {command.get('op')!r}"]]}

    def _continue(self, step: str) -> dict[str, Any]:
        """Run the answered step from here, for front ends that cannot run the notebook's cells themselves."""
        known = self._session.cells.get(step)
        if known is None or known.step.names.uses_await:
            return {"ok": True, "message": f"Answered. Run the cell of step '{step}' and the cells below it."}
        loop = self._session.shell.kernel.io_loop.asyncio_loop  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(self._session.execute_shown, step, context=self._context)
        return {"ok": True, "message": "Answered. Run the cells below to continue."}


def show_run(session: Session) -> None:
    """Show the session's run and keep it up to date."""
    live = LiveView(session)
    session.refresher.add(live)
    display(live.widget)


def show_run_button(session: Session, name: str) -> None:
    """A button that runs a composed workflow in the background, with the run's live view beneath it."""
    import asyncio

    from ipywidgets import HTML, Button, VBox

    from wfkernel.engine.loop import engine_loop

    button = Button(description=f"Run {name}", tooltip=f"Run the workflow {name}", icon="play")
    message = HTML()

    async def run() -> None:
        try:
            session.graphs.finish(await session.graphs.find(name).create_run().start(None))
            message.value = "done"
        except BaseException as error:
            message.value = escape(f"{type(error).__name__}: {error}")
        finally:
            button.disabled = False

    def clicked(_: Any) -> None:
        button.disabled = True
        message.value = ""
        asyncio.run_coroutine_threadsafe(run(), engine_loop())

    button.on_click(clicked)
    display(VBox([button, message]))
    show_run(session)


def show_form(session: Session, path: str) -> None:
    """Show the resume form of a suspended step."""
    known = session.cells.get(path)
    live = LiveView(session, focus=path, cell_id=(known.cell_id or "") if known else "")
    display(live.widget)
