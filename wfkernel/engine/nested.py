"""What a workflow brings along when it runs inside another: its hooks, its limits, its lifecycle callbacks.

Its hooks of the points of a run (`run.start`, `run.finish`, `run.error`, `run.suspend`) are called for the nested workflow;
of all other points both the hooks around it and its own are called, in this order. Whether inputs are validated, the store
and the clock are the run's.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from wfkernel.engine.attempt import UNKNOWN, error_of
from wfkernel.engine.core import Core
from wfkernel.engine.execution import called, tell
from wfkernel.engine.failures import StepFailed
from wfkernel.engine.hooks import Replace
from wfkernel.engine.result import RunInfo, step_result
from wfkernel.engine.values import reveal

if TYPE_CHECKING:
    from wfkernel.engine.options import Options
    from wfkernel.engine.scope import StateScope

__all__ = ["Nesting"]


class Nesting:
    """One execution of the workflow `program` as the step at `path`."""

    def __init__(self, core: Core, program: Any, path: str, scope: StateScope) -> None:
        self._outer, self._path, self._scope, self._id = core, path, scope, program.id
        self._options: Options | None = getattr(program, "options", None)
        options = self._options
        self.core = core if options is None else core.inside(options.hooks, options.limits, options.conflict)

    async def begin(self, value: Any, *, first: bool) -> Any:
        """Its input was checked and it is about to begin; returns the input, maybe modified. Raises `StepFailed`."""
        if not first or self._options is None:
            return value
        value = await self._fire("run.start", value)
        if self._options.on_start is not None:
            try:
                await called(self._options.on_start, self._info("", value))
            except Exception as error:
                raise StepFailed(self._path, error_of(error), error) from None
        return value

    async def over(self, work: Awaitable[Any]) -> Any:
        """Await its work, within its limits."""
        if self._options is None:
            return await work
        began = self.core.state.step(self._path).started_at or self.core.clock.now()
        return await self.core.limited(work, self._options.limits, began, f"workflow '{self._id}'", self._path)

    async def finished(self, output: Any) -> Any:
        """It ended well; returns the output, maybe modified."""
        output = await self._fire("run.finish", output)
        await self._tell("success", result=output)
        return output

    async def failed(self, failed: StepFailed) -> Any:
        """It failed. Returns what a hook puts in the place of its output, else `UNKNOWN`."""
        if self._options is not None and self._options.hooks is not None:
            verdict, _ = await self.core.fire(
                "run.error", self._path, failed.error, scope=self._scope, only=self._options.hooks
            )
            if isinstance(verdict, Replace):
                await self._tell("success", result=verdict.value)
                return verdict.value
        await self._tell("tripwire" if "tripwire" in failed.error else "failed", error=failed.error)
        return UNKNOWN

    async def stopped(self, status: str) -> None:
        """It is suspended or canceled."""
        if status == "suspended":
            await self._fire("run.suspend", None)
        await self._tell(status)

    async def _fire(self, point: str, value: Any) -> Any:
        if self._options is None or self._options.hooks is None:
            return value
        _, value = await self.core.fire(point, self._path, value, scope=self._scope, only=self._options.hooks)
        return value

    async def _tell(self, status: str, result: Any = None, error: dict[str, Any] | None = None) -> None:
        options = self._options
        if options is None or (options.on_finish is None and options.on_error is None):
            return
        info = self._info(status, reveal(self.core.state.step(self._path).input, self.core.recorder.codec))
        info.result, info.error = result, error
        info.tripwire = (error or {}).get("tripwire")
        await tell(options, info)

    def _info(self, status: str, value: Any) -> RunInfo:
        state, codec, prefix = self.core.state, self.core.recorder.codec, f"{self._path}."
        inside = {path[len(prefix) :]: step for path, step in state.steps.items() if path.startswith(prefix)}
        steps = {name: step_result(name, step, codec) for name, step in inside.items()} if status else {}
        return RunInfo(
            state.run_id, self._id, state.session, state.resource, value, self._scope.snapshot(), status, steps=steps,
            execution_path=[name for name in steps if "." not in name and "[" not in name],
        )  # fmt: skip
