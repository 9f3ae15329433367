"""The live run view in a notebook: the widget fed from the run's state, and what its buttons do."""

from __future__ import annotations

import contextvars
import time
from html import escape
from typing import TYPE_CHECKING, Any

from IPython.display import display

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
        self.widget = RunView(
            self._view(), focus=focus, cell_id=cell_id, on_command=self._command, control=session.controlled
        )

    def _view(self) -> dict[str, Any]:
        return view_of(self._run.state, now=time.time())

    def refresh(self) -> None:
        """Bring the widget up to date; called by the session's refresher."""
        self.widget.update(self._view())

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        reply = self._session.commands.do(command, by="run view", context=self._context)
        self.refresh()
        return reply


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
            await session.graphs.run_beside(name)
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
