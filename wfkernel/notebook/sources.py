"""What a live view can follow: the notebook's run, a run of the engine in this process, a run in the store.

A source gives the run's state, tells of every event, and takes the commands of the page. Commands arrive wherever the
kernel handles messages; what they start goes on elsewhere.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Final, Protocol

from wfkernel.engine.events import Event
from wfkernel.engine.failures import InputInvalid
from wfkernel.engine.loop import engine_loop
from wfkernel.engine.state import RunState
from wfkernel.notebook.commands import Command, Reply

if TYPE_CHECKING:
    from wfkernel.engine.run import Run
    from wfkernel.notebook.session import Session
    from wfkernel.store.store import Store

__all__ = ["EngineSource", "SessionSource", "Source", "StoredSource"]

_ITEM: Final = re.compile(r"(.*)\[(\d+)\]")
MOMENT: Final = 0.5
"""Seconds a command may take to be refused; what lasts longer has begun."""


class Source(Protocol):
    """A run to look at."""

    @property
    def ops(self) -> list[str]:
        """Commands the page offers."""

    @property
    def has_past(self) -> bool:
        """Whether `past` has more to tell than the state."""

    @property
    def state(self) -> RunState: ...

    def watch(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with every event; returns what ends it."""

    def past(self) -> Iterable[Event]:
        """All events so far."""

    def command(self, command: Command) -> Reply:
        """Do what the page asks for. Raises `WorkflowError`."""


def _unknown(command: Command) -> Reply:
    return {"ok": False, "problems": [["", f"unknown command {command.get('op')!r}"]]}


class SessionSource:
    """The run of the notebook's own cells."""

    ops = ["suspend", "cancel", "resume", "retry", "travel"]  # noqa: RUF012 (never changed)
    has_past = True

    def __init__(self, session: Session) -> None:
        self._session, self._run = session, session.run
        self._context = contextvars.copy_context()  # output of a later execution goes to the cell that showed us

    @property
    def state(self) -> RunState:
        return self._run.state

    def watch(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        def ours(event: Event) -> None:
            if event.run_id == self._run.run_id:
                callback(event)

        self._session.watchers = (*self._session.watchers, ours)

        def unwatch() -> None:
            self._session.watchers = tuple(one for one in self._session.watchers if one is not ours)

        return unwatch

    def past(self) -> Iterable[Event]:
        return self._session.store.events(self._run.run_id)

    def command(self, command: Command) -> Reply:
        return self._session.commands.do(command, "run view", self._context)


class EngineSource:
    """A run of a `Workflow` or a durable function, in this process."""

    ops = ["suspend", "cancel", "resume", "retry", "travel", "proceed"]  # noqa: RUF012 (never changed)

    def __init__(self, run: Run) -> None:
        self._run = run
        self.has_past = run.options.store is not None

    @property
    def state(self) -> RunState:
        return self._run.state

    def watch(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        return self._run.watch(callback)

    def past(self) -> Iterable[Event]:
        store: Any = self._run.options.store
        return store.events(self._run.run_id) if store.exists(self._run.run_id) else ()

    def command(self, command: Command) -> Reply:
        run, step = self._run, str(command.get("step") or "")
        item = _ITEM.fullmatch(step)
        match command.get("op"):
            case "resume":
                path, index = (item[1], int(item[2])) if item else (step, None)
                return self._begin(run.resume(command.get("data"), step=path or None, index=index))
            case "suspend":
                return self._begin(run.suspend("suspended in the run view"))
            case "cancel":
                return self._begin(run.cancel("canceled in the run view"))
            case "retry":
                failed = step in run.state.steps and run.state.steps[step].status == "failed"
                if failed and run.status in ("failed", "tripwire"):
                    return self._begin(run.retry())
                return self._begin(run.time_travel(item[1] if item else step))
            case "travel":
                return self._begin(run.time_travel(item[1] if item else step, per_step=True))
            case "proceed":
                return self._begin(run.proceed())
        return _unknown(command)

    @staticmethod
    def _begin(work: Coroutine[Any, Any, Any]) -> Reply:
        future = asyncio.run_coroutine_threadsafe(work, engine_loop())
        try:
            future.result(MOMENT)
        except FutureTimeout:
            pass  # it was not refused: it runs
        except InputInvalid as error:
            return {"ok": False, "problems": [list(problem) for problem in error.problems]}
        return {"ok": True, "goes_on": True}


class StoredSource:
    """A run in the store that another process writes, or wrote."""

    ops = ["suspend", "cancel"]  # noqa: RUF012 (never changed)
    has_past = True

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self.state = store, store.load(run_id)

    def watch(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        def take(events: list[Event]) -> None:
            for event in events:
                self.state.apply(event)
                callback(event)

        return self._store.follow(self.state.run_id, self.state.seq, take)

    def past(self) -> Iterable[Event]:
        return [event for event in self._store.events(self.state.run_id) if event.seq <= self.state.seq]

    def command(self, command: Command) -> Reply:
        if command.get("op") not in self.ops:
            return _unknown(command)
        return self._store.send(self.state.run_id, {"op": command["op"], "by": "run view"})
