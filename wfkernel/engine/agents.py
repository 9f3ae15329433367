"""Agents by name: who the tasks of a workflow are given to.

    register_agent("backend", write_backend)              # a function of the task
    register_agent("quality", QualityAgent(...))          # an object with a method `run`

A function (or method) gets what it has parameters for: the task (by the name ``task``, or its first parameter), ``inputs``
(what the step gets: the output of what it needs) and ``ctx`` (the step's context). What it returns is the step's output.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wfkernel.errors import DefinitionError
from wfkernel.plan.reference import did_you_mean, how_to_register

__all__ = ["AskAgent", "agent_named", "entry_point", "register_agent", "registered_agents", "unregister_agent"]

_agents: dict[str, Any] = {}


def register_agent(name: str, agent: Any) -> None:
    """Make `agent` the one that ``agent: NAME`` in workflow files means; it replaces one registered before.

    Raises `DefinitionError` for what is neither a function nor an object with a method `run`.
    """
    if not isinstance(name, str) or not name.strip():
        raise DefinitionError(f"the name of an agent is a text that is not empty, not {name!r}.")
    entry_point(name, agent)
    _agents[name] = agent


def unregister_agent(name: str) -> None:
    """Forget an agent; nothing happens if there is none of that name."""
    _agents.pop(name, None)


def registered_agents() -> dict[str, Any]:
    """All agents, by name."""
    return dict(_agents)


def agent_named(name: str, local: dict[str, Any] | None = None) -> Any:
    """The agent of that name. Raises `DefinitionError`."""
    known = {**_agents, **(local or {})}
    if name not in known:
        hint = did_you_mean(name, sorted(known)) or " (none is)"
        raise DefinitionError(f"no agent '{name}' is registered{hint}: {how_to_register(name)}")
    return known[name]


def entry_point(name: str, agent: Any) -> Callable[..., Any]:
    """What is called to give the agent a task. Raises `DefinitionError`."""
    run = getattr(agent, "run", None)
    found = run if callable(run) and not inspect.isfunction(agent) else agent
    if not callable(found) or isinstance(found, type):
        raise DefinitionError(f"agent '{name}' is a function, or an object with a method `run`, not {agent!r}.")
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class AskAgent:
    """The function of an agent step."""

    name: str
    agent: Any = field(compare=False)

    @property
    def __wf_code__(self) -> Any:
        from wfkernel.plan.step import code_digest

        return ("agent", self.name, code_digest(entry_point(self.name, self.agent)))

    @property
    def is_async(self) -> bool:
        called = entry_point(self.name, self.agent)
        return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(type(called).__call__)

    def __call__(self, task: str, inputs: Any = None, ctx: Any = None) -> Any:
        called = entry_point(self.name, self.agent)
        given = {"task": task, "inputs": inputs, "ctx": ctx}
        try:
            parameters = inspect.signature(called).parameters
        except (TypeError, ValueError):
            return called(task)
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return called(**given)
        taken = {name: value for name, value in given.items() if name in parameters}
        first = next(iter(parameters.values()), None)
        if "task" in taken or first is None or first.name in given:
            return called(**taken)
        return called(task, **taken)
