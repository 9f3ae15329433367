"""Hooks: functions called at every transition of a run, which may change what happens.

A hook is called with a `Moment` and returns a verdict (`Continue` and None let things take their course). What each point
allows stands in `POINTS`. Hooks of a point run in order of `priority`, each seeing what the one before made of the value.
A hook that raises, takes too long or gives a verdict its point does not allow is recorded as a `hook.failed` event, and the
run goes on as if it had returned nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from wfkernel.engine.daemons import DaemonThreads
from wfkernel.errors import DefinitionError

__all__ = [
    "POINTS",
    "Cancel",
    "Continue",
    "Hooks",
    "Modify",
    "Moment",
    "Replace",
    "Retry",
    "Skip",
    "Verdict",
]


@dataclass(frozen=True, slots=True)
class Continue:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Modify:
    """Go on with another value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Replace:
    """Do not do it; take this as what came of it."""

    value: Any


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not do it; the value passes through."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Do it once more."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the run."""

    reason: str = ""


Verdict = Continue | Modify | Replace | Skip | Retry | Cancel

DEFAULT_SECONDS: Final = 5.0
"""How long a hook may take that says nothing else."""
_THREADS: Final = DaemonThreads(4, "wfkernel-hook")

_FREE: Final = frozenset({Continue, Cancel})
POINTS: Final[dict[str, frozenset[type]]] = {
    "run.start": _FREE | {Modify},  # value: the input
    "run.finish": frozenset({Continue, Modify}),  # value: the result
    "run.error": frozenset({Continue, Replace}),  # value: the error; Replace makes the run succeed
    "run.suspend": frozenset({Continue}),  # value: the paths
    "run.resume": _FREE | {Modify},  # value: the answer; Cancel refuses it
    "run.cancel": frozenset({Continue}),  # value: the reason
    "step.start": _FREE | {Modify, Replace, Skip},  # value: the input
    "step.finish": _FREE | {Modify, Retry},  # value: the output; a nested workflow as a whole cannot be retried
    "step.error": _FREE | {Replace, Skip, Retry},  # value: the exception
    "step.suspend": _FREE | {Replace},  # value: the payload; Replace answers at once
    "step.resume": _FREE,  # value: the answers
    "checkpoint": frozenset({Continue}),  # value: the output that is safe now
    "branch": _FREE | {Modify},  # value: ids of the arms to run
    "parallel.fork": _FREE | {Modify},  # value: ids of the arms to run
    "parallel.join": _FREE | {Modify},  # value: the output
    "iteration.start": _FREE | {Modify, Replace, Skip},  # value: the input
    "iteration.finish": _FREE | {Modify},  # value: the output
    "loop.finish": _FREE | {Modify},  # value: the output
    "sleep": _FREE | {Modify, Skip},  # value: seconds
    "stream.item": _FREE | {Modify, Skip},  # value: the item; Skip drops it
    "compensation.start": frozenset({Continue, Skip}),  # value: the output to undo
    "compensation.finish": frozenset({Continue}),  # value: the error, or None
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a hook is called."""

    point: str
    run_id: str
    workflow: str
    path: str
    value: Any
    attempt: int = 0
    iteration: int = 0
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Hook:
    function: Callable[[Moment], Any]
    timeout: float
    priority: int
    name: str


class Hooks:
    """The hooks of a workflow, or of several."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[_Hook]] = {}

    def on(
        self,
        point: str,
        function: Callable[[Moment], Any] | None = None,
        *,
        timeout: float | None = None,
        priority: int = 0,
    ) -> Any:
        """Call `function` (plain or async) at `point`, or at all points for ``*``. Also a decorator.

        Args:
            point: one of `POINTS`.
            timeout: seconds the hook may take, by default `DEFAULT_SECONDS`. A plain function is called in a thread; one
                that takes longer is left behind there, and what it returns does not count.
            priority: higher ones are called first.
        """
        if function is None:
            return lambda decorated: self.on(point, decorated, timeout=timeout, priority=priority) or decorated
        if point != "*" and point not in POINTS:
            raise DefinitionError(f"there is no hook point '{point}'. There are {', '.join(POINTS)}.")
        hook = _Hook(
            function,
            DEFAULT_SECONDS if timeout is None else timeout,
            priority,
            getattr(function, "__name__", repr(function)),
        )
        for name in POINTS if point == "*" else [point]:
            hooks = self._hooks.setdefault(name, [])
            hooks.append(hook)
            hooks.sort(key=lambda h: -h.priority)
        return function

    def followed_by(self, others: Hooks) -> Hooks:
        """These and `others`, these first where the priority is the same."""
        both = Hooks()
        for point in {**self._hooks, **others._hooks}:
            all_ = [*self._hooks.get(point, ()), *others._hooks.get(point, ())]
            both._hooks[point] = sorted(all_, key=lambda hook: -hook.priority)
        return both

    def has(self, point: str) -> bool:
        """Whether anybody listens at `point`."""
        return point in self._hooks

    async def fire(
        self, moment: Moment, failed: Callable[[str, BaseException], None], refused: frozenset[type] = frozenset()
    ) -> tuple[Verdict | None, Any]:
        """Call the hooks of a point. Returns the verdict that decides (None: go on) and the value, maybe modified.

        A verdict the point does not know, or that is `refused` here, is a hook that failed.
        """
        value = moment.value
        possible = POINTS[moment.point] - refused
        for hook in self._hooks.get(moment.point, ()):
            seen = Moment(moment.point, moment.run_id, moment.workflow, moment.path, value, moment.attempt,
                          moment.iteration, moment.state)  # fmt: skip
            try:
                verdict = await _call(hook, seen)
                if verdict is None or type(verdict) is Continue:
                    continue
                if type(verdict) not in possible:
                    allowed = ", ".join(sorted(kind.__name__ for kind in possible))
                    where = f"'{moment.point}'" + (" of a nested workflow" if refused else "")
                    raise DefinitionError(f"a hook at {where} may return {allowed}, not {verdict!r}.")
            except Exception as error:
                failed(hook.name, error)
                continue
            if isinstance(verdict, Modify):
                value = verdict.value
                continue
            return verdict, value
        return None, value


async def _call(hook: _Hook, moment: Moment) -> Any:
    try:
        async with asyncio.timeout(hook.timeout):
            if inspect.iscoroutinefunction(hook.function):
                return await hook.function(moment)
            future = _THREADS.submit(contextvars.copy_context().run, hook.function, moment)
            try:
                found = await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                _THREADS.give_up(future)
                raise
            return await found if inspect.isawaitable(found) else found
    except TimeoutError:
        raise TimeoutError(f"the hook took longer than {hook.timeout:g} s") from None
