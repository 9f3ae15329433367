"""The live view of a run: one small widget in a notebook.

Python hands the widget pictures of the run (`wfkernel.notebook.view.view_of`); the page draws them, asks the
questions of suspended steps and sends *commands* back. The widget knows nothing of engine or store: a command is
a dict that goes to `on_command`, whose reply goes to the page. This is the whole protocol::

    {"op": "resume", "step": "approve", "data": {...}}  ->  {"ok": True, "message": "...", "cell_id": "..."}
                                                            {"ok": False, "problems": [["a.path", "..."], ...]}
    {"op": "continue", "step": "approve"}               ->  {"ok": True, "message": "..."}

`message` and `cell_id` are optional. After an accepted answer the page runs the step's cell and all cells below
it through the notebook's own command, so that prompts, outputs, timings and stop-on-error are the notebook's.
Where no notebook takes the command (VS Code, Colab) it sends `continue`, and the kernel goes on by itself.
`control.js` finds the way a command takes; `wfkernel.notebook.commands` lists all of them.

The form is our own (`form.js`): `ipywidgets-jsonschema` 1.2 raises on Optional[datetime], puts no errors at fields
and opens 162 comms for 12 fields; `ipyautoui` 0.9 raises on Any, opens 511 comms and needs 75 more packages.

The widget's source is saved into every notebook that shows one, hence no framework and no dependencies in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

from wfkernel.notebook.view import render_html, render_text

__all__ = ["Command", "RunView"]

Command = dict[str, Any]

_HERE: Final = Path(__file__).parent


def _source(*names: str) -> str:
    """The files as one text, without what only people need: indentation and lines of comment, a quarter of it."""
    lines = (line.strip() for name in names for line in (_HERE / name).read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/*", "*")))


class RunView(anywidget.AnyWidget):
    """Shows a run, or with `focus` one step of it, and lets people answer suspended steps.

    Args:
        view: what `view_of` returns.
        on_command: replies to a command of the page. It is called wherever the kernel handles widget messages,
            and has to return soon. It raises nothing: what it has to say to the person is in its reply.
        focus: path of the one step to show; empty for the whole run.
        cell_id: id of the notebook cell to run again after an accepted answer. A reply may name another one.
        control: commands may come on the kernel's control channel too (`wfkernel.notebook.control`).
    """

    _esm = _source("form.js", "control.js", "runview.js")
    _css = _source("runview.css")

    view = traitlets.Dict().tag(sync=True)
    focus = traitlets.Unicode().tag(sync=True)
    cell_id = traitlets.Unicode().tag(sync=True)
    control = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        view: dict[str, Any],
        on_command: Callable[[Command], dict[str, Any]],
        *,
        focus: str = "",
        cell_id: str = "",
        control: bool = False,
    ) -> None:
        super().__init__(view=view, focus=focus, cell_id=cell_id, control=control)
        self._on_command = on_command
        self.on_msg(self._receive)

    def update(self, view: dict[str, Any]) -> None:
        """Show a newer picture. Each call sends the whole view: call it at most about ten times a second."""
        self.view = view

    def _receive(self, _: RunView, content: Any, buffers: Any) -> None:
        if not (isinstance(content, dict) and "command" in content):
            return
        try:
            reply = self._on_command(content["command"])
        except Exception as error:
            # A defect. The page must not wait for ever; the traceback goes where the kernel logs it.
            self.send({"id": content["id"], "reply": {"ok": False, "problems": [["", repr(error)]]}})
            raise
        self.send({"id": content["id"], "reply": reply})

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The widget, and beside it what to show where no widget can be: on GitHub, in a terminal."""
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        step = self.focus or None
        still = {"text/plain": render_text(self.view, step), "text/html": render_html(self.view, step=step)}
        return {**bundle[0], **still}, bundle[1]
