"""Durable functions: a workflow written as a plain coroutine.

    @workflow
    async def onboard(ctx, user: User) -> Report:
        account = await ctx.step(create_account, user)
        await ctx.sleep("1d")
        if (await ctx.suspend(Approval, "Send the welcome mail?")).approve:
            await ctx.gather(*(ctx.step(send, to) for to in account.addresses))
        return Report(...)

On resume or restart the function runs again from its top, and every `ctx.` call that is recorded returns what it returned
before instead of doing it again. A call is found by the step's name and its inputs, in the order of the calls; a step's
second call has the path ``name#2``. So the function may be edited while runs are under way: what is found is used, what is
new is executed. A difference that matters (a step's code changed, its inputs, the order, a call that is gone) is a
*drift*: it is written as a `run.drift` event naming the step, and the policy says what happens:

- ``continue`` (default): recorded results count, the new code goes on from there;
- ``rerun``: the first changed step and all calls after it are executed again;
- ``pin``: the run keeps to the code it was started with, which was stored with it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, get_type_hints, overload

from wfkernel.engine import events as ev
from wfkernel.engine.attempt import UNKNOWN, error_of, execute, known_result
from wfkernel.engine.checkpointing import CheckpointPolicy
from wfkernel.engine.clock import SYSTEM_CLOCK, Clock
from wfkernel.engine.core import Core, Frame
from wfkernel.engine.drift import DriftPolicy, checked_policy
from wfkernel.engine.failures import Halt, StepFailed, Suspended, TimeTravelRefused, error_line
from wfkernel.engine.hooks import Hooks
from wfkernel.engine.interpreter import run_nested
from wfkernel.engine.limits import Limits
from wfkernel.engine.loop import run_sync
from wfkernel.engine.memory import RunStore
from wfkernel.engine.migration import StateMigration
from wfkernel.engine.options import Callback, Options
from wfkernel.engine.recorder import Durability
from wfkernel.engine.result import RunResult
from wfkernel.engine.run import Run, get_run
from wfkernel.engine.scope import StateScope
from wfkernel.engine.sessions import Session
from wfkernel.engine.sleeping import sleep_until
from wfkernel.engine.state import RunState, StepState
from wfkernel.engine.step_run import ConditionContext
from wfkernel.engine.together import SEVERITY
from wfkernel.engine.travel import forgetting
from wfkernel.engine.values import Codec, reveal
from wfkernel.errors import DefinitionError, WorkflowError
from wfkernel.plan import nodes
from wfkernel.plan.builder import Definition
from wfkernel.plan.duration import Duration, seconds, timestamp
from wfkernel.plan.shape import Shape
from wfkernel.plan.step import StepSpec, checked_id, code_differs, code_digest, spec_of

__all__ = ["DurableContext", "DurableFunction", "StepError", "workflow"]


class StepError(WorkflowError):
    """A step failed in an earlier life of the run, with an exception that could not be kept. `error` is its JSON form."""

    def __init__(self, path: str, error: dict[str, Any]) -> None:
        self.path, self.error = path, error
        super().__init__(path, error)

    def __str__(self) -> str:
        return f"step '{self.path}' failed: {error_line(self.error)}"


class DurableContext(ConditionContext):
    """What a durable function calls. Every call is recorded; what is recorded is not done twice."""

    def __init__(
        self, core: Core, function: DurableFunction, scope: StateScope, frame: Frame, policy: DriftPolicy
    ) -> None:
        super().__init__(core, scope, frame, frame.init)
        self._function, self._policy = function, policy
        self._numbers: dict[str, int] = {}
        recorded = [s for s in core.state.steps.values() if _belongs(s.path, frame.prefix) and s.started_at is not None]
        self._recorded: dict[str, StepState] = {s.path: s for s in recorded}
        """What an earlier life of the run did and this one has not asked for yet, in the order of the first calls."""
        self._anew = False
        """From the changed step on, with the policy ``rerun``."""

    # -- what a function calls ------------------------------------------------------------------------------------------

    def step(self, step: Any, /, *args: Any, step_name: str | None = None, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Run a step (a function or a workflow) with these arguments, or return what it returned before.

        The call's place in the order is taken when this is called, not when it is awaited. A failed step raises its
        exception, in every life of the run.
        """
        plan = getattr(step, "__wf_plan__", step)
        if isinstance(plan, Definition):
            value = args[0] if args else None
            return self._nested(plan, *self._place(step_name or plan.id, value, ""), value)
        spec = spec_of(step)
        if step_name is not None:
            spec = spec.renamed(step_name)
        value = _value_for(spec, args, kwargs)
        return self._step(spec, *self._place(spec.id, value, spec.digest()), value)

    def sleep(self, duration: Duration, *, name: str = "sleep") -> Coroutine[Any, Any, None]:
        """Sleep. A process that dies meanwhile leaves only the rest of it to the next."""
        amount = seconds(duration)
        return self._sleep(*self._place(name, None, ""), lambda: self.core.clock.now() + amount)

    def sleep_until(self, moment: datetime | float | str, *, name: str = "sleep") -> Coroutine[Any, Any, None]:
        """Sleep until a point in time."""
        at = timestamp(moment)
        return self._sleep(*self._place(name, None, ""), lambda: at)

    def suspend(
        self, model: Any = None, message: str = "", *, payload: Any = None, label: Any = (), name: str = "suspend"
    ) -> Coroutine[Any, Any, Any]:
        """Suspend the run until it is answered; returns the answer, as `model` if one is given."""

        def ask(ctx: Any) -> Any:
            return ctx.suspend(model, message, payload=payload, label=label)

        spec = StepSpec(
            checked_id(name), ask, worker="inline", takes_context=True, repeatable=True
        )  # the answer is on disk
        return self._step(spec, *self._place(name, None, ""), None)

    async def gather(self, *work: Awaitable[Any]) -> list[Any]:
        """The results of several calls made at the same time. All of them end before this returns or raises."""
        with self.core.recorder.side_by_side(len(work) - 1):
            outcomes = await asyncio.gather(*work, return_exceptions=True)
        halts = [outcome for outcome in outcomes if isinstance(outcome, Halt)]
        for kind in SEVERITY:
            same = [halt for halt in halts if isinstance(halt, kind)]
            if same and kind is Suspended:
                raise Suspended([path for halt in same for path in halt.paths])  # type: ignore[attr-defined]
            if same:
                raise same[0]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return list(outcomes)

    # -- how ------------------------------------------------------------------------------------------------------------

    def _place(self, name: str, value: Any, digest: str) -> tuple[str, bool]:
        """The path of this call, and whether a recorded result may be used."""
        prefix = self._frame.prefix
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        own = f"{prefix}{name}" if number == 1 else f"{prefix}{name}#{number}"
        if not self._recorded or self._anew:
            return own, not self._anew
        same_name = [
            path for path in self._recorded if path == f"{prefix}{name}" or path.startswith(f"{prefix}{name}#")
        ]
        found = next((path for path in same_name if self._fits(self._recorded[path], value)), None)
        if found is None:
            if same_name:
                self._drift(same_name[0], "inputs")
            elif any(step.status == "success" for step in self._recorded.values()):
                self._drift(own, "new")
            if self._anew:
                return own, False
            while own in self._recorded:  # a record of that path is about other inputs: keep it
                number = self._numbers[name] = number + 1
                own = f"{prefix}{name}#{number}"
            return own, False
        first = next(iter(self._recorded))
        if found != first and self._recorded[found].done_seq > self._recorded[first].done_seq > 0:
            self._drift(found, "order")
        known = self._recorded.pop(found)
        if digest and known.digest and code_differs(known.digest, digest):
            self._drift(found, "code")
        if self._anew:
            return own, False
        self._numbers[name] = max(number, _number_of(found))
        return found, True

    def _fits(self, known: StepState, value: Any) -> bool:
        codec = self.core.recorder.codec
        recorded = reveal(known.called_with, codec)
        if recorded is value:
            return True
        try:
            if recorded == value:
                return True
        except (TypeError, ValueError):  # arrays and frames: `==` has no single truth
            if codec is None:
                return True
        # An instance of a class of the notebook that comes from the store has a class of its own: its content decides.
        return codec is not None and _content(recorded, codec) == _content(value, codec)

    def _drift(self, path: str, what: str) -> None:
        body: dict[str, Any] = {"changes": [{"step": path, "what": what}], "policy": self._policy}
        if self._policy == "rerun":  # nothing recorded counts any more, answers included
            self._anew = True
            body["dropped"] = list(dict.fromkeys([path, *self._recorded]))
        self.core.recorder.emit(ev.RUN_DRIFT, body, durable=True)

    def leave(self) -> None:
        """The function has ended: what it recorded once and no longer calls is drift as well."""
        for path, step in self._recorded.items():
            if step.status in ("success", "suspended") and not self._anew:
                self._drift(path, "gone")

    async def _step(self, spec: StepSpec, path: str, known: bool, value: Any) -> Any:
        core = self.core
        if known:
            self._raise_again(path)
            result = known_result(core, path, 0, self._scope)
            if result is not UNKNOWN:
                if spec.compensate is not None:
                    core.functions[path] = spec
                return result
        try:
            return await execute(core, spec, path, value, self._scope, self._frame)
        except StepFailed as failed:
            if failed.exception is None:
                raise
            raise failed.exception from None

    async def _nested(self, plan: Definition, path: str, known: bool, value: Any) -> Any:
        if known:
            self._raise_again(path)
        try:
            return await run_nested(self.core, self._frame, nodes.Nested(plan.id, plan), path, value, self._scope)
        except StepFailed as failed:
            raise failed.exception if failed.exception is not None else StepError(path, failed.error) from None

    def _raise_again(self, path: str) -> None:
        """Raise what the call raised in an earlier life of the run, if it failed there."""
        recorded = self.core.state.steps.get(path)
        if recorded is not None and recorded.status == "failed" and recorded.error is not None:
            kept = reveal(recorded.output, self.core.recorder.codec)
            raise kept if isinstance(kept, Exception) else StepError(path, recorded.error)

    async def _sleep(self, path: str, known: bool, moment: Callable[[], float]) -> None:
        step = self.core.state.steps.get(path)
        if known and step is not None and step.status == "success":
            return
        at = step.wake_at if step is not None and step.wake_at is not None else moment()
        await sleep_until(self.core, path, None, at, self._scope)


class DurableFunction:
    """A coroutine function as a workflow. Made by `@workflow`."""

    mode = "function"
    template = ""

    def __init__(
        self, function: Callable[..., Any], id: str, options: Options, on_drift: DriftPolicy, state: Any
    ) -> None:
        self.id = checked_id(id)
        self.function, self.options, self.on_drift = function, options, on_drift
        parameters = list(inspect.signature(function).parameters.values())
        if not inspect.iscoroutinefunction(function) or not parameters:
            raise DefinitionError(
                f"@workflow goes on an `async def {id}(ctx, ...)`: it needs ctx as its first parameter."
            )
        if len(parameters) > 2:
            raise DefinitionError(
                f"workflow '{id}' takes ctx and one input; put several values into a model or a dict."
            )
        self._parameter = parameters[1] if len(parameters) == 2 else None
        hints = get_type_hints(function) if self._parameter is not None else {}
        self.input_shape = Shape(hints.get(self._parameter.name, Any)) if self._parameter is not None else None
        self.state_shape = Shape(state) if state is not None else None
        self.__wf_plan__ = plan = Definition(self.id)
        """What it is as a step of another workflow."""
        plan.program, plan.committed, plan.input_shape = self, True, self.input_shape
        self._inside = Definition(self.id)
        """The workflow its steps belong to."""
        self.source = ""
        """What it was loaded from."""
        self.__doc__ = function.__doc__
        self.description = inspect.getdoc(function) or ""
        self.__name__ = function.__name__

    def __repr__(self) -> str:
        return f"<DurableFunction {self.id}>"

    def create_run(
        self, run_id: str | None = None, *, session: Session | None = None, resource: str = "",
        on_drift: DriftPolicy | None = None, durability: Durability | None = None,
        checkpoints: CheckpointPolicy | str | None = None,
    ) -> Run:  # fmt: skip
        """A run of this function. With the id of a stored run it is that run.

        `on_drift`, `durability` and `checkpoints` are for this run what they are for the function.
        """
        program = self
        if on_drift is not None and on_drift != self.on_drift:
            program = DurableFunction(self.function, self.id, self.options, on_drift, None)
            program.state_shape, program.source = self.state_shape, self.source
        return get_run(program, self.options, run_id, session, resource, durability, checkpoints)

    def run(
        self, input: Any = None, *, session: Session | None = None, durability: Durability | None = None,
        checkpoints: CheckpointPolicy | str | None = None, **options: Any,
    ) -> RunResult:  # fmt: skip
        """Run it and wait for the result: the form for scripts and cells."""
        run = self.create_run(session=session, durability=durability, checkpoints=checkpoints)
        return run_sync(run.start(input, **options))

    # -- what a `Run` asks of it --------------------------------------------------------------------------------------

    def check_runnable(self) -> None:
        """A function always is."""

    def definition_digest(self) -> str:
        """Changes when the function's code changes."""
        return code_digest(self.function)

    def kept(self) -> dict[str, Any]:
        """Where the function came from, and the function itself when runs are to keep to it."""
        pinned = {"function": self.function} if self.on_drift == "pin" and self.options.store is not None else {}
        return {**pinned, "source": self.source} if self.source else pinned

    async def execute(self, core: Core, value: Any, scope: StateScope) -> Any:
        """Run the function: the pinned one, if the run keeps to it."""
        state = core.state
        core.on_drift = self.on_drift
        if (
            self.on_drift == "pin"
            and state.function is not None
            and code_differs(state.definition, self.definition_digest())
        ):
            await core.recorder.record(ev.RUN_DRIFT, {"changes": [{"step": "", "what": "code"}], "policy": "pin"})
            pinned = DurableFunction(reveal(state.function, self.options.codec), self.id, self.options, "pin", None)
            return await pinned._call(core, "", value, scope)
        return await self._call(core, "", value, scope)

    async def nested(self, core: Core, path: str, value: Any, scope: StateScope) -> Any:
        """Run the function as the step at `path`. Raises `StepFailed` for what it raises."""
        try:
            return await self._call(core, f"{path}.", value, scope)
        except Exception as error:
            raise StepFailed(path, error_of(error), error) from None

    async def _call(self, core: Core, prefix: str, value: Any, scope: StateScope) -> Any:
        """Call the function with a context of its own; how it takes drift is for the run to say, where that is a function."""
        policy: DriftPolicy = core.on_drift or self.on_drift  # type: ignore[assignment]
        core.keeps_exceptions = True
        context = DurableContext(core, self, scope, Frame(self._inside, prefix, value), policy)
        arguments = () if self._parameter is None else (value,)
        if value is None and self._parameter is not None and self._parameter.default is not self._parameter.empty:
            arguments = ()
        output = await self.function(context, *arguments)
        context.leave()
        return output

    def spec_at(self, path: str) -> StepSpec | None:
        """The steps of a function are known only while it runs."""
        return None

    def plan_travel(self, state: RunState, target: str, given: Mapping[str, Any], has_input: bool) -> dict[str, Any]:
        """Forget the target and everything that was called after it. Raises `TimeTravelRefused`."""
        forgotten = forgetting(state, target)
        if has_input:
            raise TimeTravelRefused("A durable function gives its steps their input itself: travel without input=.")
        return forgotten


@overload
def workflow(function: Callable[..., Any], /) -> DurableFunction: ...


@overload
def workflow(
    *,
    id: str | None = None,
    on_drift: DriftPolicy = "continue",
    state: Any = None,
    store: RunStore | None = None,
    codec: Codec | None = None,
    durability: Durability | None = None,
    checkpoints: CheckpointPolicy | str | None = None,
    migrations: Sequence[StateMigration] = (),
    hooks: Hooks | None = None,
    limits: Limits | None = None,
    validate: bool = True,
    park: Duration | None = None,
    clock: Clock = SYSTEM_CLOCK,
    on_start: Callback | None = None,
    on_finish: Callback | None = None,
    on_error: Callback | None = None,
    rollback_to: str = "",
) -> Callable[[Callable[..., Any]], DurableFunction]: ...


def workflow(function: Any = None, /, **options: Any) -> Any:
    """Make an ``async def f(ctx, input)`` a workflow: ``@workflow`` or ``@workflow(store=..., on_drift="rerun")``.

    The options are those of `Workflow`; `on_drift` is ``continue``, ``rerun`` or ``pin``, see this module.
    """
    if function is None:
        return lambda decorated: _durable(decorated, options)
    return _durable(function, options)


def _durable(function: Callable[..., Any], options: dict[str, Any]) -> DurableFunction:
    id_ = options.pop("id", None) or function.__name__
    on_drift, state = options.pop("on_drift", "continue"), options.pop("state", None)
    checked_policy(id_, on_drift)
    if options.get("park") is not None:
        options["park"] = seconds(options["park"])
    options = {name: value for name, value in options.items() if value is not None}
    try:
        made = Options(**options)
    except TypeError as error:
        raise DefinitionError(f"workflow '{id_}': {str(error).partition(' ')[2]}") from None
    return DurableFunction(function, id_, made, on_drift, state)


def _belongs(path: str, prefix: str) -> bool:
    """Whether `path` is directly inside `prefix`."""
    return path.startswith(prefix) and "." not in path[len(prefix) :] and "[" not in path[len(prefix) :]


def _content(value: Any, codec: Codec) -> Any:
    """What tells apart values of different content: what the codec says it is, else all of its record."""
    record = codec.encode(value, durable=False)
    return record.get("digest", record)


def _number_of(path: str) -> int:
    _, mark, number = path.rpartition("#")
    return int(number) if mark else 1


def _value_for(spec: StepSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Arguments of a call as the one value a step takes."""
    names = [p.name for p in spec.parameters]
    if len(args) > len(names) or any(name not in names for name in kwargs):
        raise DefinitionError(
            f"step '{spec.id}' takes {', '.join(names) or 'nothing'}, not {len(args) + len(kwargs)} arguments."
        )
    if len(names) <= 1:
        return args[0] if args else next(iter(kwargs.values()), None)
    return {**dict(zip(names, args, strict=False)), **kwargs}
