"""One life of a run: from its start, or from where it was taken up, to where it ends, suspends, sleeps or pauses."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import error_of
from wfkernel.engine.compensation import compensate
from wfkernel.engine.core import Core
from wfkernel.engine.failures import Bailed, Canceled, Parked, Paused, StepFailed, Suspended
from wfkernel.engine.hooks import Replace
from wfkernel.engine.options import Callback, Options, Program
from wfkernel.engine.result import RunInfo, RunResult, make_result, suspended_paths
from wfkernel.engine.scope import StateScope
from wfkernel.engine.signal import signalled_by
from wfkernel.engine.state import parent_path
from wfkernel.engine.travel import done_after, rollback_seq, state_at
from wfkernel.engine.values import reveal_fields

__all__ = ["Execution", "called", "tell"]

_NOTED: Final = ("type", "message", "kind", "retryable", "hint")
"""What a session remembers of an error."""
_log = logging.getLogger("wfkernel")


class Execution:
    """Executes the program of a run, writes down where it got, and tells the callbacks."""

    def __init__(self, program: Program, options: Options, core: Core, session_id: str) -> None:
        self.program, self.options, self.core, self._session_id = program, options, core, session_id
        self._began = core.clock.now()

    async def run(self, value: Any) -> RunResult:
        """Execute the program to wherever it gets; the result says where that is."""
        core, recorder = self.core, self.core.recorder
        scope = StateScope(None, reveal_fields(core.state.initial, self.options.codec))
        exception: BaseException | None = None
        try:
            with signalled_by(core.signal):
                output = await self._within_limits(value, scope)
            core.check()
            return await self.end("success", output, scope)
        except Bailed as bailed:
            return await self.end("canceled" if core.signal.is_set() else "success", bailed.value, scope)
        except Suspended as suspended:
            paths = suspended.paths
            await recorder.record(ev.RUN_SUSPENDED, {"status": "suspended", "paths": suspended_paths(core.state)})
            await core.fire("run.suspend", "", paths, scope=scope)
            return await self._stop(scope, None)
        except Parked as parked:
            await recorder.record(ev.RUN_WAITING, {"status": "waiting", "wake_at": parked.wake_at, "parked": True})
            return await self._stop(scope, None)
        except Paused:
            await recorder.record(ev.RUN_PAUSED, {"status": "paused", "reason": core.hold.reason, **core.held_by})
            return await self._stop(scope, None, callbacks=False)
        except Canceled:
            return await self.end("canceled", None, scope)
        except StepFailed as failed:
            exception = failed.exception
            if core.signal.is_set():
                return await self.end("canceled", None, scope)
            return await self._fail(failed, scope)
        except asyncio.CancelledError:
            # Whoever awaited the run was canceled: it stays as it is and can be restarted.
            core.signal.set("its task was canceled")
            recorder.hub.close()
            raise
        except BaseException as error:
            if not isinstance(error, Exception | SystemExit):
                raise
            exception = error
            return await self._fail(StepFailed("", error_of(error), exception), scope)

    async def _within_limits(self, value: Any, scope: StateScope) -> Any:
        core = self.core
        began = core.state.started_at or core.clock.now()
        what = f"run '{core.state.run_id}'"
        return await core.limited(self.program.execute(core, value, scope), core.limits, began, what)

    async def _fail(self, failed: StepFailed, scope: StateScope) -> RunResult:
        core = self.core
        verdict, _ = await core.fire("run.error", failed.path, failed.error, scope=scope)
        if isinstance(verdict, Replace):
            return await self.end("success", verdict.value, scope)
        to = self.options.rollback_to
        await compensate(core, failed.error, after=rollback_seq(core.state, to))
        if core.signal.is_set():  # meanwhile
            return await self.end("canceled", None, scope)
        if to:
            scope = StateScope(None, state_at(core.state, to, self.options.codec))
            core.recorder.emit(
                ev.RUN_ROLLBACK, {"to": to, "state": scope.snapshot(), "again": done_after(core.state, to)}
            )
        status = "tripwire" if "tripwire" in failed.error else "failed"
        error = failed.error if "step" in failed.error or not failed.path else {**failed.error, "step": failed.path}
        return await self.end(status, None, scope, error, failed.exception)

    async def end(
        self, status: str, output: Any, scope: StateScope | None, error: dict[str, Any] | None = None,
        exception: BaseException | None = None,
    ) -> RunResult:  # fmt: skip
        """Write down how the run ended."""
        core = self.core
        payload: dict[str, Any] = {"status": status}
        if status == "success":
            _, output = await core.fire("run.finish", "", output, scope=scope)
            payload["result"] = output
        elif status == "canceled":
            if core.state.status != "canceled":
                body = {"status": "canceled", "reason": core.signal.reason}
                core.recorder.emit(ev.RUN_CANCEL, body)
        else:
            payload["error"] = error
        await core.recorder.record(ev.RUN_FINISH, payload)
        return await self._stop(scope, exception)

    async def _stop(
        self, scope: StateScope | None, exception: BaseException | None, *, callbacks: bool = True
    ) -> RunResult:
        values = scope.snapshot() if scope is not None else {}
        core = self.core
        result = make_result(core.state, self.options.codec, values, exception)
        if core.session is not None:
            core.session.note_run(core.state.run_id, self.program.id, result.status, self._errors(result.error))
        if callbacks and (self.options.on_finish is not None or self.options.on_error is not None):
            await tell(self.options, self._info(result))
        core.recorder.hub.close()
        return result

    def _errors(self, error: dict[str, Any] | None) -> list[dict[str, Any]]:
        """What failed for good in this life of the run, in order; last the run itself, where that says something else."""
        steps = [step for step in self.core.state.steps.values() if step.status == "failed" and step.error is not None]
        within = {parent_path(step.path) for step in steps}  # a workflow failed with what failed in it
        late = [step for step in steps if step.path not in within and (step.ended_at or 0.0) >= self._began]
        failed = [
            (step.path, step.ended_at, step.error or {}) for step in sorted(late, key=lambda s: s.ended_at or 0.0)
        ]
        known = {(found["type"], found["message"]) for _, _, found in failed}
        if error is not None and (error["type"], error["message"]) not in known:
            failed.append((error.get("step", ""), self.core.clock.now(), error))
        return [
            {"step": path, **{name: found[name] for name in _NOTED if name in found}, "ts": at}
            for path, at, found in failed
        ]

    def _info(self, result: RunResult) -> RunInfo:
        state = self.core.state
        order = [path for path, step in state.steps.items() if step.started_at and "." not in path and "[" not in path]
        return RunInfo(
            state.run_id, self.program.id, self._session_id, state.resource, result.input, result.state, result.status,
            result.result, result.error or (state.error if result.status == "tripwire" else None), result.steps,
            result.tripwire, order,
        )  # fmt: skip


async def tell(options: Options, info: RunInfo) -> None:
    """Call the callbacks for the end of a run, or of a workflow in it. What they raise is logged."""
    unhappy = info.status in ("failed", "tripwire")
    for callback in (options.on_finish, options.on_error if unhappy else None):
        if callback is not None:
            try:
                await called(callback, info)
            except Exception:
                _log.exception("a callback of run %s failed", info.run_id)


async def called(callback: Callback, info: RunInfo) -> None:
    """Call a lifecycle callback, plain or async."""
    found = callback(info)
    if inspect.isawaitable(found):
        await found
