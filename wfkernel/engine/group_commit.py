"""Writing and waiting for the disk together: what one turn of the event loop brings shares a write and one fdatasync.

A step that ended writes its result at once, for not even the death of the process may take it, and then waits here; the
sync comes when the loop has let everything run that was ready. A thousand arms of a fan-out, or a hundred runs side by
side, so pay for the disk once a turn and not once each. On a usual disk (0.1 ms) the loop's own thread syncs, which is
cheaper than handing it to another; where it turned out to take longer than `SLOW_SECONDS`, a thread does it and the loop
goes on meanwhile.

What nobody builds on (the start of a step before its code begins, the progress of a loop) is held until its run writes
the next event or the turn is over, and written in one piece with what the other runs hold.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Awaitable, Generator, Iterator
from typing import TYPE_CHECKING, Final, Protocol, cast

from wfkernel.engine.events import Event

if TYPE_CHECKING:  # else a process without an event loop would load one, a third of what it imports
    import asyncio

__all__ = ["DONE", "EventLog", "Holding", "Turns", "turns_of"]

SLOW_SECONDS: Final = 0.002


class EventLog(Protocol):
    """Where events go. `durable` means: on disk when the call returns; `sync` makes that true of all events so far."""

    def append(self, events: list[Event], *, durable: bool = True) -> None: ...
    def sync(self) -> None: ...


class Holding(Protocol):
    """A run that holds events until the turn is over. Its lock protects `held`."""

    lock: threading.RLock
    held: list[Event]


class _NextTurn:
    """Awaitable: `asyncio.sleep(0)` without a coroutine of its own."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


_NEXT_TURN: Final = _NextTurn()


class _Done:
    """An awaitable that is done."""

    __slots__ = ()
    __await__ = iter(()).__iter__  # an iterator at its end, given out without a call of Python code


DONE: Final = cast(Awaitable[None], _Done())


class _Turn:
    """Who waits for one log in one turn of an event loop."""

    __slots__ = ("error", "over", "waiting")

    def __init__(self) -> None:
        self.over = False
        """The disk has them, or refused: then with `error`."""
        self.error: Exception | None = None
        self.waiting: list[asyncio.Future[None]] | None = None
        """While a thread waits for the disk: whom to wake then."""


class Turns:
    """What one log is given on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: EventLog) -> None:
        import asyncio

        self.loop, self.log = loop, log
        self.running = asyncio.get_running_loop
        """Which loop runs; asked for every step, and an import is slow even if it finds what was imported."""
        self.abreast = 0
        """How many tasks write to the log at the same time, as far as known: whether waiting for others is worth it."""
        self._turn = _Turn()
        self._seconds = 0.0
        """What the last sync took."""
        self._holding: list[Holding] = []
        self._pieces = 0
        """How often what was held was written."""
        self._ends = False
        """Whether the end of this turn is waited for already."""

    @contextlib.contextmanager
    def side_by_side(self, tasks: int) -> Iterator[None]:
        """Within the block so many tasks more write to the log."""
        self.abreast += tasks
        try:
            yield
        finally:
            self.abreast -= tasks

    # -- writing ---------------------------------------------------------------------------------------------------

    def hold(self, run: Holding) -> None:
        """`run` holds its first event: it is written when this turn is over, if the run has not done so before."""
        self._holding.append(run)
        if not self._ends:
            self._ends = True
            self.loop.call_soon(self._end)

    def _end(self) -> None:
        self._ends = False
        with contextlib.suppress(Exception):  # they are held on: whoever writes next is told, and writes them first
            self.flush()

    def flush(self) -> None:
        """Write what the runs hold, in one piece. Raises what the log raises; then they hold it on."""
        holding, self._holding = self._holding, []
        self._pieces += 1
        # Nobody waits for the lock of one run while holding that of another.
        free = [run for run in holding if run.lock.acquire(blocking=False)]
        try:
            self._write(free)
        finally:
            for run in free:
                run.lock.release()
        for run in holding if len(free) < len(holding) else ():
            with run.lock:
                self._write([run])

    def _write(self, runs: list[Holding]) -> None:
        """Write what runs hold whose locks are held."""
        given: list[tuple[Holding, list[Event]]] = []
        try:
            for run in runs:
                if run.held:  # else the run wrote it with its next event
                    given.append((run, run.held))
                    run.held = []
            if given:
                self.log.append([event for _, events in given for event in events], durable=False)
        except BaseException:
            for run, events in given:
                run.held = events
            self._holding, self._pieces = [*runs, *self._holding], self._pieces - 1
            raise

    async def written(self) -> None:
        """Return once what is held is written, together with what others hold by then. Raises what the log raises."""
        pieces = self._pieces
        await _NEXT_TURN
        if self._pieces == pieces:  # the first to go on writes for all
            self.flush()

    # -- waiting for the disk --------------------------------------------------------------------------------------

    async def on_disk(self) -> None:
        """Return once everything appended so far is on disk. Raises what the log raises."""
        turn = self._turn
        await _NEXT_TURN  # whatever is ready runs, and writes and waits too
        if not turn.over:  # the first to go on syncs for all
            if turn.waiting is None:
                self._turn = _Turn()
                if self._seconds <= SLOW_SECONDS:
                    self._sync(turn)
                else:
                    turn.waiting = []
                    self.loop.run_in_executor(None, self._sync, turn).add_done_callback(lambda _: _wake(turn))
            if turn.waiting is not None:
                woken = self.loop.create_future()
                turn.waiting.append(woken)
                await woken
        if turn.error is not None:
            raise turn.error

    def _sync(self, turn: _Turn) -> None:
        begun = time.perf_counter()
        try:
            self.log.sync()
        except Exception as error:
            turn.error = error
        self._seconds = time.perf_counter() - begun
        turn.over = turn.waiting is None  # in a thread: not before those who wait are woken


def _wake(turn: _Turn) -> None:
    turn.over = True
    for future in turn.waiting or ():
        if not future.done():  # else whoever waited was canceled
            future.set_result(None)


_turns: dict[asyncio.AbstractEventLoop, dict[int, Turns]] = {}


def turns_of(log: EventLog) -> Turns:
    """The turns of `log` on the running event loop."""
    import asyncio

    loop = asyncio.get_running_loop()
    logs = _turns.get(loop)
    if logs is None:
        for known in [one for one in tuple(_turns) if one.is_closed()]:
            _turns.pop(known, None)
        logs = _turns[loop] = {}
    turns = logs.get(id(log))
    if turns is None or turns.log is not log:
        turns = logs[id(log)] = Turns(loop, log)
    return turns
