"""The kernel's control channel as a way for commands: answered in milliseconds while a cell is running.

A Jupyter kernel reads its control channel in a thread of its own. A message of type ``wfkernel_request`` there, whose
content is a command (`wfkernel.notebook.commands`), is answered by a ``wfkernel_reply`` whose content is the reply. Cells
in other threads (subshells) and the front end's settings for them change nothing about it. The limit: a call into C that
keeps Python's interpreter lock keeps this thread waiting too.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session

__all__ = ["REPLY", "REQUEST", "deaf", "listen"]

REQUEST: Final = "wfkernel_request"
REPLY: Final = "wfkernel_reply"

_SLOW: Final = ("runs",)
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
            reply = session.commands.do(command, by)
            loop.call_soon_threadsafe(send, reply)

        def send(reply: dict[str, Any]) -> None:
            kernel.session.send(stream, REPLY, reply, request, identity)

        loop = asyncio.get_running_loop()
        if command.get("op") in _SLOW:
            threading.Thread(target=answer, name="wfkernel-command", daemon=True).start()
        else:
            send(session.commands.do(command, by))

    handlers[REQUEST] = heard
    session.controlled = True


def deaf(session: Session) -> None:
    """Undo `listen`."""
    if session.controlled:
        del session.shell.kernel.control_handlers[REQUEST]  # type: ignore[attr-defined]
        session.controlled = False
