"""The line beneath a step cell: what the step is doing, and in the end how it went.

Live, the line stands above what the step puts out, from its start, and is updated in place, at most ten times a second,
from one thread. Headless clients drop what comes late and compare what they get, so there the line is sent once, at the end,
without times.
"""

from __future__ import annotations

import threading
import time
import uuid
from html import escape
from typing import TYPE_CHECKING, Any, Final

from wfkernel.notebook.frontend import is_live, parent_header, publish
from wfkernel.notebook.view import render_html, render_text, view_of

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session

__all__ = ["Refresher", "StepLine"]

PERIOD: Final = 0.1


class StepLine:
    """The line of one execution of one step."""

    def __init__(self, session: Session, path: str) -> None:
        self._session, self._path = session, path
        self._parent = parent_header(session.shell)
        self._live = is_live(session.shell)
        self._display_id = f"wfkernel-{uuid.uuid4().hex}"
        self._shown = False
        self._sent = 0.0
        self._stale = ""
        self._asks = False
        self._lock = threading.Lock()

    def start(self) -> None:
        if self._live:
            self._send()
            self._session.refresher.add(self)

    def finish(self) -> None:
        """Show how it ended; a step that asks something shows its form."""
        self._session.refresher.remove(self)
        if self._live and self._session.run.state.step(self._path).suspension is not None:
            from wfkernel.notebook.live import form_view

            form = form_view(self._session, self._path)
            form.display_id, self._asks = self._display_id, True
            self._show(*form.bundle())
            return
        self._session.drop_view(self._parent, self._path)
        self._send()

    def mark(self, stale: str) -> None:
        """Say why the step is stale, or with "" that it is not."""
        self._stale = stale
        if self._live and self._shown and not self._asks:
            self._send()

    def refresh(self) -> None:
        """Show the present state, unless what is shown is hardly older."""
        if time.monotonic() - self._sent >= PERIOD:
            self._send()

    def _send(self) -> None:
        run = self._session.run
        view = view_of(run.state, now=time.time(), step=self._path)
        metadata = {"wfkernel": {"step": self._path, "status": run.state.step(self._path).status,
                                 "restored": run.state.step(self._path).restored}}  # fmt: skip
        text, html = render_text(view, step=self._path), render_html(view, step=self._path)
        if self._stale:
            metadata["wfkernel"]["stale"] = self._stale
            text += f"\nstale: {self._stale}"
            html += f"<p><strong>stale</strong>: {escape(self._stale)}</p>"
        self._show({"text/plain": text, "text/html": html}, metadata)

    def _show(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        content: dict[str, Any] = {
            "data": data,
            "metadata": metadata,
            "transient": {"display_id": self._display_id} if self._live else {},
        }
        if not self._parent:
            print(content["data"]["text/plain"])  # a terminal
            return
        with self._lock:
            message = "update_display_data" if self._shown else "display_data"
            self._shown = self._live
            self._sent = time.monotonic()
            publish(self._session.shell, self._parent, message, content)


class Refresher:
    """One thread that refreshes whatever shows a running step, at most ten times a second, and only after a change."""

    def __init__(self) -> None:
        self._targets: list[Any] = []
        self._changed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, target: Any) -> None:
        """Refresh `target` (anything with a `refresh` method) until it is removed."""
        with self._lock:
            if target not in self._targets:
                self._targets.append(target)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="wfkernel-view", daemon=True)
                self._thread.start()
        self._changed.set()

    def remove(self, target: Any) -> None:
        with self._lock:
            if target in self._targets:
                self._targets.remove(target)

    def changed(self) -> None:
        """Something happened: the targets are out of date."""
        if self._targets:
            self._changed.set()

    def _work(self) -> None:
        while True:
            # The time-out shows a step that runs silently, and lets the thread end when there was nothing left to show.
            news = self._changed.wait(timeout=1.0)
            self._changed.clear()
            with self._lock:
                targets = list(self._targets)
                if not targets and not news:
                    self._thread = None
                    return
            for target in targets:
                target.refresh()
            time.sleep(PERIOD)
