"""What everything that executes one run shares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wfkernel.engine import events as ev
from wfkernel.engine.clock import Clock
from wfkernel.engine.failures import Canceled, Paused
from wfkernel.engine.hooks import Cancel, Hooks, Moment, Verdict
from wfkernel.engine.limits import Limits
from wfkernel.engine.meter import Meter
from wfkernel.engine.recorder import Recorder
from wfkernel.engine.scope import ConflictRule
from wfkernel.engine.script import describe_error
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.state import INDEX, RunState, StepState
from wfkernel.engine.step_run import previous_output
from wfkernel.engine.values import reveal_fields
from wfkernel.plan.builder import Definition
from wfkernel.plan.missing import MISSING
from wfkernel.plan.step import StepSpec, spec_of

if TYPE_CHECKING:
    from wfkernel.engine.scope import StateScope
    from wfkernel.engine.sessions import Session

__all__ = ["Core", "Frame", "MapScope"]


Slots = AbstractAsyncContextManager[None]


class _Both:
    """A place in a nested workflow and one in the run around it, taken in this order by all."""

    def __init__(self, inner: Slots, outer: Slots) -> None:
        self._inner, self._outer = inner, outer

    async def __aenter__(self) -> None:
        await self._inner.__aenter__()
        try:
            await self._outer.__aenter__()
        except BaseException as error:
            await self._inner.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(self, *error: Any) -> None:
        await self._outer.__aexit__(*error)
        await self._inner.__aexit__(*error)


@dataclass(slots=True)
class Counts:
    """What changes while the run is executed; shared by the run and the workflows nested in it."""

    executing: int = 0
    permits: int = 1
    """With `per_step`: how many more steps may be executed."""


class Core:
    """One live run: its recorder, its signal, and the options it was given."""

    def __init__(
        self,
        recorder: Recorder,
        signal: CancelSignal,
        clock: Clock,
        hooks: Hooks | None,
        limits: Limits,
        conflict: ConflictRule,
        session: Session | None,
        *,
        validate: bool,
        per_step: bool,
        park: float | None,
        worker: str,
        target: str | None = None,
    ) -> None:
        self.recorder, self.signal, self.clock = recorder, signal, clock
        self.hooks, self.limits, self.conflict, self.session = hooks, limits, conflict, session
        self.validate, self.per_step, self.park = validate, per_step, park
        self.worker = worker
        self.target = target
        """The step time travel goes to: of a branch it is in, only its arm runs."""
        self.counts = Counts()
        self.slots: Slots | None = asyncio.Semaphore(limits.concurrency) if limits.concurrency else None
        self.meters: tuple[Meter, ...] = ()
        """What is read before every step, where there are limits to keep."""
        self.sleeping: list[float] = []
        self.hold = CancelSignal()
        """Set when the run is to pause: no further step begins."""
        self.held_by: dict[str, Any] = {}
        """Who set it (`wfkernel.engine.actor`), for the run's history."""
        self.keeps_exceptions = False
        """Durable functions: a failed step raises the same exception again, and the code of steps is noted."""
        self.on_drift = ""
        """What a durable function does when its code differs from what the run recorded; "": as it says itself."""
        self.pinned: Mapping[str, StepSpec] = {}
        """Steps whose code is that of when the run was started, by path without the numbers of items."""
        self.functions: dict[str, Any] = {}
        """Compensations of the steps met so far, by path."""
        self.last = ""
        """Path of a step that nothing but the end of the run follows, which waits for the disk for both."""
        self.excused: set[str] = set()
        """Paths of steps whose failure does not end the run."""
        self.went_back()

    @property
    def state(self) -> RunState:
        return self.recorder.state

    def went_back(self) -> None:
        """The run begins anew with what it has recorded; to be called again when that changed."""
        # Changes of state recorded before this life of the run: each is applied once, where its step stands.
        self._unapplied = {path: step.changes for path, step in self.state.steps.items() if step.changes}

    def spec(self, path: str, given: StepSpec) -> StepSpec:
        """What the step at `path` executes: `given`, or what the run is pinned to."""
        return self.pinned.get(INDEX.sub("", path), given) if self.pinned else given

    def inside(self, hooks: Hooks | None, limits: Limits, conflict: ConflictRule) -> Core:
        """The same run as a workflow nested in it executes it: with that one's hooks after ours, and its limits as well."""
        inner = copy(self)
        inner.hooks = self.hooks if hooks is None else hooks if self.hooks is None else self.hooks.followed_by(hooks)
        tighter = [bound for bound in (self.limits.iterations, limits.iterations) if bound is not None]
        inner.limits = replace(limits, iterations=min(tighter, default=None))
        inner.conflict = conflict
        if limits.concurrency:
            own = asyncio.Semaphore(limits.concurrency)
            inner.slots = own if self.slots is None else _Both(own, self.slots)
        return inner

    async def limited(self, work: Awaitable[Any], limits: Limits, began: float, what: str, path: str = "") -> Any:
        """Await `work` within limits of time, memory and CPU time. Raises `StepFailed` when one is exceeded."""
        if limits.seconds is None and limits.memory is None and limits.cpu is None:
            return await work
        meter = Meter(limits, self.clock, began, what, path)
        self.meters = (*self.meters, meter)
        return await meter.over(work)

    def check(self) -> None:
        """Raise `Canceled` if the run was told to stop."""
        if self.signal.is_set():
            raise Canceled

    def is_excused(self, path: str, error: dict[str, Any]) -> bool:
        """Whether the run goes on though the step at `path` failed. A tripwire is there to stop it."""
        return path in self.excused and "tripwire" not in error

    def adopt(self, path: str, scope: StateScope) -> None:
        """Apply what the step at `path` set before this life of the run began."""
        if self._unapplied and (changes := self._unapplied.pop(path, None)):
            scope.apply(reveal_fields(changes, self.recorder.codec))

    async def fire(
        self,
        point: str,
        path: str,
        value: Any,
        attempt: int = 0,
        iteration: int = 0,
        scope: StateScope | None = None,
        only: Hooks | None = None,
        refused: frozenset[type] = frozenset(),
    ) -> tuple[Verdict | None, Any]:
        """Call the hooks of a point (or `only` these). `Cancel` has been acted upon when this returns: it raises `Canceled`.

        A `refused` verdict, which means nothing where this is called, is a hook that failed.
        """
        hooks = only or self.hooks
        if hooks is None or not hooks.has(point):
            return None, value
        state = self.state
        moment = Moment(point, state.run_id, state.workflow, path, value, attempt, iteration,
                        scope.snapshot() if scope is not None else {})  # fmt: skip

        def failed(name: str, error: BaseException) -> None:
            payload = {"point": point, "hook": name, "error": describe_error(error)}
            self.recorder.emit(ev.HOOK_FAILED, payload, path, attempt)

        verdict, value = await hooks.fire(moment, failed, refused)
        if isinstance(verdict, Cancel) and point != "run.resume":
            self.signal.set(verdict.reason or f"canceled by a hook at {point}")
            raise Canceled
        return verdict, value

    async def sleep(self, seconds: float) -> None:
        """Sleep; a cancellation of the run, or its suspension, ends it at once. Raises `Canceled` or `Paused`."""
        self.check()
        if self.hold.is_set():
            raise Paused
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        sleeper = asyncio.ensure_future(self.clock.sleep(seconds))

        def wake() -> None:
            loop.call_soon_threadsafe(sleeper.cancel)

        try:
            with self.signal.listening(wake), self.hold.listening(wake):
                await sleeper
        except asyncio.CancelledError:
            sleeper.cancel()
            self.check()
            if self.hold.is_set():
                raise Paused from None
            raise


@dataclass(slots=True)
class Frame:
    """The workflow whose entries are being executed: the run's own, or a nested one."""

    plan: Definition
    prefix: str
    init: Any
    outer: Frame | None = None
    """The frame around a plan that is part of the workflow around it."""
    item: Any = MISSING
    """The item, in what a foreach runs."""

    def owner(self) -> Frame:
        """The frame of the workflow this one is part of: the nearest that is a workflow in its own right."""
        frame = self
        while frame.outer is not None:
            frame = frame.outer
        return frame

    def latest(self, core: Core, id_: str) -> StepState | None:
        """What is known of a step of this workflow, or of what it is part of; of its last use where it has several."""
        found = core.state.steps.get(f"{self.prefix}{id_}")
        if found is None:
            return self.outer.latest(core, id_) if self.outer is not None else None
        number = 2
        while (again := core.state.steps.get(f"{self.prefix}{id_}#{number}")) is not None:
            found, number = again, number + 1
        return found

    def output_of(self, core: Core, step: Any) -> Any:
        """Output of a step (or its id) of this workflow, None unless it succeeded."""
        id_ = step if isinstance(step, str) else getattr(step, "id", None) or spec_of(step).id
        if self.outer is not None and f"{self.prefix}{id_}" not in core.state.steps:
            return self.outer.output_of(core, id_)
        latest = previous_output(core, f"{self.prefix}{id_}")
        number = 2
        while (again := core.state.steps.get(f"{self.prefix}{id_}#{number}")) is not None:
            if again.status == "success":
                latest = previous_output(core, again.path)
            number += 1
        return latest


@dataclass(slots=True)
class MapScope:
    """What the sources of a `.map({...})` see."""

    core: Core
    frame: Frame
    scope: StateScope
    value: Any

    def init(self) -> Any:
        return self.frame.init

    def state(self) -> Mapping[str, Any]:
        return self.scope.snapshot()

    def output(self, step: str) -> Any:
        found = self.frame.output_of(self.core, step)
        return MISSING if found is None else found
