"""Where the values of `.map({...})` come from: constants, functions, templates, the run's input, state, step outputs.

A mapping is pure data: `compile_mapping` checks it when the workflow is defined and gives a list of (key, source); the
engine evaluates the sources with a `Scope`. ::

    .map({"total": {"step": add, "path": "sum"}, "name": {"init": "user.name"}, "note": {"template": "Hi ${input.x}"},
          "kind": {"value": "order"}, "size": lambda x: len(x)})
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from wfkernel.errors import DefinitionError, WorkflowError
from wfkernel.plan.missing import MISSING
from wfkernel.plan.step import spec_of

__all__ = [
    "Constant",
    "InitPath",
    "OutputPath",
    "Scope",
    "Source",
    "StatePath",
    "Template",
    "UserFunction",
    "compile_mapping",
    "walk",
]

_TEMPLATE_SCOPES: Final = ("input", "init", "state", "steps")
_PLACEHOLDER: Final = re.compile(r"\$\{([^}]*)\}")


class Scope(Protocol):
    """What a source can see of the run."""

    value: Any
    """Output of the entry before."""

    def init(self) -> Any: ...
    def state(self) -> Mapping[str, Any]: ...
    def output(self, step: str) -> Any:
        """Output of a step that succeeded, else `MISSING`."""


Source = Callable[[Scope], Any]


def compile_mapping(mapping: Mapping[str, Any]) -> list[tuple[str, Source | Callable[..., Any]]]:
    """(key, source) pairs of a mapping; a plain callable stays one and is called by the engine with the input."""
    return [(key, _compile(key, given)) for key, given in mapping.items()]


def _compile(key: str, given: Any) -> Any:
    if callable(given):
        return UserFunction(given)
    if not isinstance(given, Mapping):
        raise DefinitionError(
            f"map key '{key}': a source is a function or one of {{'value': ...}}, {{'template': ...}}, {{'init': path}}, "
            f"{{'state': path}}, {{'step': step, 'path': path}}, not {given!r}."
        )
    if "value" in given:
        return Constant(given["value"])
    if "fn" in given:
        return UserFunction(given["fn"])
    if "template" in given:
        return _compile_template(key, given["template"])
    if "init" in given:
        return InitPath(given["init"])
    if "state" in given:
        return StatePath(given["state"])
    if "step" in given:
        steps = given["step"] if isinstance(given["step"], list | tuple) else [given["step"]]
        ids = [s if isinstance(s, str) else getattr(s, "id", None) or spec_of(s).id for s in steps]
        return OutputPath(tuple(ids), given.get("path", ""))
    raise DefinitionError(f"map key '{key}': unknown source {dict(given)!r}.")


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value every time."""

    value: Any

    def __call__(self, scope: Scope) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class UserFunction:
    """Marks a user's function among the sources: the engine calls it, for it may be async or take the context."""

    function: Callable[..., Any]

    def __call__(self, scope: Scope) -> Any:
        return self.function(scope.value)


@dataclass(frozen=True, slots=True)
class InitPath:
    """A part of the workflow's input."""

    path: str

    def __call__(self, scope: Scope) -> Any:
        return walk(scope.init(), self.path, "init")


@dataclass(frozen=True, slots=True)
class StatePath:
    """A part of the run's state."""

    path: str

    def __call__(self, scope: Scope) -> Any:
        return walk(scope.state(), self.path, "state")


@dataclass(frozen=True, slots=True)
class OutputPath:
    """A part of the output of the first of several steps that has one."""

    steps: tuple[str, ...]
    path: str = ""

    def __call__(self, scope: Scope) -> Any:
        for id_ in self.steps:
            found = scope.output(id_)
            if found is not MISSING and found is not None:
                return walk(found, self.path, f"step {id_}")
        return walk(None, self.path, f"step {self.steps[0]}")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with ``${...}`` filled in."""

    text: str

    def __call__(self, scope: Scope) -> Any:
        return _PLACEHOLDER.sub(lambda match: _text(_lookup(scope, match[1])), self.text)


def walk(root: Any, path: str, where: str) -> Any:
    """The value at the dotted `path` below `root`; ``""`` and ``"."`` are the root itself."""
    if path in ("", "."):
        return root
    found = root
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list | tuple) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif (
            found is not None
            and hasattr(found, part)
            and not isinstance(found, str | int | float | bool | list | tuple)
        ):
            found = getattr(found, part)
        else:
            raise WorkflowError(f"Invalid path {path} in {where}")
    return found


def _compile_template(key: str, text: Any) -> Source:
    if not isinstance(text, str):
        raise DefinitionError(f"map key '{key}': a template is a text, not {text!r}.")
    for placeholder in _PLACEHOLDER.findall(text):
        scope, _, rest = placeholder.partition(".")
        if not placeholder or placeholder != placeholder.strip():
            raise DefinitionError(
                f"map key '{key}': the placeholder '${{{placeholder}}}' is empty or padded with spaces."
            )
        if scope not in _TEMPLATE_SCOPES:
            raise DefinitionError(
                f"map key '{key}': '${{{placeholder}}}' begins with '{scope}', a template knows "
                f"{', '.join(_TEMPLATE_SCOPES)}."
            )
        if scope == "steps" and not rest:
            raise DefinitionError(f"map key '{key}': '${{{placeholder}}}' must name a step, like ${{steps.load.rows}}.")

    return Template(text)


def _lookup(scope: Scope, placeholder: str) -> Any:
    root, _, path = placeholder.partition(".")
    if root == "steps":
        step, _, path = path.partition(".")
        found = scope.output(step)
        if found is MISSING:
            raise WorkflowError(f"the template needs the result of step '{step}', which has none")
        return walk(found, path, f"step {step}")
    value = scope.value if root == "input" else scope.init() if root == "init" else scope.state()
    return walk(value, path, root)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    from pydantic_core import to_jsonable_python

    return (
        json.dumps(to_jsonable_python(value), ensure_ascii=False) if not isinstance(value, int | float) else str(value)
    )
