"""Plans become workflow files: the inverse of `wfkernel.engine.compile`.

What is written loads to an equal plan. Code is written by its address, so everything a plan calls has to have one: a lambda,
or a function made inside another, is a mistake that is told. Conditions, values and tasks that are expressions are written
as the expressions they are.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from wfkernel.engine.agents import AskAgent
from wfkernel.engine.compile import DOCUMENT_KEYS
from wfkernel.engine.options import Options
from wfkernel.engine.restarts import RestartPolicy
from wfkernel.engine.shell import RunCommand
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError
from wfkernel.plan import nodes, sources
from wfkernel.plan.builder import Definition
from wfkernel.plan.declared import inputs_of
from wfkernel.plan.expression import Condition, Filled, Reshape
from wfkernel.plan.reference import address_of
from wfkernel.plan.retry import RetryPolicy
from wfkernel.plan.step import StepSpec, spec_of
from wfkernel.plan.text import LONGEST_NUMBER
from wfkernel.plan.writing import as_yaml

__all__ = ["document_of", "to_yaml"]

_MODELS: Final = ("resume", "suspend", "state")


def to_yaml(plan: Definition, folder: Path | None = None) -> str:
    """The plan as the text of a workflow file. Raises `DefinitionError` for what has no address.

    Args:
        folder: where the file will be: code in files below it is named relative to it.
    """
    return as_yaml(document_of(plan, folder))


def document_of(plan: Definition, folder: Path | None = None) -> dict[str, Any]:
    """The plan as JSON-safe data in the format of workflow files. Raises `DefinitionError`."""
    found = _Exporter(folder).workflow(plan)
    _check_writable(found, plan.id, "")
    return found


def _check_writable(data: Any, workflow: str, at: str) -> None:
    """Raise `DefinitionError` for a value a file has no place for, and that would come back as another one, or not at all."""
    match data:
        case None | bool() | str():
            return
        case int() if abs(data) < 10**LONGEST_NUMBER:
            return
        case float() if math.isfinite(data):
            return
        case list() | tuple():
            for number, value in enumerate(data):
                _check_writable(value, workflow, f"{at}[{number}]")
        case dict() if all(isinstance(key, str) for key in data):
            for key, value in data.items():
                _check_writable(value, workflow, f"{at}.{key}" if at else key)
        case _:
            what = repr(data) if isinstance(data, float) else f"a {type(data).__name__}"
            what = f"{what} with keys that are no texts" if isinstance(data, dict) else what
            raise DefinitionError(f"workflow '{workflow}': {at} is {what}, and a workflow file holds what JSON holds")


class _Exporter:
    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def address(self, code: Any) -> str:
        return address_of(code, self._folder)

    def workflow(self, plan: Definition) -> dict[str, Any]:
        if plan.program is not None:
            raise DefinitionError(
                f"workflow '{plan.id}' is a durable function: its flow is code, which a file cannot say"
            )
        metadata = dict(plan.metadata)
        found: dict[str, Any] = {"id": plan.id}
        for key in DOCUMENT_KEYS:
            if key in metadata:
                found[key] = metadata.pop(key)
        if plan.description:
            found["description"] = plan.description
        declared = inputs_of(plan.input)
        if declared is not None:
            found["inputs"] = declared
        elif plan.input is not None:
            found["input"] = self.address(plan.input)
        for key, kind in (("output_type", plan.output), ("state", plan.state)):
            if kind is not None:
                found[key] = self.address(kind)
        if plan.retry.retries:
            found["retries"] = plan.retry.retries
        if plan.retry.delay:
            found["delay"] = _short(plan.retry.delay)
        if isinstance(plan, Workflow) and plan.options.limits != Options().limits:
            limits = asdict(plan.options.limits)
            found["limits"] = {name: _short(most) for name, most in limits.items() if most is not None}
        if isinstance(plan, Workflow) and plan.options.rollback_to:
            found["rollback_to"] = plan.options.rollback_to
        if plan.vars:
            found["vars"] = plan.vars
        if metadata:
            found["metadata"] = metadata
        agents = dict(self._agents(plan))
        if agents:
            found["agents"] = agents
        found["steps"] = self.entries(plan)
        return found

    def entries(self, plan: Definition) -> list[dict[str, Any]]:
        """The steps of a plan; those of a plan that is one graph stand for themselves, as people write them."""
        match plan.nodes:
            case [nodes.Graph(id="graph_1") as graph]:  # the name it gets when it is loaded
                return self.vertices(graph)
        return [self.entry(node) for node in plan.nodes]

    def _agents(self, plan: Definition) -> list[tuple[str, str]]:
        """The agents of a plan that have an address; the others have to be registered where the file is loaded."""
        from wfkernel.plan.builder import bodies_of

        found = []
        for node in plan.nodes:
            for body in bodies_of(node):
                if isinstance(body, nodes.Nested):
                    found += self._agents(body.plan) if body.plan.inline else []
                elif isinstance(body.spec.function, AskAgent):
                    try:
                        found.append((body.spec.function.name, self.address(body.spec.function.agent)))
                    except DefinitionError:
                        continue
        return found

    # -- entries --------------------------------------------------------------------------------------------------------

    def entry(self, node: nodes.Node) -> dict[str, Any]:
        match node:
            case nodes.Parallel():
                found = {"id": node.id, "parallel": [self.body(arm) for arm in node.arms]}
                return {**found, "fail_fast": True} if node.fail_fast else found
            case nodes.Branch():
                arms = [{"if": self.condition(call), "then": self.body(body)} for call, body in node.arms]
                return {"id": node.id, "branch": arms}
            case nodes.Loop():
                return {
                    "loop": self.body(node.body),
                    "until" if node.until else "while": self.condition(node.condition),
                }
            case nodes.Foreach():
                width = node.concurrency
                shown = self.call(width) if isinstance(width, nodes.Call) else width
                return {"foreach": self.body(node.body), **({"concurrency": shown} if shown != 1 else {})}
            case nodes.Map():
                return {"id": node.id, **self.map(node)}
            case nodes.Sleep():
                amount = self.call(node.amount) if isinstance(node.amount, nodes.Call) else node.amount
                return {"id": node.id, "sleep_until" if node.until else "sleep": amount}
            case nodes.Graph():
                return {"id": node.id, "graph": self.vertices(node)}
        return self.body(node)

    def vertices(self, graph: nodes.Graph) -> list[dict[str, Any]]:
        keys = {vertex.body.id: vertex.body.key or vertex.body.id for vertex in graph.vertices}
        return [self.vertex(vertex, keys) for vertex in graph.vertices]

    def vertex(self, vertex: nodes.Vertex, keys: dict[str, str]) -> dict[str, Any]:
        found = {**self.body(vertex.body), "needs": [keys[need] for need in vertex.needs]}
        return {**found, "parallel": False} if vertex.exclusive else found

    def map(self, node: nodes.Map) -> dict[str, Any]:
        if node.function is None:
            return {"sources": {key: self.source(key, source) for key, source in node.sources}}
        function = node.function.function
        return {"map": function.data if isinstance(function, Filled) else self.address(function)}

    def source(self, key: str, source: Any) -> dict[str, Any]:
        match source:
            case sources.Constant(value):
                return {"value": value}
            case sources.UserFunction(function):
                return {"fn": self.address(function)}
            case sources.InitPath(path):
                return {"init": path}
            case sources.StatePath(path):
                return {"state": path}
            case sources.Template(text):
                return {"template": text}
            case sources.OutputPath(steps, path):
                return {"step": list(steps), "path": path}
        raise DefinitionError(f"map key '{key}': {source!r} cannot be written to a file")

    def call(self, call: nodes.Call) -> Any:
        """An expression, or the address of a function."""
        function = call.function
        if isinstance(function, Filled):
            return function.data
        return f"${{{{ {function.source} }}}}" if isinstance(function, Condition) else self.address(function)

    def condition(self, call: nodes.Call) -> str:
        return str(self.call(call))

    def body(self, body: nodes.Body) -> dict[str, Any]:
        terms = body.terms
        found: dict[str, Any] = {"id": body.key or body.id}
        if terms.name:
            found["name"] = terms.name
        given = _UNSAID
        if terms.given is not None:
            if not isinstance(terms.given.function, Filled):
                raise DefinitionError(
                    f"step '{body.id}': what it is given is made by a function, which a file cannot say"
                )
            given = terms.given.function.data
        if isinstance(body, nodes.Nested):
            if body.plan.inline:
                found["steps"] = self.entries(body.plan)
            else:
                found["workflow"] = self.workflow(body.plan)
        else:
            found |= self.step(body, given)
            if isinstance(body.spec.function, RunCommand | AskAgent):
                given = _UNSAID
            elif given is not _UNSAID and isinstance(given, dict):
                names = [p.name for p in body.spec.parameters]
                given = {names[0]: given} if len(names) == 1 and list(given) == names else given
        if given is not _UNSAID:
            found["with"] = given
        if terms.when is not None:
            found["when"] = self.condition(terms.when)
        if terms.continue_on_error:
            found["continue_on_error"] = True
        return found

    def step(self, body: nodes.Step, given: Any) -> dict[str, Any]:
        spec, function = body.spec, body.spec.function
        if isinstance(function, AskAgent):
            task = {"agent": function.name, "task": given["task"]}
            own = {} if given["inputs"] == "${{ input }}" else {"with": given["inputs"]}
            return {**task, **own, **self.options(spec, _plain(spec))}
        if isinstance(function, RunCommand):
            env = {"env": given["env"]} if given["env"] else {}
            cwd = {"cwd": function.cwd} if function.cwd else {}
            return {"run": given["run"], **env, **cwd, **self.options(spec, _plain(spec))}
        notebook = getattr(function, "__wf_notebook__", None)
        if notebook is not None:
            return {"notebook": notebook, **self.options(spec, _plain(spec))}
        return {"uses": self.address(function), **self.options(spec, spec_of(function))}

    def options(self, spec: StepSpec, own: StepSpec) -> dict[str, Any]:
        """What a step says beyond what its function says of itself."""
        found: dict[str, Any] = {}
        if spec.retry is not None and spec.retry != own.retry:
            found |= self.retry(spec.id, spec.retry, own.retry or RetryPolicy())
        if spec.timeout is not None and spec.timeout != own.timeout:
            found["timeout"] = _short(spec.timeout)
        if spec.outputs is not None and spec.outputs != own.outputs:
            if not isinstance(spec.outputs, Reshape):
                raise DefinitionError(f"step '{spec.id}': its outputs are made by a function, which a file cannot say")
            found["outputs"] = spec.outputs.data
        for key in ("worker", "description", "metadata"):
            if getattr(spec, key) and getattr(spec, key) != getattr(own, key):
                found[key] = getattr(spec, key)
        for key in ("compensate", *_MODELS):
            if getattr(spec, key) is not None and getattr(spec, key) != getattr(own, key):
                found[key] = self.address(getattr(spec, key))
        if spec.restarts != own.restarts:
            policy = spec.restarts
            if isinstance(policy, RestartPolicy):
                policy = {name: getattr(policy, name) for name in ("max_restarts", "within", "delay", "backoff")}
            found["restarts"] = policy
        return found

    def retry(self, id_: str, policy: RetryPolicy, own: RetryPolicy) -> dict[str, Any]:
        found: dict[str, Any] = {
            key: _short(getattr(policy, key)) for key in ("retries", "delay", "backoff", "jitter", "cap")
            if getattr(policy, key) != getattr(own, key)
        }  # fmt: skip
        if policy.retry_on != own.retry_on and policy.retry_on is not None:
            several = isinstance(policy.retry_on, tuple)
            found["retry_on"] = [self.address(e) for e in policy.retry_on] if several else self.address(policy.retry_on)  # type: ignore[union-attr]
        return found or {"retries": policy.retries}


def _short(number: Any) -> Any:
    """300 rather than 300.0."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _plain(spec: StepSpec) -> StepSpec:
    return StepSpec(spec.id, spec.function)


_UNSAID: Final[Any] = object()
