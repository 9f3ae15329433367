"""Commands to a run, from outside the code that executes it: another process, `wf`, a button.

A command is a JSON-safe dict with an `op`; its reply is a dict with `ok`, and `problems` ([field, text] pairs) where it
was refused. Every run that is being executed understands

    suspend     stop before the next step; what is executing ends first (a notebook's step is cut short instead)
    cancel      end the run; a step that is executing sees the signal
    status      where the run stands

and a notebook's kernel a few more (`wfkernel.notebook.commands`). A command arrives in a thread of its own, so it is acted
upon while a step keeps the event loop, or a cell the main thread, busy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.failures import RunNotActive

if TYPE_CHECKING:
    from wfkernel.engine.core import Core
    from wfkernel.engine.state import RunState

__all__ = ["Command", "Handler", "Reachable", "Reply", "cancel", "end_idle", "handler_of", "is_reachable"]

Command = dict[str, Any]
Reply = dict[str, Any]
Handler = Callable[[Command], Reply]
"""Acts on a command and replies. Called in any thread; must not wait for a step."""


class Reachable(Protocol):
    """A store that several processes share: a run that one of them executes is within reach of the others."""

    def listen(self, run_id: str, handle: Handler) -> Callable[[], None]:
        """This process executes the run from now on: `handle` gets the commands for it. Returns what ends that."""

    def send(self, run_id: str, command: Command, *, timeout: float = 10.0) -> Reply:
        """Have the process that executes the run act on a command. Raises `RunNotActive` if there is none."""

    def follow(
        self, run_id: str, after: int, take: Callable[[list[Event]], None], idle: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `take` with the run's events above `after` as any process writes them. Returns what ends that.

        `idle` is called now and then while there are none. Both are called in a thread of their own.
        """


def is_reachable(store: object) -> TypeGuard[Reachable]:
    """Whether `store` is one. (`isinstance` with a protocol takes ten times as long, and every run asks.)"""
    return hasattr(store, "listen") and hasattr(store, "send") and hasattr(store, "follow")


def handler_of(core: Core) -> Handler:
    """What a run that the engine executes does with a command. To be called on the run's event loop."""
    import asyncio

    loop = asyncio.get_running_loop()

    def handle(command: Command) -> Reply:
        op, reason = command.get("op"), str(command.get("by") or "another process")
        who: dict[str, Any] = {name: command[name] for name in ("actor", "via") if name in command}
        if op == "cancel":
            asyncio.run_coroutine_threadsafe(core.fire("run.cancel", "", reason), loop)
            cancel(core, str(command.get("reason") or f"canceled by {reason}"), who)
        elif op == "suspend":
            core.held_by = who
            core.hold.set(str(command.get("reason") or f"suspended by {reason}"))
        elif op != "status":
            return {"ok": False, "problems": [["", f"unknown command {op!r}. Known: suspend, cancel, status"]]}
        return {"ok": True, "status": core.state.status}

    return handle


def end_idle(state: RunState, reason: str) -> list[tuple[str, str, dict[str, Any]]]:
    """The events that end a run nobody executes, for `Store.claim`. Raises `RunNotActive` if it has ended."""
    if state.status in ("success", "failed", "tripwire", "canceled"):
        raise RunNotActive(f"run '{state.run_id}' has ended: it is {state.status}.")
    return [
        (ev.RUN_CANCEL, "", {"status": "canceled", "reason": reason}),
        (ev.RUN_FINISH, "", {"status": "canceled"}),
    ]


def cancel(core: Core, reason: str, who: dict[str, Any]) -> None:
    """Tell a run that is being executed to end. From any thread. `who`: see `wfkernel.engine.actor`."""
    core.recorder.emit(ev.RUN_CANCEL, {"status": "canceled", "reason": reason, **who}, durable=True)
    core.signal.set(reason)
