"""A run: starting it, and everything that can be done to it from outside.

    run = workflow.create_run()
    result = await run.start({"rows": 3})
    if result.status == "suspended":
        result = await run.resume({"approve": True})

Every method also has a blocking form, for scripts: ``run.sync.start(...)``. A run belongs to one process at a time;
`resume`, `restart`, `retry`, `cancel`, `time_travel` first claim it, which is one atomic act between all processes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.actor import actor
from wfkernel.engine.answers import answer_event
from wfkernel.engine.blocking import SyncRun
from wfkernel.engine.checkpointing import CheckpointPolicy, CheckpointStore, Follower, checkpoint_policy
from wfkernel.engine.checks import checked_answer, checked_start, checked_state
from wfkernel.engine.commands import Command, cancel, end_idle, handler_of, is_reachable
from wfkernel.engine.core import Core
from wfkernel.engine.events import Event
from wfkernel.engine.execution import Execution, called
from wfkernel.engine.failures import Canceled, HookCanceled, RunActive, RunNotActive
from wfkernel.engine.following import Following
from wfkernel.engine.hooks import Cancel
from wfkernel.engine.memory import MemoryStore, RunStore
from wfkernel.engine.options import Options, Program
from wfkernel.engine.recorder import Durability, Recorder
from wfkernel.engine.remember import context_flag, doc_once, template_once
from wfkernel.engine.result import RunInfo, RunResult, make_result, run_state_values
from wfkernel.engine.resume import choose_targets, path_of
from wfkernel.engine.sessions import Session
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.state import RunState
from wfkernel.engine.state_model import bring_up, kept_model
from wfkernel.engine.stream import BUFFER, Overflow
from wfkernel.engine.streaming import Stream
from wfkernel.engine.travel import Change, Given, encoded, retry_events, state_after, travel_events
from wfkernel.engine.values import reveal
from wfkernel.errors import (
    DefinitionError,
    ResumeAlreadyClaimed,
    RunExists,
    RunNotFound,
    RunNotSuspended,
    WorkflowError,
)

__all__ = ["Run", "executing", "get_run"]

_log = logging.getLogger("wfkernel")
_memory: Final = MemoryStore()
_ENDED: Final = ("success", "failed", "tripwire", "canceled")

_live: dict[tuple[int, str], Run] = {}
"""The runs this process is executing, by store and id."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_live.clear)  # they are the parent's


def get_run(
    program: Program, options: Options, run_id: str | None, session: Session | None, resource: str,
    durability: Durability | None = None, checkpoints: CheckpointPolicy | str | None = None,
) -> Run:  # fmt: skip
    """The run of that id: the very object that is executing it, if this process is.

    `durability` and `checkpoints` take the place of what `options` say, also when another process takes the run up.
    """
    live = _live.get((id(options.store), run_id)) if run_id is not None else None
    if live is not None:
        return live
    told: dict[str, Any] = {} if durability is None else {"durability": durability}
    if checkpoints is not None:
        told["checkpoints"] = str(checkpoint_policy(checkpoints))
    return Run(program, options, run_id, session, resource, told)


def executing(run_id: str) -> Run | None:
    """The run of that id, if this process is executing it."""
    return next((run for (_, one), run in _live.items() if one == run_id), None)


class Run:
    """One run of a workflow. Made by `create_run`; the same id gives the same run, in any process."""

    def __init__(
        self, program: Program, options: Options, run_id: str | None, session: Session | None, resource: str,
        told: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.program = program
        self._named = bool(run_id)
        if not run_id:
            import uuid  # loads the module platform: not for a run that exists

            run_id = str(uuid.uuid4())
        self.run_id = run_id
        self.session, self.resource = session, resource
        self._store: RunStore = options.store or _memory
        state = (self._stored() if self._named else None) or RunState(self.run_id)
        stored_so = {"durability": state.durability, "checkpoints": state.checkpoints}
        self._kept_as = {name: said for name, said in stored_so.items() if said} | dict(told)
        self.options = options = replace(options, **self._kept_as) if self._kept_as else options  # type: ignore[arg-type]
        self._recorder = Recorder(state, options.store, options.codec, options.durability, options.clock.now)
        self._core: Core | None = None
        self._stream: Stream | None = None
        self._shared = options.store if is_reachable(options.store) else None
        self._following: Following | None = None
        self._watchers = 0

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
        """Call `callback` with every event of the run from now on, whichever process executes it. Returns what ends it.

        Events from another process come in a thread of their own. The values in them are those this process can read.
        """
        if inspect.iscoroutinefunction(callback):
            raise DefinitionError("watch() takes a plain function; a coroutine iterates over stream() or observe().")

        def guarded(event: Event) -> None:
            try:
                callback(event)
            except Exception:
                _log.exception("a watcher of run %s failed", self.run_id)

        end = self._recorder.hub.watch(guarded)
        self._watchers += 1
        self._follow()

        def unwatch() -> None:
            end()
            self._watchers -= 1
            if not self._watchers:
                self._unfollow()

        return unwatch

    @property
    def sync(self) -> SyncRun:
        """The same methods, blocking."""
        return SyncRun(self)

    # -- running it ---------------------------------------------------------------------------------------------------

    async def start(self, input: Any = None, *, state: Any = None, per_step: bool = False) -> RunResult:
        """Run the workflow from its beginning and return when it ends, suspends or pauses.

        A run that has ended begins anew. Raises `RunActive` and `RunExists` for one that has not, `InputInvalid` before
        anything is started when `input` or `state` do not fit, and what `on_start` raises.
        """
        self.program.check_runnable()
        known = self.state.seq
        if self._named:
            self._refresh()
        self._check_free(self.state, known)
        value, initial = checked_start(self.program, self.options, input, state)
        if self.options.on_start is not None:
            info = RunInfo(self.run_id, self.program.id, self._session_id, self.resource, value, dict(initial))
            await called(self.options.on_start, info)
        core = self._new_core(per_step)
        try:
            _, value = await core.fire("run.start", "", value)
        except Canceled:
            return await self._refused_by_hook(core, value, initial, known)
        await self._emit_start(value, initial, known)
        return await self._drive(core, value)

    def _check_free(self, state: RunState, known: int) -> None:
        """Raise `RunActive` if the run is executed, or was started since this `Run` knew of `known` events of it, and
        `RunExists` if it can be gone on with, or is another workflow's."""
        if self._core is not None or (state.status in ("running", "waiting") and self._alive(state)):
            raise RunActive(f"run '{self.run_id}' is being executed; wait for it, or create another run.")
        if state.seq and not known:
            raise RunActive(
                f"run '{self.run_id}' was started by somebody else first: it is {state.status}. Create another run, or get "
                "this one again to start it once more."
            )
        if state.seq and (state.status not in (*_ENDED, "pending") or state.workflow not in ("", self.program.id)):
            raise RunExists(self.run_id, state.status)

    async def _refused_by_hook(self, core: Core, value: Any, initial: dict[str, Any], known: int) -> RunResult:
        await self._emit_start(value, initial, known)
        try:
            return await Execution(self.program, self.options, core, self._session_id).end("canceled", None, None)
        finally:
            if self.options.store is None:
                _memory.keep(self._recorder.state)

    async def _emit_start(self, value: Any, initial: dict[str, Any], known: int) -> None:
        payload = {
            "status": "running",
            "workflow": self.program.id,
            "mode": self.program.mode,
            "input": value,
            "state": initial,
            "session": self._session_id,
            **({"session_kept": kept} if self.session is not None and (kept := self.session.kept()) else {}),
            "resource": self.resource,
            "definition": self.program.definition_digest() if self.options.store is not None else "",
            "owner": self._store.owner,
            **self.program.kept(),
            **self._kept_as,
            **kept_model(self.program, self.options),
            **({**context_flag(), **self._doc()} if self.options.store is not None else {}),
        }
        if self._named and self.options.store is not None:  # another process may start the run of this id just now

            def decide(state: RunState) -> list[Change]:
                self._check_free(state, known)
                return [(ev.RUN_START, "", self._recorder.stored(ev.RUN_START, payload))]

            self._claim(decide, new=True)
            return
        await self._recorder.record(ev.RUN_START, payload)
        if self.options.store is None:
            _memory.keep(self._recorder.state)

    def _doc(self) -> dict[str, Any]:
        owner, program = self._store.owner, self.program
        return doc_once(owner, program.id, "", program.description) | template_once(owner, program.id, program.template)

    async def resume(
        self, data: Any = None, *, step: Any = None, label: str | None = None, index: int | None = None,
        per_step: bool = False,
    ) -> RunResult:  # fmt: skip
        """Answer a suspended step and run on; or, without an answer, go on with a run that was paused from outside.

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
        if self.status == "paused" and (data, step, label, index) == (None, None, None, None):
            return await self.proceed(per_step=per_step)
        if self._core is not None or self.status != "suspended":
            raise RunNotSuspended(f"This workflow run was not suspended: '{self.run_id}' is {self.status}.")
        targets = choose_targets(self.state, step, label, index)
        if not targets:  # the item has its answer already
            return self.result()
        core = self._new_core(per_step)
        verdict, data = await core.fire("run.resume", targets[0], data)
        if isinstance(verdict, Cancel):
            raise HookCanceled(f"a hook refused the answer: {verdict.reason or 'no reason given'}")
        data = checked_answer(self.program, self.state, targets[0], data)

        def decide(state: RunState) -> list[Change]:
            if state.status != "suspended" or any(state.step(t).status != "suspended" for t in targets):
                raise ResumeAlreadyClaimed(
                    f"run '{self.run_id}' was resumed by somebody else first: it is {state.status}, not suspended."
                )
            answered = [(ev.STEP_RESUMED, t, _answer(state, t, data)) for t in targets]
            return [*answered, (ev.RUN_RESUME, "", {"status": "running", "by": "resume"})]

        self._claim(decide, goes_on=True)
        return await self._drive(self._new_core(per_step), reveal(self.state.input, self.options.codec))

    async def restart(self, *, per_step: bool = False) -> RunResult:
        """Take up a run whose process died. No finished step is executed again; a sleep sleeps only what is left of it.

        For a run that has ended its stored result is returned. Raises `RunNotActive` for one that is suspended, paused,
        pending or canceled, and `RunActive` while its process lives.
        """
        self._refresh()
        if self.status in ("success", "failed", "tripwire"):
            return self.result()

        def decide(state: RunState) -> list[Change]:
            if state.status not in ("running", "waiting"):
                raise RunNotActive(f"This workflow run was not active: '{self.run_id}' is {state.status}.")
            if self._core is not None or self._alive(state):
                raise RunActive(f"run '{self.run_id}' is being executed by {state.owner}.")
            return [
                (ev.RUN_ATTACH, "", {"owner": ""}),
                (ev.RUN_RESTART, "", {"status": "running", "reason": "restart"}),
            ]

        self._claim(decide, goes_on=True)
        return await self._drive(self._new_core(per_step), reveal(self.state.input, self.options.codec))

    async def proceed(self, *, per_step: bool = False) -> RunResult:
        """Go on with a paused run: by one step (`per_step`), or to the end."""

        def decide(state: RunState) -> list[Change]:
            if state.status != "paused":
                raise RunNotActive(f"run '{self.run_id}' is {state.status}, not paused.")
            return [(ev.RUN_CONTINUE, "", {"status": "running"})]

        self._claim(decide, goes_on=True)
        return await self._drive(self._new_core(per_step), reveal(self.state.input, self.options.codec))

    async def retry(self, *, per_step: bool = False) -> RunResult:
        """Try a run again that failed, hit a tripwire or was canceled. What finished is kept, also the finished items of a
        foreach and the answers that were given; what failed is executed again, with the code as it is now.

        Steps that were compensated for are done again. To go back further, `time_travel`. Raises `RunNotActive` for a run
        that did not end that way.
        """
        self.program.check_runnable()

        def decide(state: RunState) -> list[Change]:
            if state.status not in ("failed", "tripwire", "canceled"):
                raise RunNotActive(f"run '{self.run_id}' is {state.status}: there is nothing to try again.")
            return retry_events(self.program, state, self.options.codec)

        self._claim(decide, goes_on=True)
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
        self.program.check_runnable()
        if self._core is not None:
            raise RunActive("This workflow run is still running, cannot time travel")
        options = self.options
        target, codec = path_of(step), options.codec
        initial = None if state is None else checked_state(self.program, options, state)
        given = Given(input, initial, dict(context or {}), resume_data)

        def decide(known: RunState) -> list[Change]:
            if known.status in ("running", "waiting") and self._alive(known):
                raise RunActive("This workflow run is still running, cannot time travel")
            return travel_events(self.program, known, target, given, codec)

        if not self._store.exists(self.run_id):
            begun = {"status": "pending", "workflow": self.program.id, "state": {}, "mode": self.program.mode}
            await self._recorder.record(ev.RUN_START, begun | kept_model(self.program, options))
            if options.store is None:
                _memory.keep(self._recorder.state)
        self._claim(decide, goes_on=True, given=initial is not None)
        core = self._new_core(per_step, target)
        start = reveal(self.state.input, codec)
        if "" in self.state.steps:  # the run's own input was replaced
            start = reveal(self.state.steps.pop("").output, codec)
        return await self._drive(core, start)

    async def cancel(self, reason: str = "canceled") -> None:
        """Tell the run to stop, whichever process executes it. A step that is executing may finish; it can see the
        signal. A run that nobody executes ends at once.

        Raises `RunNotActive` if it has ended, and `StoreError` if the process that executes it does not reply.
        """
        if self._core is not None:
            await self._core.fire("run.cancel", "", reason)
            cancel(self._core, reason, actor())
            return
        if await self._told({"op": "cancel", "reason": reason}):
            return

        self._claim(lambda state: end_idle(state, reason))  # nobody executes it

    async def suspend(self, reason: str = "suspended from outside") -> None:
        """Have the run pause before its next step, whichever process executes it; `proceed` goes on from there.

        Steps that are executing end first; a sleep is left at once and sleeps on later. Raises `RunNotActive` if nobody
        executes the run.
        """
        if self._core is not None:
            self._core.held_by = actor()
            self._core.hold.set(reason)
        elif not await self._told({"op": "suspend", "reason": reason}):
            self._refresh()
            raise RunNotActive(f"run '{self.run_id}' is not being executed: it is {self.status}.")

    async def _told(self, command: Command) -> bool:
        """Give a command to the process that executes the run; False if there is none."""
        if self._shared is None:
            return False
        for pause in (0.1, 0.4, None):
            try:
                reply = await asyncio.to_thread(self._shared.send, self.run_id, command)
                break
            except RunNotActive:
                self._refresh()
                if pause is None or self.status not in ("running", "waiting") or not self._alive():
                    return False
                await asyncio.sleep(pause)  # its process has just begun with it, or left it as it is
        if not reply.get("ok"):
            raise WorkflowError("; ".join(text for _, text in reply.get("problems", [])) or f"refused: {command['op']}")
        return True

    async def rollback(self, to: str) -> dict[str, Any]:
        """Set the state of an ended or suspended run to what it was when step `to` ended. Returns that state.

        `to` is a path: ``step``, or ``nested.step`` for one inside a workflow.
        """
        codec = self.options.codec
        self._refresh()
        at = self.state.steps.get(to)
        if self._core is not None or at is None or not at.done_seq:
            raise WorkflowError(
                f"run '{self.run_id}' cannot be rolled back to step '{to}': it has no such finished step."
            )
        values = state_after(self.state, at, codec)
        stored = encoded(values, codec)
        self._claim(lambda state: [(ev.RUN_ROLLBACK, "", {"to": to, "state": stored})])
        return values

    # -- streams --------------------------------------------------------------------------------------------------------

    def stream(
        self, input: Any = None, *, state: Any = None, per_step: bool = False, buffer: int = BUFFER,
        overflow: Overflow = "block",
    ) -> Stream:  # fmt: skip
        """Start the run and iterate over its events as they happen; `await stream.result` for what came of it.

        A second call while the first stream is open returns the same stream. Of a run that another process executes, the
        stream (without `input`) begins with what has happened so far and goes on until the run stops there. See `wfkernel.engine.stream` for `overflow`.
        """
        if input is None and state is None and self._elsewhere():
            return self._streaming(self._stopped, buffer, overflow, replay=True)
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

    def _streaming(self, begin: Callable[[], Any], buffer: int, overflow: Overflow, *, replay: bool = False) -> Stream:
        if self._stream is not None and not self._stream.done:
            return self._stream
        listener = self._recorder.hub.listen(buffer, overflow, replay=replay)
        self._stream = Stream(listener, asyncio.ensure_future(begin()), self._recorder.hub.leave)
        return self._stream

    async def observe(self, *, buffer: int = BUFFER, overflow: Overflow = "block") -> AsyncIterator[Event]:
        """The events of a run somebody started: those remembered, then each as it happens, until it stops."""
        elsewhere = self._elsewhere()
        listener = self._recorder.hub.listen(buffer, overflow)
        if self._core is None and not elsewhere:  # nothing more will come
            self._recorder.hub.leave(listener)
            listener.close()
        async for event in listener:
            yield event

    # -- executed by another process ------------------------------------------------------------------------------------

    def _elsewhere(self) -> bool:
        """Whether another process executes the run; then its events come from there, those so far included."""
        if self._shared is None or self._core is not None or not self._named:
            return False
        if self._following is not None:
            return self.status in ("pending", "running", "waiting")
        self._refresh()
        if self.status not in ("running", "waiting") or not self._alive():
            return False
        self._recorder.state = RunState(self.run_id)
        self._recorder.hub.history.clear()
        self._follow()
        return True

    def _follow(self) -> None:
        if self._shared is None or self._core is not None or self._following is not None:
            return
        if (self._named or self.state.started_at is not None) and self.status not in _ENDED:
            self._following = Following(self._recorder, self._shared, self.run_id, self._interrupted)

    def _unfollow(self) -> None:
        if self._following is not None:
            self._following.stop()
            self._following = None

    def _interrupted(self) -> bool:
        return self.status in ("running", "waiting") and not self._alive()

    async def _stopped(self) -> RunResult:
        """Wait until the run that another process executes stops there."""
        listener = self._recorder.hub.listen(1, "drop_oldest")
        async for _ in listener:
            pass
        return self.result()

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
        if self._core is None and not self._store.is_current(self.state) and (stored := self._stored()) is not None:
            self._recorder.state = stored

    def _stored(self) -> RunState | None:
        try:
            return self._store.load(self.run_id)
        except RunNotFound:
            return None

    def _claim(
        self, decide: Callable[[RunState], list[Change]], *, new: bool = False, goes_on: bool = False, given: bool = False
    ) -> None:  # fmt: skip
        if goes_on and self.session is None and self.state.session_kept:  # before anything is changed
            self.session = Session.reopened(self.state.session, self.state.session_kept, self.options.codec)
        added: list[Change] = []

        def noted(state: RunState) -> list[Change]:
            changes = decide(state)
            added[:] = [*(bring_up(self.program, self.options, state, given=given) if goes_on else []), *changes]
            return added

        state = self._store.claim(self.run_id, noted, new=new, known=self.state)
        now, first = self.options.clock.now(), state.seq - len(added) + 1
        events = [Event(self.run_id, first + n, now, t, path, 0, body) for n, (t, path, body) in enumerate(added)]
        self._recorder.adopt(state, events)

    def _new_core(self, per_step: bool, target: str | None = None) -> Core:
        options = self.options
        return Core(
            self._recorder, CancelSignal(), options.clock, options.hooks, options.limits, options.conflict, self.session,
            validate=options.validate, per_step=per_step, park=options.park, worker=options.worker, target=target,
        )  # fmt: skip

    async def _drive(self, core: Core, value: Any) -> RunResult:
        self._unfollow()
        self._core = core
        _live[id(self.options.store), self.run_id] = self
        leave = self._shared.listen(self.run_id, handler_of(core)) if self._shared is not None else None
        follower = self._checkpoints()
        unwatch = self._recorder.hub.watch(follower) if follower is not None else None
        try:
            with self._recorder.side_by_side(1):
                return await Execution(self.program, self.options, core, self._session_id).run(value)
        finally:
            self._recorder.leave()
            self._core = None
            if leave is not None:
                leave()
            if follower is not None and unwatch is not None:
                unwatch()
                await asyncio.to_thread(follower.close)
            if self._watchers:
                self._follow()
            _live.pop((id(self.options.store), self.run_id), None)
            if self.options.store is None:
                _memory.keep(self._recorder.state)

    def _checkpoints(self) -> Follower | None:
        """What makes this run's checkpoints while it is executed."""
        policy, store = checkpoint_policy(self.options.checkpoints), self.options.store
        if policy.is_manual or not isinstance(store, CheckpointStore):
            return None
        return store.auto_checkpoint(self.run_id, policy)

    def _result(self, exception: BaseException | None) -> RunResult:
        codec = self.options.codec
        return make_result(self.state, codec, run_state_values(self.state, codec), exception)


def _answer(state: RunState, path: str, data: Any) -> dict[str, Any]:
    step = state.step(path)
    return answer_event(len(step.answers), data, "resume", step.suspension.schema if step.suspension else {})
