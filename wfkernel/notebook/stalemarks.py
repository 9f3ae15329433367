"""Stale marks in a live notebook: the line beneath a step cell says when the step is out of date, and why.

Looked at after every cell, since running an edited step makes those below it stale, and whenever the notebook file is
saved, since that is how a kernel learns of an edit nobody ran yet. `%workflow` says the same, `%workflow run --stale` runs
these steps and no others.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from wfkernel.notebook import frontend
from wfkernel.plan.stale import stale_steps

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session
    from wfkernel.notebook.stepline import StepLine

__all__ = ["StaleMarks"]

WATCH_SECONDS: Final = 1.0


class StaleMarks:
    """What is stale in one session, and where that is shown."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lines: dict[str, StepLine] = {}
        self._shown: dict[str, str] = {}
        self._watching = False
        self._lock = threading.Lock()

    def find(self) -> dict[str, str]:
        """step -> why it is stale."""
        session = self._session
        if not session.has_run:
            return {}
        states = list(session.run.state.steps.items())  # a copy: cells may run while the file is looked at
        done = {path: state.done for path, state in states if state.done and state.status == "success"}
        return stale_steps(session.steps(), done, session.namespace.peek)

    def follow(self, path: str, line: StepLine) -> None:
        """`line` now stands beneath the step's cell, where somebody looks at it."""
        if frontend.is_live(self._session.shell):
            self._lines[path] = line
            self._shown.pop(path, None)

    def refresh(self) -> None:
        """Bring the marks up to date, where somebody can see them."""
        with self._lock:
            if not self._lines:
                return
            stale = self.find()
            for path in {**self._shown, **stale}:
                line = self._lines.get(path)
                if line is not None and stale.get(path) != self._shown.get(path):
                    line.mark(stale.get(path, ""))
            self._shown = stale
        if not self._watching and self._session.path is not None:
            self._watching = True
            watch = threading.Thread(target=_watch, args=(weakref.ref(self),), name="wfkernel-stale", daemon=True)
            watch.start()

    def saved_at(self) -> float | None:
        """When the notebook file was last saved; None where there is none."""
        assert self._session.path is not None
        try:
            return self._session.path.stat().st_mtime
        except OSError:
            return None


def _watch(marks: weakref.ref[StaleMarks]) -> None:
    """Look whether the notebook was saved; one `stat` a second."""
    seen: float | None = None
    while (known := marks()) is not None:
        saved = known.saved_at()
        if saved != seen:
            seen = saved
            known.refresh()
        del known
        time.sleep(WATCH_SECONDS)
