"""The kernel's control channel as a way for commands: answered in milliseconds while a cell is running.

A Jupyter kernel reads its control channel in a thread of its own. A message of type ``wfkernel_request`` there, whose
content is a command (`wfkernel.notebook.commands`), is answered by a ``wfkernel_reply`` whose content is the reply. Cells
in other threads (subshells) and the front end's settings for them change nothing about it. The limit: a call into C that
keeps Python's interpreter lock keeps this thread waiting too.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.commands import Command, Reply
    from wfkernel.notebook.session import Session

__all__ = ["REPLY", "REQUEST", "deaf", "listen"]

REQUEST: Final = "wfkernel_request"
REPLY: Final = "wfkernel_reply"

_SLOW: Final = ("runs", "open")
"""Commands that read the database, for which the next message must not wait."""


def listen(session: Session) -> None:
    """Answer commands on the control channel of the session's kernel, where it has one."""
    kernel: Any = getattr(session.shell, "kernel", None)
    handlers = getattr(kernel, "control_handlers", None)
    if handlers is None:
        return

    def heard(stream: Any, identity: Any, request: dict[str, Any]) -> None:
        command = request["content"]
        by = str(command.get("by") or "run view")

        def answer() -> None:
            reply = _do(session, command, by, request)
            loop.call_soon_threadsafe(send, reply)

        def send(reply: dict[str, Any]) -> None:
            kernel.session.send(stream, REPLY, reply, request, identity)

        loop = asyncio.get_running_loop()
        if command.get("op") in _SLOW:
            # In a copy of this context: ipykernel reads there which request a new widget belongs to.
            work = contextvars.copy_context().run
            threading.Thread(target=work, args=(answer,), name="wfkernel-command", daemon=True).start()
        else:
            send(_do(session, command, by, request))

    handlers[REQUEST] = heard
    session.controlled = True


def _do(session: Session, command: Command, by: str, request: dict[str, Any]) -> Reply:
    """A command of the notebook's run; or ``open``, which shows the run `run` to who asks, and ``close`` with its `view`."""
    match command.get("op"):
        case "open":
            from wfkernel.notebook.live import show_run_to

            try:
                return {"ok": True, "view": show_run_to(session, session.store.find(str(command["run"])), request)}
            except WorkflowError as error:
                return {"ok": False, "problems": [["", str(error)]]}
        case "close":
            session.close_view(str(command["view"]))
            return {"ok": True}
    return session.commands.do(command, by)


def deaf(session: Session) -> None:
    """Undo `listen`."""
    if session.controlled:
        del session.shell.kernel.control_handlers[REQUEST]  # type: ignore[attr-defined]
        session.controlled = False
