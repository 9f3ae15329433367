"""The cell that output belongs to, and how work done elsewhere writes there.

ipykernel addresses a message to the request found in a context variable. Whatever runs in a copy of a cell's context
(a task, a thread that is started with it, text from a worker process that is printed in it) writes to that cell, whichever
cell runs meanwhile and although the cell may have ended. `Home` keeps these variables of a cell; `Home.entered` sets them.

A step in a graph run writes to the cell that defined it, as if that cell had been run. Only a front end that shows outputs
as they come takes them: headless clients drop what does not belong to the cell that runs, and a page that was reloaded has
forgotten the requests of the page before. There the step writes to the cell that runs.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from wfkernel.notebook.frontend import is_live, parent_header, publish

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Home", "bring_threads_home"]

_VARIABLES: Final = frozenset({"parent_header", "shell_parent", "shell_parent_ident"})
"""Names of ipykernel's context variables. ipykernel 6 has none: its displays go to the cell that runs."""


class Home:
    """The cell that is executing now."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._parent = parent_header(shell)
        self._live = is_live(shell)
        self._variables = [(v, value) for v, value in contextvars.copy_context().items() if v.name in _VARIABLES]

    def takes_output(self) -> bool:
        """Whether output addressed to this cell arrives, as seen from the cell that executes now."""
        now = parent_header(self._shell)
        return bool(self._live and self._variables and is_live(self._shell) and _page(now) == _page(self._parent))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block, output of this context belongs to this cell, whose old output goes with the first of it."""
        if parent_header(self._shell).get("msg_id") != self._parent.get("msg_id"):
            publish(self._shell, self._parent, "clear_output", {"wait": True})
        tokens = [(variable, variable.set(value)) for variable, value in self._variables]
        try:
            yield
        finally:
            for variable, token in reversed(tokens):
                variable.reset(token)


def _page(parent: dict[str, Any]) -> Any:
    """What tells one opened page from another."""
    return (parent.get("header") or {}).get("session")


def bring_threads_home() -> None:
    """From here on, a thread started by a step runs in a copy of the step's context, so it writes where the step does."""
    import threading

    from wfkernel.engine.context import current_step

    start = threading.Thread.start
    if getattr(start, "_wfkernel", False):
        return

    def start_in_context(thread: threading.Thread) -> None:
        if current_step() is not None:
            context, run = contextvars.copy_context(), thread.run
            thread.run = lambda: context.run(run)  # type: ignore[method-assign]
        start(thread)

    start_in_context._wfkernel = True  # type: ignore[attr-defined]
    threading.Thread.start = start_in_context  # type: ignore[method-assign,assignment]
