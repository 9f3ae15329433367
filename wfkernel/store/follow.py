"""Following a run that another process executes: its events, as they come.

What a process writes stands in its journal at once, so a follower reads the journals themselves, woken by the file system
(`watchfiles`), and needs nothing from the process it follows. The database is asked only for what came before, when a
claim changed a run there (`wfkernel.store.claims`), and when events are missing because a journal was moved and removed.
Runs with the durability ``exit`` write nothing before they stop, so there is nothing to follow till then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.events import Event
from wfkernel.errors import StoreLocked
from wfkernel.store.claims import CLAIMED
from wfkernel.store.journal import SUFFIX, TornTail, events_of, read_frames

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["Follower"]

GATHER_MS: Final = 20
"""Events that come within this time are handed on together."""
POLL_SECONDS: Final = 0.05
"""Where the file system cannot wake us at all."""
IDLE_MS: Final = 500
"""Without a word from the file system (network file systems have none) the follower looks this often."""


class Follower:
    """Follows one run in a thread of its own until `stop`."""

    def __init__(
        self, store: Store, run_id: str, after: int, take: Callable[[list[Event]], None], idle: Callable[[], None]
    ) -> None:
        self._store, self._run_id, self._last = store, run_id, after
        self._take, self._idle = take, idle
        self._offsets: dict[Path, int] = {}
        self._claimed = 0
        self._stop = threading.Event()
        threading.Thread(target=self._follow, name="wfkernel-follow", daemon=True).start()

    def stop(self) -> None:
        """No further call of `take` begins."""
        self._stop.set()

    def _follow(self) -> None:
        for folder in (self._store.journals, self._store.owners):
            folder.mkdir(parents=True, exist_ok=True)
        self._look()
        for _ in self._woken():
            if not self._look():
                self._idle()

    def _woken(self) -> Iterator[Any]:
        from watchfiles import watch

        try:
            yield from watch(
                self._store.journals, self._store.owners, watch_filter=None, step=5, debounce=GATHER_MS,
                rust_timeout=IDLE_MS, yield_on_timeout=True, stop_event=self._stop, recursive=False,
                raise_interrupt=False,
            )  # fmt: skip
        except (OSError, RuntimeError):  # the system's inotify instances are all in use
            while not self._stop.wait(POLL_SECONDS):
                yield None

    def _look(self) -> bool:
        """Hand on what is new; tells whether there was anything."""
        claimed = self._claimed_at()
        found = sorted(self._journaled(), key=lambda event: event.seq)
        if claimed != self._claimed or (found and found[0].seq > self._last + 1):
            try:
                found = self._store.events(self._run_id, self._last)
            except StoreLocked:  # asked again the next time
                return False
            self._claimed = claimed
        if found and not self._stop.is_set():
            self._last = found[-1].seq
            self._take(found)
        return bool(found)

    def _claimed_at(self) -> int:
        try:
            return (self._store.owners / CLAIMED).stat().st_mtime_ns
        except FileNotFoundError:
            return 1

    def _journaled(self) -> Iterator[Event]:
        for file in self._store.journals.glob(f"*{SUFFIX}"):
            offset = self._offsets.get(file, 0)
            try:
                if file.stat().st_size <= offset:
                    continue
                for reached, frame in read_frames(file, offset):
                    self._offsets[file] = reached
                    yield from (event for event in events_of(self._run_id, frame) if event.seq > self._last)
            except (FileNotFoundError, TornTail):  # moved to the database, or being written just now
                continue
