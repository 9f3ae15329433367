"""What a power cut, or the death of the process, may take from a run.

- ``fsync`` (default): a finished step survives a power cut. It costs one fdatasync a step.
- ``write``: it survives the death of the process, ``kill -9`` included, but not that of the machine.
- ``exit``: the run is written when it suspends, pauses, sleeps, is cancelled or ends, in one piece; a process that dies
  before takes along what was done since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal, Protocol, get_args, runtime_checkable

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.group_commit import EventLog, Turns, turns_of
from wfkernel.errors import DefinitionError

__all__ = ["Durability", "RunLog", "checked_durability"]

Durability = Literal["fsync", "write", "exit"]

_LEAVES: Final = frozenset({ev.RUN_SUSPENDED, ev.RUN_FINISH, ev.RUN_PAUSED, ev.RUN_WAITING, ev.RUN_CANCEL})


@runtime_checkable
class Keeping(Protocol):
    """A log whose values would be deleted as unused before the events that name them are written."""

    def keep_values(self) -> Callable[[], None]:
        """Values written from now on stay, until what is returned is called."""


def checked_durability(said: str | None) -> Durability | None:
    """`said`, if it is one. Raises `DefinitionError`."""
    for known in get_args(Durability):
        if said == known:
            return known  # type: ignore[no-any-return]
    if said is not None:
        raise DefinitionError(f"durability is 'fsync', 'write' or 'exit', not {said!r}")
    return None


class RunLog:
    """Writes the events of one run to `log`, as durably as the run wants it. Its caller keeps them in order, with `lock`."""

    def __init__(self, log: EventLog, durability: Durability, lock: threading.RLock) -> None:
        self.lock = lock
        self.held: list[Event] = []
        """What is written with the next event: with `exit`, with one that leaves the run to others."""
        self._log, self._durability = log, checked_durability(durability)
        self._turns: Turns | None = None
        self._owed = False
        """What was held was written, and whoever did so waits for the disk."""
        self._let_values_go: Callable[[], None] | None = None
        """With `exit`: while events are held that may name values."""

    @property
    def syncs(self) -> bool:
        """Whether what a durable event refers to has to be on disk before it."""
        return self._durability != "write"

    @property
    def turns(self) -> Turns:
        """Who else writes to the log on the running event loop."""
        turns = self._turns
        if turns is None or turns.running() is not turns.loop:
            turns = self._turns = turns_of(self._log)
        return turns

    def crowd(self) -> Turns | None:
        """The turns, if others write as well: then a step that begins waits for them, to be written with theirs."""
        turns = self.turns
        return turns if turns.abreast > 1 and self._durability != "exit" else None

    def flush(self) -> None:
        """Write what was held. Raises what the log raises."""
        if self.held:
            self._log.append(self.held, durable=self._durability != "write")
            self._hold_none()

    def leave(self) -> None:
        """The run is no longer executed here: write what was held, unless it was held to be lost with this life."""
        if self._durability != "exit":
            self.flush()
        else:
            self._hold_none()

    def _hold_none(self) -> None:
        self.held = []
        if self._let_values_go is not None:
            self._let_values_go()
            self._let_values_go = None

    def append(self, event: Event, *, durable: bool, sync: bool = True, soon: bool = False) -> None:
        """Write `event`, or hold it until the run leaves this process alone. Raises what the log raises.

        Without `sync` the caller waits for the disk, if `owes_sync`. `soon`: in the loop's thread, write it with the next
        event or when this turn of the event loop is over.
        """
        held = self.held
        if self._durability != "exit":
            if soon:
                held.append(event)
                if len(held) == 1:
                    self.turns.hold(self)
                return
            self._log.append([*held, event] if held else [event], durable=durable and sync and self.syncs)
            if held:
                self.held = []
        elif event.type in _LEAVES:
            self._log.append([*held, event], durable=sync)
            self._hold_none()
            self._owed = not sync
        else:
            if not held and isinstance(self._log, Keeping):
                self._let_values_go = self._log.keep_values()
            held.append(event)

    def owes_sync(self) -> bool:
        """Whether whoever wrote a durable event without `sync` has to wait for the disk; asked once."""
        owed, self._owed = self._owed or self._durability == "fsync", False
        return owed
