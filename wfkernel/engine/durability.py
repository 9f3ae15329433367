"""What a power cut, or the death of the process, may take from a run.

- ``fsync`` (default): a finished step survives a power cut. It costs one fdatasync a step.
- ``write``: it survives the death of the process, ``kill -9`` included, but not that of the machine.
- ``exit``: the run is written when it suspends, pauses, sleeps, is cancelled or ends, in one piece; a process that dies
  before takes along what was done since.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol, get_args

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.group_commit import on_disk
from wfkernel.errors import DefinitionError

__all__ = ["Durability", "EventLog", "RunLog", "checked_durability"]

Durability = Literal["fsync", "write", "exit"]

_LEAVES: Final = frozenset({ev.RUN_SUSPENDED, ev.RUN_FINISH, ev.RUN_PAUSED, ev.RUN_WAITING, ev.RUN_CANCEL})


class EventLog(Protocol):
    """Where events go. `durable` means: on disk when the call returns; `sync` makes that true of all events so far."""

    def append(self, events: list[Event], *, durable: bool = True) -> None: ...
    def sync(self) -> None: ...


def checked_durability(said: str | None) -> Durability | None:
    """`said`, if it is one. Raises `DefinitionError`."""
    for known in get_args(Durability):
        if said == known:
            return known  # type: ignore[no-any-return]
    if said is not None:
        raise DefinitionError(f"durability is 'fsync', 'write' or 'exit', not {said!r}")
    return None


class RunLog:
    """Writes the events of one run to `log`, as durably as the run wants it. Its caller keeps them in order."""

    def __init__(self, log: EventLog, durability: Durability) -> None:
        self._log, self._durability = log, checked_durability(durability)
        self._held: list[Event] = []
        self._owed = False
        """What was held was written, and whoever did so waits for the disk."""

    @property
    def syncs(self) -> bool:
        """Whether what a durable event refers to has to be on disk before it."""
        return self._durability != "write"

    def flush(self) -> None:
        """Write what was held. Raises what the log raises."""
        if self._held:
            self._log.append(self._held, durable=True)
            self._held = []

    def append(self, event: Event, *, durable: bool, sync: bool = True) -> None:
        """Write `event`, or hold it until the run leaves this process alone. Raises what the log raises.

        Without `sync` the caller waits for the disk (`on_disk`).
        """
        if self._durability != "exit":
            self._log.append([event], durable=durable and sync and self.syncs)
            return
        if event.type in _LEAVES:
            self._log.append([*self._held, event], durable=sync)
            self._held.clear()
            self._owed = not sync
        else:
            self._held.append(event)

    async def on_disk(self) -> None:
        """Return once what was written is on disk, if the run wants that."""
        if self._durability == "fsync" or self._owed:
            self._owed = False
            await on_disk(self._log)
