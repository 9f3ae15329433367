"""The widget of the live run view: what goes to the page and what comes back.

The page (`page/*.js`, one module) draws what `wfkernel.notebook.feed` tells of a run. It gets the whole picture when it
opens, as the trait `picture`, which is made at the moment it is asked for: a page that is reloaded shows the truth. After
that come messages ``{"news": ...}`` with what changed. Back come *commands*, dicts that go to `on_command`, whose reply
goes to the page::

    {"op": "resume", "step": "approve", "data": {...}}  ->  {"ok": True, "message": "...", "cell_id": "..."}
                                                            {"ok": False, "problems": [["a.path", "..."], ...]}
    {"op": "picture"}  ->  {"ok": True, "picture": {...}}         a page that missed something
    {"op": "still"}    ->  {"ok": True, "still": {"html", "text"}, "widget": id}     what the notebook file is to keep
    {"op": "kept"}                                                   the file will keep it

`message` and `cell_id` are optional. After an accepted answer the page runs the step's cell and all cells below
it through the notebook's own command, so that prompts, outputs, timings and stop-on-error are the notebook's.
Where no notebook takes the command (VS Code, Colab) it sends `continue`, and the kernel goes on by itself.
`page/control.js` finds the way a command takes; `wfkernel.notebook.commands` lists the others.

The form is our own (`page/form.js`): `ipywidgets-jsonschema` 1.2 raises on Optional[datetime], puts no errors at fields
and opens 162 comms for 12 fields; `ipyautoui` 0.9 raises on Any, opens 511 comms and needs 75 more packages.

The widget's source is saved into every notebook that shows one, hence no framework and no dependencies in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

from wfkernel.notebook.commands import Command, Reply

__all__ = ["RunView"]

_PAGE: Final = Path(__file__).parent / "page"
_SCRIPTS: Final = ("form", "control", "run", "rich", "log", "graph", "timeline", "question", "document", "main")


def _source(*names: str) -> str:
    """The files as one text, without what only people need: indentation and lines of comment, a quarter of it."""
    lines = (line.strip() for name in names for line in (_PAGE / name).read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/*", "*")))


class RunView(anywidget.AnyWidget):
    """Shows a run, or with `focus` one step of it, and lets people act on it.

    Args:
        picture: makes the whole picture (`Feed.picture`).
        on_command: replies to a command of the page. It is called wherever the kernel handles widget messages,
            and has to return soon. It raises nothing: what it has to say to the person is in its reply.
        ops: the commands the page offers as buttons.
        focus: path of the one step to show; empty for the whole run.
        cell_id: id of the notebook cell to run again after an accepted answer. A reply may name another one.
        control: commands may come on the kernel's control channel too (`wfkernel.notebook.control`).
    """

    _esm = _source(*(f"{name}.js" for name in _SCRIPTS))
    _css = _source("runview.css")

    picture = traitlets.Any().tag(sync=True, to_json=lambda _, widget: widget.make_picture())
    ops: Any = traitlets.List().tag(sync=True)
    focus = traitlets.Unicode().tag(sync=True)
    cell_id = traitlets.Unicode().tag(sync=True)
    control = traitlets.Bool().tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)
    """Names the view in its commands, which may come by other ways than this widget."""

    def __init__(
        self,
        picture: Callable[[], dict[str, Any]],
        on_command: Callable[[Command], Reply],
        *,
        ops: list[str] | None = None,
        focus: str = "",
        cell_id: str = "",
        control: bool = False,
    ) -> None:
        self.make_picture = picture
        super().__init__(
            ops=ops or [], focus=focus, cell_id=cell_id, control=control, view_id=f"view-{secrets.token_hex(8)}"
        )
        self._on_command = on_command
        self.on_msg(self._receive)

    def tell(self, news: dict[str, Any]) -> None:
        """Send what changed (`Feed.take`) to every page that shows the run."""
        self.send({"news": news})

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
