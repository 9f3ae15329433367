"""A run: starting it, and everything that can be done to it from outside.

    run = workflow.create_run()
    result = await run.start({"rows": 3})
    if result.status == "suspended":
        result = await run.resume({"approve": True})

Every method also has a blocking form, for scripts: ``run.sync.start(...)``. A run belongs to one process at a time;
`resume`, `restart`, `cancel`, `time_travel` first claim it, which is one atomic act between all processes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import error_of
from wfkernel.engine.blocking import SyncRun
from wfkernel.engine.clock import SYSTEM_CLOCK, Clock
from wfkernel.engine.compensation import compensate
from wfkernel.engine.core import Core
from wfkernel.engine.events import Event
from wfkernel.engine.failures import (
    Bailed,
    Canceled,
    HookCanceled,
    InputInvalid,
    Parked,
    Paused,
    RunActive,
    RunNotActive,
    RunTimeout,
    StepFailed,
    Suspended,
)
from wfkernel.engine.hooks import Cancel, Hooks, Replace
from wfkernel.engine.limits import Limits
from wfkernel.engine.memory import MemoryStore, RunStore
from wfkernel.engine.recorder import Durability, Recorder
from wfkernel.engine.remember import context_flag
from wfkernel.engine.result import RunInfo, RunResult, make_result, run_state_values, suspended_paths
from wfkernel.engine.resume import choose_targets
from wfkernel.engine.scope import ConflictRule, StateScope
from wfkernel.engine.sessions import Session
from wfkernel.engine.state import RunState
from wfkernel.engine.stream import BUFFER, Overflow
from wfkernel.engine.streaming import Stream
from wfkernel.engine.values import Codec, reveal, reveal_fields
from wfkernel.errors import ResumeAlreadyClaimed, RunNotSuspended, WorkflowError
from wfkernel.plan.shape import Misfit, Shape, is_model
from wfkernel.plan.step import StepSpec
from wfkernel.workers.base import CancelSignal, signalled_by

__all__ = ["Options", "Program", "Run", "get_run"]

_log = logging.getLogger("wfkernel")
_memory: Final = MemoryStore()
_ENDED: Final = ("success", "failed", "tripwire", "canceled")

Callback = Callable[[RunInfo], Any]


@dataclass(slots=True)
class Options:
    """How the runs of a workflow are run."""

    store: RunStore | None = None
    codec: Codec | None = None
    durability: Durability = "fsync"
    clock: Clock = SYSTEM_CLOCK
    hooks: Hooks | None = None
    limits: Limits = field(default_factory=Limits)
    conflict: ConflictRule = "last"
    validate: bool = True
    park: float | None = None
    """A sleep longer than this many seconds ends the process's work on the run: `wake` takes it up when it is time."""
    on_start: Callback | None = None
    on_finish: Callback | None = None
    on_error: Callback | None = None

    def __post_init__(self) -> None:
        if self.codec is None and isinstance(self.store, Codec):  # a store that knows how to keep values
            self.codec = self.store


class Program(Protocol):
    """What a run executes: a plan, or a durable function."""

    id: str
    mode: str
    input_shape: Shape | None
    state_shape: Shape | None

    def check_runnable(self) -> None: ...
    def definition_digest(self) -> str: ...
    def kept(self) -> dict[str, Any]: ...
    async def execute(self, core: Core, value: Any, scope: StateScope) -> Any: ...
    def spec_at(self, path: str) -> StepSpec | None: ...
    def plan_travel(
        self, state: RunState, target: str, given: Mapping[str, Any], has_input: bool
    ) -> dict[str, Any]: ...


_live: dict[tuple[int, str], Run] = {}
"""The runs this process is executing, by store and id."""


def get_run(program: Program, options: Options, run_id: str | None, session: Session | None, resource: str) -> Run:
    """The run of that id: the very object that is executing it, if this process is."""
    live = _live.get((id(options.store), run_id)) if run_id is not None else None
    return live or Run(program, options, run_id, session, resource)


class Run:
    """One run of a workflow. Made by `create_run`; the same id gives the same run, in any process."""

    def __init__(
        self, program: Program, options: Options, run_id: str | None, session: Session | None, resource: str
    ) -> None:
        self.program, self.options = program, options
        self.run_id = run_id or str(uuid.uuid4())
        self.session, self.resource = session, resource
        self._store: RunStore = options.store or _memory
        self._named = run_id is not None
        stored = self._named and self._store.exists(self.run_id)
        state = self._store.load(self.run_id) if stored else RunState(self.run_id)
        self._recorder = Recorder(state, options.store, options.codec, options.durability, options.clock.now)
        self._core: Core | None = None
        self._stream: Stream | None = None

    def __repr__(self) -> str:
        return f"<Run {self.run_id} of {self.program.id}: {self.status}>"

    # -- looking at it ----------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """pending, running, waiting, suspended, paused, success, failed, tripwire or canceled."""
        return self._recorder.state.status

    @property
    def state(self) -> RunState:
        """The fold of the run's events."""
        return self._recorder.state

    def result(self) -> RunResult:
        """Where the run stands now."""
        return self._result(None)

    def watch(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call `callback` with every event of the run in this process. Returns what ends it."""

        def guarded(event: Event) -> None:
            try:
                callback(event)
            except Exception:
                _log.exception("a watcher of run %s failed", self.run_id)

        return self._recorder.hub.watch(guarded)

    @property
    def sync(self) -> SyncRun:
        """The same methods, blocking."""
        return SyncRun(self)

    # -- running it ---------------------------------------------------------------------------------------------------

    async def start(self, input: Any = None, *, state: Any = None, per_step: bool = False) -> RunResult:
        """Run the workflow from its beginning and return when it ends, suspends or pauses.

        Raises `InputInvalid` before anything is started when `input` or `state` do not fit, and what `on_start` raises.
        """
        self.program.check_runnable()
        if self._named:
            self._refresh()
        if self._core is not None or (self.status in ("running", "waiting") and self._alive()):
            raise RunActive(f"run '{self.run_id}' is being executed; wait for it, or create another run.")
        value, initial = self._checked(input, state)
        if self.options.on_start is not None:
            info = RunInfo(self.run_id, self.program.id, self._session_id, self.resource, value, dict(initial))
            await _called(self.options.on_start, info)
        core = self._new_core(per_step)
        try:
            _, value = await core.fire("run.start", "", value)
        except Canceled:
            return await self._refused_by_hook(core, value, initial)
        self._emit_start(value, initial)
        return await self._drive(core, value)

    async def _refused_by_hook(self, core: Core, value: Any, initial: dict[str, Any]) -> RunResult:
        self._emit_start(value, initial)
        try:
            return await self._end(core, "canceled", None, None)
        finally:
            if self.options.store is None:
                _memory.keep(self._recorder.state)

    def _emit_start(self, value: Any, initial: dict[str, Any]) -> None:
        payload = {
            "status": "running",
            "workflow": self.program.id,
            "mode": self.program.mode,
            "input": value,
            "state": initial,
            "session": self._session_id,
            "resource": self.resource,
            "definition": self.program.definition_digest() if self.options.store is not None else "",
            "owner": self._store.owner,
            **self.program.kept(),
            **context_flag(),
        }
        self._recorder.emit(ev.RUN_START, payload, durable=True)
        if self.options.store is None:
            _memory.keep(self._recorder.state)

    def _checked(self, value: Any, state: Any) -> tuple[Any, dict[str, Any]]:
        if self.options.validate:
            value = _check(self.program.input_shape, value, "input data")
            if self.program.state_shape is not None:
                state = _check(self.program.state_shape, {} if state is None else state, "initial data")
        if state is None:
            return value, {}
        if is_model(type(state)):
            return value, {name: getattr(state, name) for name in type(state).model_fields}
        if not isinstance(state, Mapping):
            raise InputInvalid("initial data", [("", f"Input should be an object, not {type(state).__name__}")])
        return value, dict(state)

    async def resume(
        self, data: Any = None, *, step: Any = None, label: str | None = None, index: int | None = None,
        per_step: bool = False,
    ) -> RunResult:  # fmt: skip
        """Answer a suspended step and run on.

        Args:
            data: the answer; checked against the step's model before anything is claimed.
            step: which one, where several are suspended: an id, a step, a path ``a.b`` or a list of ids.
            label: the label it suspended with.
            index: which item of a foreach; without it all suspended items get the answer.

        Raises:
            RunNotSuspended, ResumeTargetUnknown, InputInvalid: nothing was changed.
            ResumeAlreadyClaimed: somebody else resumed the run first.
        """
        self._refresh()
        if self._core is not None or self.status != "suspended":
            raise RunNotSuspended(f"This workflow run was not suspended: '{self.run_id}' is {self.status}.")
        targets = choose_targets(self.state, step, label, index)
        if not targets:  # the item has its answer already
            return self.result()
        core = self._new_core(per_step)
        verdict, data = await core.fire("run.resume", targets[0], data)
        if isinstance(verdict, Cancel):
            raise HookCanceled(f"a hook refused the answer: {verdict.reason or 'no reason given'}")
        data = self._checked_answer(targets[0], data)

        def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            if state.status != "suspended" or any(state.step(t).status != "suspended" for t in targets):
                raise ResumeAlreadyClaimed(
                    f"run '{self.run_id}' was resumed by somebody else first: it is {state.status}, not suspended."
                )
            answered = [
                (ev.STEP_RESUMED, t, {"index": len(state.step(t).answers), "data": data, "by": "resume"})
                for t in targets
            ]
            return [*answered, (ev.RUN_RESUME, "", {"status": "running", "by": "resume"})]

        self._claim(decide)
        return await self._drive(self._new_core(per_step), reveal(self.state.input, self.options.codec))

    def _checked_answer(self, path: str, data: Any) -> Any:
        from pydantic_core import to_jsonable_python

        from wfkernel.plan.schema import check_schema

        spec = self.program.spec_at(path)
        suspension = self.state.step(path).suspension
        if data is not None:
            if spec is not None and spec.resume is not None:
                _check(Shape(spec.resume), data, "resume data")
            elif suspension is not None and suspension.schema:
                problems = check_schema(suspension.schema, to_jsonable_python(data))
                if problems:
                    raise InputInvalid("resume data", problems)
        return to_jsonable_python(data)

    async def restart(self, *, per_step: bool = False) -> RunResult:
        """Take up a run whose process died. No finished step is executed again; a sleep sleeps only what is left of it.

        For a run that has ended its stored result is returned. Raises `RunNotActive` for one that is suspended, paused,
        pending or canceled, and `RunActive` while its process lives.
        """
        self._refresh()
        if self.status in ("success", "failed", "tripwire"):
            return self.result()

        def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            if state.status not in ("running", "waiting"):
                raise RunNotActive(f"This workflow run was not active: '{self.run_id}' is {state.status}.")
            if self._core is not None or self._alive(state):
                raise RunActive(f"run '{self.run_id}' is being executed by {state.owner}.")
            return [
                (ev.RUN_ATTACH, "", {"owner": ""}),
                (ev.RUN_RESTART, "", {"status": "running", "reason": "restart"}),
            ]

        self._claim(decide)
        return await self._drive(self._new_core(per_step), reveal(self.state.input, self.options.codec))

    async def proceed(self, *, per_step: bool = False) -> RunResult:
        """Go on with a paused run: by one step (`per_step`), or to the end."""

        def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            if state.status != "paused":
                raise RunNotActive(f"run '{self.run_id}' is {state.status}, not paused.")
            return [(ev.RUN_CONTINUE, "", {"status": "running"})]

        self._claim(decide)
        return await self._drive(self._new_core(per_step), reveal(self.state.input, self.options.codec))

    async def time_travel(
        self, step: Any, *, input: Any = ..., state: Any = None, context: Mapping[str, Any] | None = None,
        resume_data: Any = ..., per_step: bool = False,
    ) -> RunResult:  # fmt: skip
        """Go back to `step` and run from there. What ran before it keeps its results, what ran after is forgotten.

        Args:
            step: id, step, path ``a.b`` or list of ids.
            input: what the step gets instead of the output before it.
            state: the run's state to go on with; by default as the kept steps left it.
            context: outputs to take for steps before it: ``{path: output}``.
            resume_data: the answer for a step behind it that was suspended.

        Raises `TimeTravelRefused` and changes nothing when the run cannot go there.
        """
        from wfkernel.engine.resume import path_of
        from wfkernel.engine.values import RECORD

        self.program.check_runnable()
        if self._core is not None:
            raise RunActive("This workflow run is still running, cannot time travel")
        target = path_of(step)
        codec = self.options.codec

        def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
            if codec is None:
                return dict(values)
            return {key: {RECORD: codec.encode(value, durable=True)} for key, value in values.items()}

        def decide(known: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            if known.status in ("running", "waiting") and self._alive(known):
                raise RunActive("This workflow run is still running, cannot time travel")
            body = self.program.plan_travel(known, target, context or {}, input is not ...)
            given = dict(context or {})
            if input is not ...:
                given[body.pop("predecessor")] = input
            else:
                body.pop("predecessor", None)
            body["given"] = encoded(given)
            if state is not None:
                body["state"] = encoded(
                    self._checked(None, state)[1] if self.program.input_shape is None else dict(state)
                )
            events: list[tuple[str, str, dict[str, Any]]] = []
            if known.started_at is None:
                events.append(
                    (
                        ev.RUN_START,
                        "",
                        {"status": "running", "workflow": self.program.id, "state": {}, "mode": self.program.mode},
                    )
                )
            events.append((ev.RUN_TRAVEL, "", {"status": "running", "to": target, **body}))
            if resume_data is not ...:
                waiting = [s for s in known.suspended_steps if s.path not in body["dropped"]]
                events += [
                    (ev.STEP_RESUMED, s.path, {"index": len(s.answers), "data": resume_data, "by": "time travel"})
                    for s in waiting[:1]
                ]
            return events

        if not self._store.exists(self.run_id):
            if self.options.store is None:
                _memory.keep(self._recorder.state)
            else:
                self._recorder.emit(ev.RUN_START, {"status": "pending", "workflow": self.program.id, "state": {}, "mode": self.program.mode}, durable=True)  # fmt: skip
        self._claim(decide)
        core = self._new_core(per_step, target)
        start = reveal(self.state.input, codec)
        if "" in self.state.steps:  # the run's own input was replaced
            start = reveal(self.state.steps.pop("").output, codec)
        return await self._drive(core, start)

    async def cancel(self, reason: str = "canceled") -> None:
        """Tell the run to stop. A step that is executing may finish; it can see the signal. Suspended runs end at once.

        Raises `RunActive` if another process executes it, and `RunNotActive` if it has ended.
        """
        if self._core is not None:
            await self._core.fire("run.cancel", "", reason)
            self._recorder.emit(ev.RUN_CANCEL, {"status": "canceled", "reason": reason}, durable=True)
            self._core.signal.set(reason)
            return

        def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            if state.status in _ENDED:
                raise RunNotActive(f"run '{self.run_id}' has ended: it is {state.status}.")
            if state.status in ("running", "waiting") and self._alive(state):
                raise RunActive(f"run '{self.run_id}' is executed by {state.owner}; cancel it there.")
            return [
                (ev.RUN_CANCEL, "", {"status": "canceled", "reason": reason}),
                (ev.RUN_FINISH, "", {"status": "canceled"}),
            ]

        self._claim(decide)

    async def rollback(self, to: str) -> dict[str, Any]:
        """Set the state of an ended or suspended run to what it was when step `to` ended. Returns that state."""
        codec = self.options.codec
        self._refresh()
        at = self.state.steps.get(to)
        if self._core is not None or at is None or not at.done_seq:
            raise WorkflowError(
                f"run '{self.run_id}' cannot be rolled back to step '{to}': it has no such finished step."
            )
        values = reveal_fields(self.state.initial, codec)
        for step in sorted(self.state.steps.values(), key=lambda step: step.done_seq):
            if step.changes and step.done_seq <= at.done_seq and "." not in step.path and "[" not in step.path:
                values.update(reveal_fields(step.changes, codec))

        from wfkernel.engine.values import RECORD

        stored = values if codec is None else {k: {RECORD: codec.encode(v, durable=True)} for k, v in values.items()}
        self._claim(lambda state: [(ev.RUN_ROLLBACK, "", {"to": to, "state": stored})])
        return values

    # -- streams --------------------------------------------------------------------------------------------------------

    def stream(
        self, input: Any = None, *, state: Any = None, per_step: bool = False, buffer: int = BUFFER,
        overflow: Overflow = "block",
    ) -> Stream:  # fmt: skip
        """Start the run and iterate over its events as they happen; `await stream.result` for what came of it.

        A second call while the first stream is open returns the same stream. See `wfkernel.engine.stream` for `overflow`.
        """
        return self._streaming(lambda: self.start(input, state=state, per_step=per_step), buffer, overflow)

    def resume_stream(
        self, data: Any = None, *, step: Any = None, label: str | None = None, index: int | None = None,
        buffer: int = BUFFER, overflow: Overflow = "block",
    ) -> Stream:  # fmt: skip
        """`resume`, as a stream of what happens from there."""
        return self._streaming(lambda: self.resume(data, step=step, label=label, index=index), buffer, overflow)

    def time_travel_stream(
        self, step: Any, *, buffer: int = BUFFER, overflow: Overflow = "block", **options: Any
    ) -> Stream:
        """`time_travel`, as a stream of what happens from there."""
        return self._streaming(lambda: self.time_travel(step, **options), buffer, overflow)

    def _streaming(self, begin: Callable[[], Any], buffer: int, overflow: Overflow) -> Stream:
        if self._stream is not None and not self._stream.done:
            return self._stream
        listener = self._recorder.hub.listen(buffer, overflow, replay=False)
        self._stream = Stream(listener, asyncio.ensure_future(begin()), self._recorder.hub.leave)
        return self._stream

    async def observe(self, *, buffer: int = BUFFER, overflow: Overflow = "block") -> AsyncIterator[Event]:
        """The events of a run somebody started: those remembered, then each as it happens, until it stops."""
        listener = self._recorder.hub.listen(buffer, overflow)
        if self._core is None:  # nothing more will come
            self._recorder.hub.leave(listener)
            listener.close()
        async for event in listener:
            yield event

    # -- how it runs --------------------------------------------------------------------------------------------------

    @property
    def _session_id(self) -> str:
        return self.session.id if self.session is not None else self.state.session

    def _alive(self, state: RunState | None = None) -> bool:
        if (id(self.options.store), self.run_id) in _live:
            return True
        owner = (state or self.state).owner
        mine = owner == self._store.owner
        return bool(owner) and not mine and self._store.is_alive(owner)

    def _refresh(self) -> None:
        """Read the run again: another process may have changed it."""
        if self._core is None and self._store.exists(self.run_id):
            self._recorder.state = self._store.load(self.run_id)

    def _claim(self, decide: Callable[[RunState], list[tuple[str, str, dict[str, Any]]]]) -> None:
        added: list[tuple[str, str, dict[str, Any]]] = []

        def noted(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            added[:] = decide(state)
            return added

        state = self._store.claim(self.run_id, noted)
        now, first = self.options.clock.now(), state.seq - len(added) + 1
        events = [Event(self.run_id, first + n, now, t, path, 0, body) for n, (t, path, body) in enumerate(added)]
        self._recorder.adopt(state, events)

    def _new_core(self, per_step: bool, target: str | None = None) -> Core:
        options = self.options
        return Core(
            self._recorder, CancelSignal(), options.clock, options.hooks, options.limits, options.conflict, self.session,
            validate=options.validate, per_step=per_step, park=options.park, target=target,
        )  # fmt: skip

    async def _drive(self, core: Core, value: Any) -> RunResult:
        """Execute the program to wherever it gets, write down where that is, and tell the callbacks."""
        recorder = self._recorder
        self._core = core
        _live[id(self.options.store), self.run_id] = self
        scope = StateScope(None, reveal_fields(core.state.initial, self.options.codec))
        exception: BaseException | None = None
        try:
            with signalled_by(core.signal):
                output = await self._within_time(core, value, scope)
            core.check()
            return await self._end(core, "success", output, scope)
        except Bailed as bailed:
            return await self._end(core, "canceled" if core.signal.is_set() else "success", bailed.value, scope)
        except Suspended as suspended:
            paths = suspended.paths
            recorder.emit(ev.RUN_SUSPENDED, {"status": "suspended", "paths": suspended_paths(core.state)}, durable=True)
            await core.fire("run.suspend", "", paths, scope=scope)
            return await self._stop(core, scope, None)
        except Parked as parked:
            recorder.emit(
                ev.RUN_WAITING, {"status": "waiting", "wake_at": parked.wake_at, "parked": True}, durable=True
            )
            return await self._stop(core, scope, None)
        except Paused:
            recorder.emit(ev.RUN_PAUSED, {"status": "paused"}, durable=True)
            return await self._stop(core, scope, None, callbacks=False)
        except Canceled:
            return await self._end(core, "canceled", None, scope)
        except StepFailed as failed:
            exception = failed.exception
            if core.signal.is_set():
                return await self._end(core, "canceled", None, scope)
            return await self._fail(core, failed, scope)
        except asyncio.CancelledError:
            # Whoever awaited the run was canceled: it stays as it is and can be restarted.
            core.signal.set("its task was canceled")
            recorder.hub.close()
            raise
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            exception = error
            return await self._fail(core, StepFailed("", error_of(error), exception), scope)
        finally:
            self._core = None
            _live.pop((id(self.options.store), self.run_id), None)
            if self.options.store is None:
                _memory.keep(recorder.state)

    async def _within_time(self, core: Core, value: Any, scope: StateScope) -> Any:
        limit = core.limits.seconds
        if limit is None:
            return await self.program.execute(core, value, scope)
        left = limit - (core.clock.now() - (core.state.started_at or core.clock.now()))
        deadline = asyncio.timeout(max(left, 0))
        try:
            async with deadline:
                return await self.program.execute(core, value, scope)
        except TimeoutError:
            if not deadline.expired():
                raise
            error = RunTimeout(f"run '{self.run_id}' took longer than its limit of {limit:g} s.")
            raise StepFailed("", error_of(error), error) from None

    async def _fail(self, core: Core, failed: StepFailed, scope: StateScope) -> RunResult:
        verdict, _ = await core.fire("run.error", failed.path, failed.error, scope=scope)
        if isinstance(verdict, Replace):
            return await self._end(core, "success", verdict.value, scope)
        await compensate(core, failed.error)
        status = "tripwire" if "tripwire" in failed.error else "failed"
        error = failed.error if "step" in failed.error or not failed.path else {**failed.error, "step": failed.path}
        return await self._end(core, status, None, scope, error, failed.exception)

    async def _end(
        self, core: Core, status: str, output: Any, scope: StateScope | None, error: dict[str, Any] | None = None,
        exception: BaseException | None = None,
    ) -> RunResult:  # fmt: skip
        payload: dict[str, Any] = {"status": status}
        if status == "success":
            _, output = await core.fire("run.finish", "", output, scope=scope)
            payload["result"] = output
        elif status == "canceled":
            if core.state.status != "canceled":
                body = {"status": "canceled", "reason": core.signal.reason}
                self._recorder.emit(ev.RUN_CANCEL, body)
        else:
            payload["error"] = error
        self._recorder.emit(ev.RUN_FINISH, payload, durable=True)
        return await self._stop(core, scope, exception)

    async def _stop(
        self, core: Core, scope: StateScope | None, exception: BaseException | None, *, callbacks: bool = True
    ) -> RunResult:
        values = scope.snapshot() if scope is not None else {}
        result = make_result(core.state, self.options.codec, values, exception)
        if self.session is not None:
            self.session.note_run(self.run_id, self.program.id, result.status)
        if callbacks and (self.options.on_finish is not None or self.options.on_error is not None):
            info = self._info(result)
            await self._tell(self.options.on_finish, info)
            if result.status in ("failed", "tripwire"):
                await self._tell(self.options.on_error, info)
        self._recorder.hub.close()
        return result

    async def _tell(self, callback: Callback | None, info: RunInfo) -> None:
        if callback is not None:
            try:
                await _called(callback, info)
            except Exception:
                _log.exception("a callback of run %s failed", self.run_id)

    def _info(self, result: RunResult) -> RunInfo:
        state = self.state
        order = [path for path, step in state.steps.items() if step.started_at and "." not in path and "[" not in path]
        return RunInfo(
            self.run_id, self.program.id, self._session_id, state.resource, result.input, result.state, result.status,
            result.result, result.error or (state.error if result.status == "tripwire" else None), result.steps,
            result.tripwire, order,
        )  # fmt: skip

    def _result(self, exception: BaseException | None) -> RunResult:
        codec = self.options.codec
        return make_result(self.state, codec, run_state_values(self.state, codec), exception)


def _check(shape: Shape | None, value: Any, what: str) -> Any:
    if shape is None:
        return value
    try:
        return shape.check(value)
    except Misfit as misfit:
        raise InputInvalid(what, misfit.problems) from None


async def _called(callback: Callback, info: RunInfo) -> None:
    found = callback(info)
    if inspect.isawaitable(found):
        await found
