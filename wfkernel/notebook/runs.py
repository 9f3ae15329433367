"""Which run a kernel writes.

A notebook has one interactive run that lives on through kernel restarts, until `%workflow new` begins another. Its latest
run is taken up unless another living kernel writes it. A headless run is told to its kernel through the environment, by
the process that brackets it (`wfkernel.notebook.headless`).
"""

from __future__ import annotations

import atexit
import os
import secrets
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.checkpointing import CheckpointPolicy, Follower, check_together, checkpoint_policy
from wfkernel.engine.commands import Handler
from wfkernel.engine.durability import Durability, checked_durability
from wfkernel.engine.events import Event
from wfkernel.engine.remember import context_flag
from wfkernel.engine.script import ScriptRun
from wfkernel.engine.state import RunState
from wfkernel.errors import WorkflowError
from wfkernel.store.store import Store

__all__ = ["PARENT_VARIABLE", "RUN_VARIABLE", "NotebookRuns", "new_run_id"]

RUN_VARIABLE: Final = "WFKERNEL_RUN"
"""Environment variable by which a headless run tells its kernel which run it is."""
PARENT_VARIABLE: Final = "WFKERNEL_PARENT"
"""The identity of the process that started this kernel for a run and hands the run over to it."""


def new_run_id() -> str:
    """A fresh run id: sorts by time, short enough to type."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


class NotebookRuns:
    """The runs of one notebook, as one kernel sees them."""

    def __init__(
        self, store: Store, notebook: Path | None, on_event: Callable[[Event], None], on_command: Handler
    ) -> None:
        self._store, self._notebook, self._on_event = store, notebook, on_event
        self._on_command = on_command
        self._leave: Callable[[], None] = lambda: None
        self._current: ScriptRun | None = None
        self._follower: Follower | None = None
        self._told: dict[str, str] = {}
        """What this kernel was told about durability and checkpoints: for its run, and for those it begins."""
        atexit.register(_close_if_alive, weakref.ref(self))  # after the store's own, so it comes before it

    @property
    def begun(self) -> bool:
        """Whether this kernel has a run already."""
        return self._current is not None

    @property
    def current(self) -> ScriptRun:
        """The run this kernel writes; taken up, or begun, at the first use."""
        if self._current is None:
            self._current = self._open(self._take_up() or self._begin())
        return self._current

    def new(self) -> ScriptRun:
        """Leave the present run as it is and begin a new one, in which nothing is finished."""
        self.close()
        self._current = self._open(self._begin())
        return self._current

    def take_up(self, run_id: str) -> ScriptRun:
        """Leave the present run as it is and go on with another one of this notebook."""
        self.close()
        self._current = self._open(self._attach(run_id))
        return self._current

    def configure(self, durability: Durability | None = None, checkpoints: str | None = None) -> tuple[str, str]:
        """Set the durability or the checkpoints of the present run, and of those begun after it. Returns what holds now.

        Raises `DefinitionError` for what is no policy or does not go together, and changes nothing then.
        """
        run = self.current
        policy = None if checkpoints is None else str(checkpoint_policy(checkpoints))
        state = run.state
        check_together(durability or _durability(state), _policy(state, policy))
        if durability is not None or policy is not None:
            run.configure(durability, policy)
            self._told = {"durability": state.durability, "checkpoints": state.checkpoints}
            self._follow(run)
        return _durability(state), str(_policy(state))

    def settle(self) -> None:
        """Return when the run's checkpoints that are due are made."""
        if self._current is not None:
            self._current.flush()
            self._follow(self._current)

    def close(self) -> None:
        """Leave the present run: write what is held of it, and make the checkpoints that are due."""
        if self._current is not None:
            self._current.flush()
        self._unfollow()

    def _unfollow(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def _open(self, state: RunState) -> ScriptRun:
        run = ScriptRun(self._store, state, self._happened, durability=_durability(state))
        self._follow(run)
        self._leave()
        self._leave = self._store.listen(state.run_id, self._on_command)
        return run

    def _follow(self, run: ScriptRun) -> None:
        self._unfollow()
        policy = _policy(run.state)
        if not policy.is_manual:
            self._follower = self._store.auto_checkpoint(run.run_id, policy)

    def _happened(self, event: Event) -> None:
        if self._follower is not None:
            self._follower(event)
        self._on_event(event)

    def _take_up(self) -> RunState | None:
        headless = os.environ.get(RUN_VARIABLE)
        if headless:
            return self._attach(headless)
        latest = self._store.latest_run(str(self._notebook), "interactive") if self._notebook else None
        if latest is None or self._written_elsewhere(self._store.load(latest)):
            return None
        return self._attach(latest)

    def _written_elsewhere(self, state: RunState) -> bool:
        ours = (self._store.owner, os.environ.get(PARENT_VARIABLE))
        return state.owner not in ours and self._store.is_alive(state.owner)

    def _attach(self, run_id: str) -> RunState:
        def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            if self._written_elsewhere(state):
                raise WorkflowError(
                    f"run {run_id} is being written by another process ({state.owner}): continue it there, or stop it"
                )
            return [(ev.RUN_ATTACH, "", {})]

        return self._store.claim(run_id, decide)

    def _begin(self) -> RunState:
        state = RunState(new_run_id())
        payload = {
            "status": "running",
            "workflow": self._notebook.stem if self._notebook else "notebook",
            "notebook": str(self._notebook or ""),
            "mode": "interactive",
            "owner": self._store.owner,
            **{name: said for name, said in self._told.items() if said},
            **context_flag(),
        }
        ScriptRun(self._store, state).emit(ev.RUN_START, payload, durable=True)
        return state


def _durability(state: RunState) -> Durability:
    from wfkernel.settings import settings

    return checked_durability(state.durability or None) or settings().durability


def _policy(state: RunState, said: str | None = None) -> CheckpointPolicy:
    from wfkernel.settings import settings

    return checkpoint_policy(said or state.checkpoints or settings().checkpoints)


def _close_if_alive(runs: weakref.ref[NotebookRuns]) -> None:
    opened = runs()
    if opened is not None:
        opened.close()
