"""The live run view in a notebook: a widget that follows a run, and the output it stands in.

A `LiveView` feeds one widget from one source (`wfkernel.notebook.sources`). While the run goes on the output holds the
widget; when the run rests, the notebook file must not: a saved widget is a hole once its kernel is gone. The page sees to
that by itself where it can (`page/document.js`) and says so; where it does not, the output is replaced by the still picture.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from html import escape
from typing import TYPE_CHECKING, Any, Final

from IPython.display import display

from wfkernel.engine.run import executing
from wfkernel.errors import WorkflowError
from wfkernel.notebook.commands import Command, Reply
from wfkernel.notebook.feed import Feed
from wfkernel.notebook.frontend import is_live, parent_header, publish
from wfkernel.notebook.runview import RunView
from wfkernel.notebook.sources import EngineSource, SessionSource, Source, StoredSource
from wfkernel.notebook.view import render_html, render_text, view_of

if TYPE_CHECKING:
    from wfkernel.engine.run import Run
    from wfkernel.notebook.session import Session

__all__ = ["LiveView", "form_view", "show_engine_run", "show_form", "show_run", "show_run_button", "show_run_to"]

RESTING: Final = ("suspended", "paused", "success", "failed", "tripwire", "canceled")
PATIENCE: Final = 3.0
"""Seconds a page has to say that the notebook file keeps the still picture."""

_log = logging.getLogger("wfkernel")


class LiveView:
    """A widget that follows `source`, in an output of the cell that made it.

    `parent` is the request that made the view and has its output; by default the one that is executed.
    """

    def __init__(
        self,
        session: Session,
        source: Source,
        focus: str = "",
        cell_id: str = "",
        parent: dict[str, Any] | None = None,
    ) -> None:
        self._session, self._source, self.focus = session, source, focus
        self.parent = parent_header(session.shell) if parent is None else parent
        self.display_id = f"wfkernel-{uuid.uuid4().hex}"
        self._feed = Feed(lambda: source.state, session.refresher.changed)
        self._unwatch = source.watch(self._feed.heard)
        self.widget = RunView(
            self._feed.picture,
            lambda command: session.commands.do(command, "run view"),
            ops=source.ops,
            focus=focus,
            cell_id=cell_id,
            control=session.controlled,
        )
        self._kept = False
        self._rested: float | None = None
        session.keep_view(self)
        session.refresher.add(self)
        if source.has_past:
            threading.Thread(target=self._relive, name="wfkernel-past", daemon=True).start()

    def _relive(self) -> None:
        try:
            self._feed.relive(self._source.past)
        except WorkflowError:
            _log.warning("the run view shows no log from before it was opened", exc_info=True)

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(data, metadata) of the output: the widget, and beside it what to show where no widget can be."""
        shown = self.widget._repr_mimebundle_()
        data, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
        still = self._still()
        if self._source.state.status not in RESTING:  # a page that finds no kernel has nothing newer to show
            then = f"as it was at {time.strftime('%H:%M:%S')}: run the cell again to see how it is"
            still = {"html": f"{still['html']}<p><em>{then}</em></p>", "text": f"{still['text']}\n{then}"}
        # By this the lab extension finds the views of a notebook that is opened again (labextension/src/revive.ts).
        mark = {"view": self.widget.view_id} | ({} if self.focus else {"run": self._source.state.run_id})
        return {**data, "text/html": still["html"], "text/plain": still["text"]}, {**metadata, "wfkernel": mark}

    def show(self) -> None:
        """Display the view in the present cell."""
        data, metadata = self.bundle()
        display(data, metadata=metadata, raw=True, display_id=self.display_id)

    def close(self) -> None:
        """Stop following."""
        self._session.refresher.remove(self)
        self._unwatch()
        self.widget.close()

    def refresh(self) -> None:
        """Tell the page what is new; called by the session's refresher."""
        news = self._feed.take()
        if news is not None:
            self.widget.tell(news)
        if self._source.state.status not in RESTING:
            self._rested, self._kept = None, False
        elif self._rested is None:
            self._rested = time.monotonic()
        elif not self._kept and time.monotonic() - self._rested > PATIENCE:
            self._replace()

    def _replace(self) -> None:
        """Nobody answered for the notebook file: put the still picture into the output."""
        still = self._still()
        self._kept = True
        if self.parent:
            content = {"data": {"text/html": still["html"], "text/plain": still["text"]}, "metadata": {},
                       "transient": {"display_id": self.display_id}}  # fmt: skip
            publish(self._session.shell, self.parent, "update_display_data", content)

    def _still(self) -> dict[str, str]:
        step = self.focus or None
        view = view_of(self._source.state, now=time.time(), step=step)
        return {"html": render_html(view, step=step), "text": render_text(view, step)}

    def command(self, command: Command) -> Reply:
        """Do what the page asks for; what only the run can do goes to its source."""
        op = command.get("op")
        if op == "picture":
            return {"ok": True, "picture": self._feed.picture()}
        if op == "still":
            return {"ok": True, "still": self._still(), "widget": self.widget.model_id}
        if op == "kept":
            self._kept = True
            return {"ok": True}
        try:
            return self._source.command(command)
        except WorkflowError as error:
            return {"ok": False, "problems": [["", str(error)]]}
        finally:
            self._session.refresher.changed()


def show_run(session: Session, run_id: str | None = None) -> None:
    """Show a run, by default the session's own, and keep the view up to date."""
    LiveView(session, _source_of(session, run_id)).show()


def show_run_to(session: Session, run_id: str, request: dict[str, Any]) -> str:
    """Show a run to who sent the `request`, outside the notebook. Returns the view's name, by which it is closed."""
    view = LiveView(session, _source_of(session, run_id), parent=request)
    data, metadata = view.bundle()
    publish(session.shell, request, "display_data", {"data": data, "metadata": metadata, "transient": {}})
    return str(view.widget.view_id)


def _source_of(session: Session, run_id: str | None) -> Source:
    if run_id is None or (session.has_run and run_id == session.run.run_id):
        return SessionSource(session)
    run = executing(run_id)
    return StoredSource(session.store, run_id) if run is None else EngineSource(run)


def show_engine_run(session: Session, run: Run) -> None:
    """Show a run of the engine: what displaying a `Run` object does."""
    if is_live(session.shell):
        LiveView(session, EngineSource(run)).show()
        return
    view = view_of(run.state, now=time.time())
    display({"text/html": render_html(view), "text/plain": render_text(view)}, raw=True)


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


def form_view(session: Session, path: str) -> LiveView:
    """A view of one suspended step with its form."""
    known = session.cells.get(path)
    return LiveView(session, SessionSource(session), focus=path, cell_id=(known.cell_id or "") if known else "")


def show_form(session: Session, path: str) -> None:
    """Show the resume form of a suspended step."""
    form_view(session, path).show()
