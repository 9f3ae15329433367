"""A step: a function together with what the engine must know to run it.

`@step` returns the function itself and leaves its `StepSpec` in ``fn.__wf_step__``, so a decorated function stays an
ordinary function for everybody else. What a function takes says what its input must look like:

- no parameter: the input is not looked at;
- one parameter: it gets the whole input, validated against its annotation;
- several parameters: the input is an object whose keys are the parameters; missing ones take their defaults;
- a parameter named ``ctx`` gets the step's context and is no part of the input.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import types
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NotRequired, TypeVar, cast, overload

from wfkernel.errors import DefinitionError
from wfkernel.plan.duration import Duration, seconds
from wfkernel.plan.retry import RetryOn, RetryPolicy
from wfkernel.plan.shape import Misfit, Shape, is_model

__all__ = ["CONTEXT_PARAMETER", "StepSpec", "code_differs", "code_digest", "spec_of", "step"]

F = TypeVar("F", bound=Callable[..., Any])

CONTEXT_PARAMETER: Final = "ctx"
_UNSET: Final = inspect.Parameter.empty
_STREAMS: Final = (AsyncIterator, AsyncIterable)


@dataclass(frozen=True)
class StepSpec:
    """What the engine knows about a step. Made by `@step` or `spec_of`."""

    id: str
    function: Callable[..., Any]
    description: str = ""
    retry: RetryPolicy | None = None
    """None: the workflow's own policy."""
    timeout: float | None = None
    """Seconds one attempt may take."""
    compensate: Callable[..., Any] | None = None
    worker: str | None = None
    """None: coroutine functions run inline, on the engine's loop; others in a thread."""
    resume: Any = None
    suspend: Any = None
    state: Any = None
    needs: tuple[str, ...] = ()
    restarts: Any = 0
    """How often a worker process that dies under the step is replaced by a new one, or a `RestartPolicy`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    outputs: Callable[[Any], Any] | None = None
    """Makes the step's output of what the function returned."""
    repeatable: bool = False
    """Doing it again gives the same and does no more, so nobody waits until its result is on disk."""
    # What follows is derived from the function, once.
    is_async: bool = False
    is_generator: bool = False
    """The function is an async generator: its items can flow into the next step as they come."""
    takes_context: bool = False
    parameters: tuple[inspect.Parameter, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shape", None)
        object.__setattr__(self, "_digest", None)

    # -- input ------------------------------------------------------------------------------------------------------

    @property
    def takes_stream(self) -> bool:
        """Whether the step takes the items of a streaming step as they come: its parameter is an `AsyncIterator`."""
        if len(self.parameters) != 1:
            return False
        kind = self._annotations().get(self.parameters[0].name)
        return kind in _STREAMS or typing.get_origin(kind) in _STREAMS

    def input_shape(self) -> Shape:
        """What the input must look like."""
        shape: Shape | None = self.__dict__["_shape"]
        if shape is None:
            shape = self._make_shape()
            self.__dict__["_shape"] = shape
        return shape

    def bind(self, value: Any, *, validate: bool = True) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for the function (without the context). Raises `Misfit`."""
        parameters = self.parameters
        if not parameters:
            return (), {}
        if len(parameters) == 1:
            only = parameters[0]
            if value is None and only.default is not _UNSET:
                return (), {}
            checked = self.input_shape().check(value) if validate else value
            return ((), {only.name: checked}) if only.kind is only.KEYWORD_ONLY else ((checked,), {})
        fields = _fields_of(value)
        if fields is None:
            names = ", ".join(p.name for p in parameters)
            raise Misfit([("", f"Input should be an object with {names}, not {type(value).__name__}")])
        if validate:
            fields = self.input_shape().check(fields)
        return (), {p.name: fields[p.name] for p in parameters if p.name in fields}

    def _annotations(self) -> dict[str, Any]:
        called = type(self.function).__call__
        function = (
            called if inspect.isfunction(called) else self.function
        )  # an object that can be called, or a function
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError as error:
            raise DefinitionError(
                f"step '{self.id}': the annotation of a parameter names '{error.name}', which cannot be found. "
                "Import it outside `if TYPE_CHECKING`."
            ) from None

    def _make_shape(self) -> Shape:
        hints = self._annotations()
        if self.takes_stream or not self.parameters:
            return Shape(Any)
        if len(self.parameters) == 1:
            return Shape(hints.get(self.parameters[0].name, Any))
        fields = {}
        for parameter in self.parameters:
            kind = hints.get(parameter.name, Any)
            fields[parameter.name] = kind if parameter.default is _UNSET else NotRequired[kind]
        from pydantic import ConfigDict
        from typing_extensions import TypedDict  # pydantic comes with it, and needs it before Python 3.12

        # A typed dict and not a model: any parameter name is allowed, and defaults stay the function's own.
        arguments = cast(Any, TypedDict(f"{self.id}_input", fields))  # type: ignore[operator]
        arguments.__pydantic_config__ = ConfigDict(arbitrary_types_allowed=True, extra="ignore")
        return Shape(arguments)

    # -- other things asked about a step ------------------------------------------------------------------------------

    def output_type(self) -> Any:
        """The return annotation, `Any` without one. It is never checked at run time."""
        return self._annotations().get("return", Any)

    def digest(self) -> str:
        """Identifies the step's code: equal as long as the function does the same, whatever its comments and layout."""
        digest: str | None = self.__dict__["_digest"]
        if digest is None:
            digest = self.__dict__["_digest"] = code_digest(self.function)
        return digest

    def renamed(self, id_: str) -> StepSpec:
        """The same step under another id."""
        return replace(self, id=checked_id(id_))


def checked_id(id_: Any) -> str:
    """`id_` if it can be the id of a step or workflow. Dots and brackets are taken: they make paths."""
    if not isinstance(id_, str) or not id_.strip():
        raise DefinitionError(f"an id must be a text that is not empty, not {id_!r}.")
    if any(character in id_ for character in ".[]#") or id_ != id_.strip():
        raise DefinitionError(f"the id '{id_}' cannot be used: no '.', '[', ']', '#' and no space at its ends, please.")
    return id_


@overload
def step(function: F, /) -> F: ...


@overload
def step(
    *,
    id: str | None = None,
    description: str = "",
    retries: int | None = None,
    delay: Duration | None = None,
    backoff: float | None = None,
    jitter: float | None = None,
    cap: Duration | None = None,
    retry_on: RetryOn | None = None,
    timeout: Duration | None = None,
    compensate: Callable[..., Any] | None = None,
    worker: str | None = None,
    resume: Any = None,
    suspend: Any = None,
    state: Any = None,
    needs: Any = (),
    restarts: Any = 0,
    metadata: Mapping[str, Any] | None = None,
    outputs: Callable[[Any], Any] | None = None,
) -> Callable[[F], F]: ...


def step(function: Any = None, /, **options: Any) -> Any:
    """Make a function a step: ``@step`` or ``@step(retries=3, timeout="5m")``. Returns the function itself.

    Args:
        id: the step's name; the function's name by default.
        retries: attempts after the first that fails; None takes the workflow's.
        delay, backoff, jitter, cap: the wait before an attempt, its growth, its random part and its limit.
        retry_on: exception class(es) or ``fn(error) -> bool``; other errors fail the step at once.
        timeout: what one attempt may take.
        compensate: called with the step's output, to undo it, when a later step fails the run.
        worker: ``inline``, ``threads``, ``processes``, ``dask``. Without it coroutine functions run inline and others in
            threads; a function that returns at once is cheapest with ``inline``.
        resume, suspend, state: models of the answer, of the suspend payload and of the state the step may set.
        needs: steps (or their ids) whose outputs it takes, for `Workflow.add`.
        restarts: how often a worker process that dies under the step is replaced.
        outputs: makes the step's output of what the function returned.
    """
    known = set(typing.get_overloads(step)[1].__annotations__) - {"return"}
    if unknown := options.keys() - known:
        raise DefinitionError(f"@step has no option '{sorted(unknown)[0]}'. It knows {', '.join(sorted(known))}.")
    if function is not None:
        return _decorate(function, options)
    return lambda decorated: _decorate(decorated, options)


def _decorate(function: Any, options: dict[str, Any]) -> Any:
    if not callable(function) or isinstance(function, type):
        raise DefinitionError(f"@step goes on a function, not on {function!r}.")
    spec = _make_spec(function, options)
    try:
        function.__wf_step__ = spec
    except AttributeError:
        raise DefinitionError(f"@step cannot go on {function!r}: call it in a function of your own.") from None
    return function


def spec_of(function: Any) -> StepSpec:
    """The spec of a `@step` function, or one made on the spot for a plain function."""
    if isinstance(function, StepSpec):
        return function
    spec = getattr(function, "__wf_step__", None)
    if isinstance(spec, StepSpec):
        return spec
    if not callable(function) or isinstance(function, type):
        raise DefinitionError(f"a step is a function or a workflow, not {function!r}.")
    return _make_spec(function, {})


_RETRY_OPTIONS: Final = ("retries", "delay", "backoff", "jitter", "cap", "retry_on")


def _make_spec(function: Callable[..., Any], options: dict[str, Any]) -> StepSpec:
    name = options.get("id") or getattr(function, "__name__", type(function).__name__)
    if name == "<lambda>":
        raise DefinitionError(
            "a lambda has no name to be a step's id: write a function, or use .map(...) or @step(id=...)."
        )
    retry = None
    if any(options.get(option) is not None for option in _RETRY_OPTIONS):
        times = {option: options.get(option) for option in _RETRY_OPTIONS}
        for option in ("delay", "cap"):
            if (given := times[option]) is not None:
                times[option] = seconds(given)
        retry = RetryPolicy().changed(**times)
    for option in ("resume", "suspend", "state"):
        if options.get(option) is not None and not is_model(options[option]):
            raise DefinitionError(f"step '{name}': {option}= takes a pydantic model class, not {options[option]!r}.")
    timeout = options.get("timeout")
    if timeout is not None and seconds(timeout) <= 0:
        raise DefinitionError(f"step '{name}': timeout must be longer than nothing, not {timeout!r}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none: they take one value
        signature = inspect.Signature([inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)])
    parameters = tuple(
        p for p in signature.parameters.values()
        if p.name != CONTEXT_PARAMETER and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )  # fmt: skip
    needs = options.get("needs") or ()
    return StepSpec(
        id=checked_id(name),
        function=function,
        description=options.get("description") or inspect.getdoc(function) or "",
        retry=retry,
        timeout=seconds(timeout) if timeout is not None else None,
        compensate=options.get("compensate"),
        worker=options.get("worker"),
        resume=options.get("resume"),
        suspend=options.get("suspend"),
        state=options.get("state"),
        needs=tuple(n if isinstance(n, str) else spec_of(n).id for n in ([needs] if isinstance(needs, str) else needs)),
        restarts=options.get("restarts") or 0,
        metadata=options.get("metadata") or {},
        outputs=options.get("outputs"),
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
        is_generator=inspect.isasyncgenfunction(function),
        takes_context=CONTEXT_PARAMETER in signature.parameters,
        parameters=parameters,
    )


def _fields_of(value: Any) -> dict[str, Any] | None:
    """`value` as a dict of arguments, None if it has no fields."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if is_model(type(value)):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    return None


def code_digest(function: Callable[..., Any]) -> str:
    """Digest of what a function does. It compares within one minor version of Python, which it begins with."""
    digest = hashlib.blake2b(digest_size=12)
    code = getattr(inspect.unwrap(function), "__code__", None)
    if (own := getattr(function, "__wf_code__", None)) is not None:  # what it does stands in data, not in code
        digest.update(repr(own).encode())
    elif code is None:
        digest.update(f"{type(function).__module__}.{type(function).__qualname__}".encode())
    else:
        digest = _digest_of(code).copy()
        digest.update(repr(getattr(function, "__defaults__", None)).encode())
    return f"{sys.version_info[0]}.{sys.version_info[1]}:{digest.hexdigest()}"


def code_differs(one: str, other: str) -> bool:
    """Whether two digests of code tell different code; those of different Pythons tell nothing."""
    return one.partition(":")[0] == other.partition(":")[0] and one != other


@functools.lru_cache(maxsize=1024)
def _digest_of(code: types.CodeType) -> Any:
    """Every run asks what its function does: a digest that has taken in `code`, to be copied."""
    digest = hashlib.blake2b(digest_size=12)
    _add_code(digest, code)
    return digest


def _add_code(digest: Any, code: types.CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(digest, constant)
        elif isinstance(constant, frozenset):
            digest.update(repr(sorted(map(repr, constant))).encode())
        else:
            digest.update(repr(constant).encode())
