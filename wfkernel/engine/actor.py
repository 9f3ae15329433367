"""Who acts: what the events that are somebody's deed say about it.

A store adds this to every such event it is given (`signed`), so no front end can forget to.
"""

from __future__ import annotations

import getpass
import socket
from functools import cache
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event

__all__ = ["DEEDS", "act_through", "actor", "signed"]

DEEDS: Final = frozenset(
    {
        ev.RUN_START,
        ev.RUN_ATTACH,
        ev.RUN_RESTART,
        ev.RUN_RESUME,
        ev.RUN_CONTINUE,
        ev.RUN_CANCEL,
        ev.RUN_TRAVEL,
        ev.RUN_ROLLBACK,
        ev.STEP_RESUMED,
    }
)
"""Types of events that somebody's deed is behind."""

_front_end = "python"


def act_through(front_end: str) -> None:
    """Say what people use this process through: ``cli``, ``notebook``; ``python`` if nobody says anything."""
    global _front_end
    _front_end = front_end


def actor() -> dict[str, Any]:
    """Who acts in this process: ``actor`` is USER@HOST, ``via`` the front end."""
    return {"actor": _who(), "via": _front_end}


def signed(event: Event) -> Event:
    """The event with who did it, if it is a deed and nobody is named yet."""
    if event.type not in DEEDS or "actor" in event.payload:
        return event
    return event._replace(payload={**event.payload, **actor()})


@cache
def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname() or 'localhost'}"
