"""Deaths on demand: a process that kills itself (SIGKILL) just before or after a named event is written.

The way to test that a workflow survives a crash is to crash it, in a process of its own, at every moment that matters::

    @pytest.mark.parametrize("step", ["load", "clean", "publish"])
    def test_no_step_runs_twice(step, tmp_path):
        run_until_crash("orders.py", crash_at("step.result", step), cwd=tmp_path)
        subprocess.run([sys.executable, "orders.py"], cwd=tmp_path, check=True)     # takes the run up
        assert (tmp_path / "ran").read_text().split() == ["load", "clean", "publish"]

`run_until_crash` runs a script through ``python -m wfkernel.testing``, which reads the crash point from the
variable ``WFKERNEL_CRASH_AT`` and watches everything the script's stores write. In a process you start yourself,
`CrashingStore` around the store does the same.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from wfkernel.engine.events import Event
from wfkernel.engine.state import RunState

__all__ = ["CRASH_VARIABLE", "CrashPoint", "CrashingStore", "crash_at", "run_crashing", "run_until_crash"]

CRASH_VARIABLE: Final = "WFKERNEL_CRASH_AT"

_Decide = Callable[[RunState], list[tuple[str, str, dict[str, Any]]]]


@dataclass(frozen=True)
class CrashPoint:
    """The moment to die at. Made by `crash_at`."""

    event: str
    path: str | None = None
    nth: int = 1
    before: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The variable that tells a process started by `run_until_crash` where to die."""
        return {CRASH_VARIABLE: json.dumps(asdict(self))}


def crash_at(event: str, path: str | None = None, nth: int = 1, *, before: bool = False) -> CrashPoint:
    """Die when the `nth` event of this type (and path) has been written, or (`before`) instead of writing it."""
    return CrashPoint(event, path, nth, before)


class _Trigger:
    """Counts the events of one crash point."""

    def __init__(self, point: CrashPoint) -> None:
        self._point = point
        self._left = point.nth

    def before(self, events: Iterable[tuple[str, str]]) -> None:
        """Events of these types and paths are about to be written."""
        for type_, path in events:
            self._count(type_, path)
        if self._point.before:
            self._die_if_due()

    def after(self) -> None:
        """They are written."""
        self._die_if_due()

    def _count(self, type_: str, path: str) -> None:
        if type_ == self._point.event and self._point.path in (None, path):
            self._left -= 1

    def _die_if_due(self) -> None:
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def append(self, append: Callable[..., None], events: list[Event], durable: bool) -> None:
        """A store's `append`, or death; of events that are written together, those up to the crash point are written."""
        for number, event in enumerate(events):
            self._count(event.type, event.path)
            if self._left <= 0:
                done = events[: number if self._point.before else number + 1]
                if done:
                    append(done, durable=durable)
                self._die_if_due()
        append(events, durable=durable)

    def claim(self, claim: Callable[[str, _Decide], RunState], run_id: str, decide: _Decide) -> RunState:
        """A store's `claim`, or death: before is inside its transaction."""

        def deciding(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            decided = decide(state)
            self.before((type_, path) for type_, path, _ in decided)
            return decided

        state = claim(run_id, deciding)
        self.after()
        return state


class CrashingStore:
    """A store (or event log) around another one that kills this process at `point`. The rest is the other's."""

    def __init__(self, store: Any, point: CrashPoint) -> None:
        self._store = store
        self._trigger = _Trigger(point)

    def append(self, events: list[Event], *, durable: bool = True) -> None:
        """Write events, or die."""
        self._trigger.append(self._store.append, events, durable)

    def claim(self, run_id: str, decide: _Decide, **options: Any) -> RunState:
        """Change a run, or die."""
        return self._trigger.claim(partial(self._store.claim, **options), run_id, decide)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def run_until_crash(
    script: str | Path,
    point: CrashPoint,
    *args: str,
    cwd: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run a Python script in a process of its own that dies at `point`; returns when it has, with its output.

    Raises AssertionError, with what the script wrote, when it ended in any other way than by the crash.
    """
    command = [sys.executable, "-m", "wfkernel.testing", str(script), *args]
    given = {**os.environ, **(environment or {}), **point.environment}
    done = subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != -signal.SIGKILL:
        when = "before" if point.before else "at"
        wanted = f"{when} event {point.nth} '{point.event}'" + (f" of '{point.path}'" if point.path else "")
        raise AssertionError(
            f"{script} did not crash {wanted}: it ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done


def run_crashing(arguments: Sequence[str]) -> None:
    """Run the script named first, with every store of this process crashing at the given point."""
    from wfkernel.store.store import Store

    trigger = _Trigger(CrashPoint(**json.loads(os.environ[CRASH_VARIABLE])))
    append, claim = Store.append, Store.claim

    def crashing_append(self: Store, events: list[Event], *, durable: bool = True) -> None:
        trigger.append(partial(append, self), events, durable)

    def crashing_claim(self: Store, run_id: str, decide: _Decide, **options: Any) -> RunState:
        return trigger.claim(partial(claim, self, **options), run_id, decide)

    Store.append = crashing_append  # type: ignore[method-assign]
    Store.claim = crashing_claim  # type: ignore[method-assign]
    sys.argv = list(arguments)
    sys.path[0] = str(Path(arguments[0]).resolve().parent)
    runpy.run_path(arguments[0], run_name="__main__")
