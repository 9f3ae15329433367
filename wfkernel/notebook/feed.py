"""What a page needs to follow one run: a whole picture once, then only what changed.

A `Feed` hears every event of the run, in whatever thread writes it, and only notes what the event touched. `take` is
called at most some times a second and makes one message of everything noted since; `picture` is the whole, for a page that
opens or has missed a message. Both are folds and tails of the run's own events, so a page that is reloaded shows the truth
again. A message says between which two numbers it stands; a page that finds a gap asks for the whole.

An entry of the log is ``[path, text]``, or ``[path, text, 1]`` when the line goes on, or ``[path, text, 0, data]`` with a
MIME bundle. An attempt is ``[path, number, start, end, outcome]``, times in seconds since the epoch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.rich import mime_bundle
from wfkernel.engine.state import RunState, StepState
from wfkernel.notebook.view import plain, run_duration, step_view, tidy, waiting_for
from wfkernel.plan.chart import Chart, chart_of_needs, chart_of_spans, needs_of
from wfkernel.plan.placing import place

__all__ = ["Feed"]

LOG: Final = 10_000
"""Entries of the log a page is given when it opens."""
BURST: Final = 2_000
"""Entries one message carries, the newest. A page that was given less than was written asks for the whole when the run rests."""
ATTEMPTS: Final = 4_000
LINE: Final = 2_000
DRAWN: Final = 400
"""Steps drawn where there is no plan to draw."""

_ENDS: Final = {ev.STEP_RETRY: "failed", ev.STEP_SUSPENDED: "suspended", ev.STEP_DIED: "died"}
_RESHAPING: Final = (ev.STEP_PLANNED, ev.RUN_TRAVEL, ev.RUN_START, ev.RUN_ATTACH, ev.RUN_DRIFT)


class Feed:
    """The feed of one run. `state` gives the run's present state; `changed` is called, from any thread, when there is news."""

    def __init__(self, state: Callable[[], RunState], changed: Callable[[], object] = lambda: None) -> None:
        self._state, self._changed = state, changed
        self._lock = threading.Lock()
        self._number = 0
        self._log: deque[list[Any]] = deque(maxlen=LOG)
        self._logged = 0
        self._attempts: deque[list[Any]] = deque(maxlen=ATTEMPTS)
        self._open: dict[str, list[Any]] = {}
        self._lines: deque[list[Any]] = deque(maxlen=BURST)
        self._left_out = 0
        self._touched: set[str] = set()
        self._moved: list[list[Any]] = []
        self._whole = False
        self._waits: dict[str, list[str]] = {}
        self._chart: tuple[Any, dict[str, Any]] = (None, {})
        self._told: Any = None
        self._meanwhile: list[Event] | None = None
        self._begin_with(state())

    def _begin_with(self, state: RunState) -> None:
        """What the state alone tells of the past: the newest lines and attempts."""
        for step in sorted(state.steps.values(), key=lambda step: step.started_at or 0.0):
            self._log.extend([step.path, tidy(line)] for line in list(step.log))
            if step.started_at is not None:
                end = None if step.status in ("running", "waiting") else step.ended_at or step.started_at
                entry = [step.path, step.attempt, step.started_at, end, step.status]
                self._attempts.append(entry)
                if end is None:
                    self._open[step.path] = entry
        self._logged = len(self._log)

    # -- hearing -----------------------------------------------------------------------------------------------------

    def relive(self, past: Callable[[], Iterable[Event]]) -> None:
        """Take the run's past from its events, which `past` reads; what was known of it before is replaced."""
        with self._lock:
            meanwhile: list[Event] = []
            self._meanwhile = meanwhile
        try:
            events = list(past())
        finally:
            with self._lock:
                self._meanwhile = None
        with self._lock:
            self._log.clear()
            self._logged = 0
            self._attempts.clear()
            self._open.clear()
            known = events[-1].seq if events else 0
            for event in [*events, *(event for event in meanwhile if event.seq > known)]:
                self._note(event)
            self._whole = True
        self._changed()

    def heard(self, event: Event) -> None:
        """One more event, already part of the state. From any thread."""
        with self._lock:
            if self._meanwhile is not None:
                self._meanwhile.append(event)
            self._note(event)
        self._changed()

    def _note(self, event: Event) -> None:
        kind, path = event.type, event.path
        if kind == ev.STEP_OUTPUT:
            self._note_line(path, event.payload)
            return
        self._touched.add(path)
        if kind == ev.STEP_START or kind == ev.STEP_WAITING:
            self._end(path, event.ts, "interrupted")
            self._open[path] = entry = [path, event.attempt, event.ts, None, "running"]
            self._attempts.append(entry)
            self._moved.append(entry)
        elif kind == ev.STEP_RESULT:
            self._end(path, event.ts, event.payload["status"])
        elif kind in _ENDS:
            self._end(path, event.ts, _ENDS[kind])
        elif kind == ev.STEP_RESTORED:
            entry = [path, 0, event.ts - (event.payload.get("duration") or 0.0), event.ts, "restored"]
            self._attempts.append(entry)
            self._moved.append(entry)
        elif kind in _RESHAPING:
            self._whole = True
        elif kind == ev.RUN_FINISH:
            for open_path in list(self._open):
                self._end(open_path, event.ts, "canceled")
                self._touched.add(open_path)

    def _note_line(self, path: str, payload: dict[str, Any]) -> None:
        value = payload["text"] if "text" in payload else payload["output"]
        data = payload.get("data")
        if value.__class__ is not str:
            data = data or mime_bundle(value)
            value = repr(value)
        text = _piece(value)
        entry: list[Any] = [path, text if len(text) <= LINE else text[: LINE - 1] + "…"]
        if data:
            entry += [0, data]
        elif payload.get("end") == "":
            entry.append(1)
        self._log.append(entry)
        self._logged += 1
        self._left_out += len(self._lines) == BURST
        self._lines.append(entry)

    def _end(self, path: str, at: float, outcome: str) -> None:
        entry = self._open.pop(path, None)
        if entry is not None:
            entry[3:] = [at, outcome]
            self._moved.append(entry)

    # -- telling -----------------------------------------------------------------------------------------------------

    def take(self) -> dict[str, Any] | None:
        """Everything since the last `take`, or None."""
        with self._lock:
            if not (self._whole or self._touched or self._lines or self._moved):
                return None
            whole, self._whole = self._whole, False
            touched, self._touched = self._touched, set()
            lines = list(self._lines)
            self._lines.clear()
            moved, self._moved = self._moved, []
            left_out, self._left_out = self._left_out, 0
            self._number += 1
            state = self._state()
            if whole:
                self._waits, self._told = waiting_for(state), _chart_of(state)[1]
                return self._picture(state)
            first = self._logged - len(lines) - left_out
            message: dict[str, Any] = {"after": self._number - 1, "number": self._number, "at": first, "log": lines}
            if left_out:
                message["left_out"] = left_out
            if touched:
                message["head"] = self._head(state)
                message["steps"] = self._changed_steps(state, touched)
                message["attempts"] = moved
                key = _chart_of(state)[1]
                if key != self._told:
                    self._told, message["chart"] = key, self._charted(state)
            return message

    def picture(self) -> dict[str, Any]:
        """The whole. What the next `take` tells may be part of it already; telling it twice does no harm."""
        with self._lock:
            return self._picture(self._state())

    def _picture(self, state: RunState) -> dict[str, Any]:
        waits, now = waiting_for(state), time.time()
        return {
            "number": self._number,
            "head": self._head(state),
            "steps": [_step(step, waits.get(step.path, []), now) for step in list(state.steps.values())],
            "at": self._logged - len(self._log),
            "log": list(self._log),
            "attempts": [list(entry) for entry in self._attempts],
            "chart": self._charted(state),
        }

    def _head(self, state: RunState) -> dict[str, Any]:
        now = time.time()
        return {
            "run_id": state.run_id,
            "workflow": tidy(state.workflow),
            "status": state.status,
            "mode": state.mode,
            "started": state.started_at,
            "now": now,
            "duration": run_duration(state, now),
            "params": plain(state.params),
            "error": _error(state.error),
            "wake_at": state.wake_at,
            "arms": {path: arms for path, arms in list(state.decisions.items()) if arms and isinstance(arms[0], str)},
        }

    def _changed_steps(self, state: RunState, paths: set[str]) -> list[dict[str, Any]]:
        """The steps at `paths`, and those that wait for something else than they did."""
        waits = waiting_for(state)
        paths = paths | {path for path, ones in waits.items() if self._waits.get(path, []) != ones}
        self._waits = waits
        now = time.time()
        return [_step(state.steps[path], waits.get(path, []), now) for path in list(state.steps) if path in paths]

    def _charted(self, state: RunState) -> dict[str, Any]:
        """The run's chart with its places."""
        chart, key = _chart_of(state)
        if key != self._chart[0]:
            self._chart = (key, {name: place(level) for name, level in chart().items()})
        return self._chart[1]


def _piece(text: str) -> str:
    """`tidy` for what may be a part of a line and go back to its start: that stays a carriage return, for the page."""
    shown = tidy(text)
    if "\r" not in text:
        return shown
    first = text.replace("\r\n", "\n").partition("\n")[0]
    return ("\r" if "\r" in first.rstrip("\r") else "") + shown + ("\r" if text.endswith("\r") else "")


def _step(step: StepState, waits: list[str], now: float) -> dict[str, Any]:
    shown = step_view(step, waits, now)
    del shown["log"]
    shown["error"] = _error(step.error)
    return shown


def _error(error: dict[str, Any] | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {name: tidy(str(error.get(name, ""))) for name in ("type", "message", "hint", "traceback")}


def _chart_of(state: RunState) -> tuple[Callable[[], Chart], Any]:
    """How to make the run's chart, and what it depends on."""
    if state.chart:
        return lambda: state.chart, id(state.chart)
    top = [step for path, step in list(state.steps.items()) if "." not in path and "[" not in path][:DRAWN]
    if state.mode == "function":
        spans = {s.path: (s.started_at, s.ended_at) for s in top if s.started_at is not None}
        return lambda: chart_of_spans(spans), tuple((path, end is None) for path, (_, end) in spans.items())
    needs = needs_of((step.path, step.reads, step.binds) for step in top)
    repeated = {path for path in needs if state.children.get(path)}
    return lambda: chart_of_needs(needs, repeated), (tuple((p, tuple(n)) for p, n in needs.items()), tuple(repeated))
