"""What a step can call while it runs: `suspend`, `progress`, `track`, `write`.

These are plain functions, so that a notebook cell reads like a notebook cell. They find the step that is running through
a context variable; a thread the step started itself has no such variable and uses the step in the foreground.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

from wfkernel.engine.rich import mime_bundle
from wfkernel.errors import WorkflowError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from wfkernel.engine.answers import Asked

    Model = TypeVar("Model", bound=BaseModel)

T = TypeVar("T")

__all__ = [
    "Label",
    "StepContext",
    "current_step",
    "enter",
    "labels_of",
    "leave",
    "progress",
    "running",
    "suspend",
    "track",
    "write",
]

PROGRESS_SECONDS: Final = 0.1
"""At most one progress event per step in this time; the last one always counts."""


Label = str | Iterable[str]
"""A name a suspension can be answered by, or several."""


class StepContext(Protocol):
    """The running step, as far as the functions here need it."""

    path: str

    def answer(self, model: Asked, message: str, payload: Any, label: Label = ()) -> Any:
        """The answer for this `suspend` call; raises `RunSuspended` when there is none yet."""

    def write(self, text: str, shown: dict[str, Any] | None = None) -> None:
        """Add a line to the step's output; `shown` is what else its event says: see `wfkernel.write`."""

    def progress(self, done: float, total: float | None, label: str) -> None:
        """Say how far the step has come."""

    def remember(self, text: str, meta: dict[str, Any]) -> None:
        """Keep a text to be found by a search."""


_current: contextvars.ContextVar[StepContext | None] = contextvars.ContextVar("wfkernel_step", default=None)
_foreground: list[StepContext] = []


def enter(step: StepContext) -> contextvars.Token[StepContext | None]:
    """Make `step` the current step of this context only, until `leave`. For steps that run side by side."""
    return _current.set(step)


def leave(token: contextvars.Token[StepContext | None]) -> None:
    """Undo `enter`."""
    _current.reset(token)


@contextmanager
def running(step: StepContext) -> Iterator[StepContext]:
    """Make `step` the current step of this context, and the foreground step of this process."""
    token = _current.set(step)
    _foreground.append(step)
    try:
        yield step
    finally:
        _foreground.remove(step)
        _current.reset(token)


def current_step() -> StepContext | None:
    """The step this code belongs to, or None outside steps."""
    return _current.get() or (_foreground[-1] if _foreground else None)


def _inside(function: str) -> StepContext:
    step = current_step()
    if step is None:
        raise WorkflowError(f"{function}() works inside a step: put `%%step NAME` on the cell's first line.")
    return step


@overload
def suspend(model: type[Model], /, message: str = "", *, payload: Any = None, label: Label = ()) -> Model: ...


@overload
def suspend(model: None = None, /, message: str = "", *, payload: Any = None, label: Label = ()) -> Any: ...


@overload
def suspend(model: Mapping[str, Any], /, message: str = "", *, payload: Any = None, label: Label = ()) -> Any: ...


def suspend(model: Asked = None, /, message: str = "", *, payload: Any = None, label: Label = ()) -> Any:
    """Suspend the run until somebody answers, and return the answer.

    The run stops here; no thread waits. When it is resumed, the step is executed again from its start and its n-th call
    of `suspend` returns the n-th answer. An answer that does not fit `model` is refused and the run stays suspended.

    Args:
        model: pydantic model of the answer, or a JSON schema; the resume form is made from it. Without one any JSON value
            is accepted. The answer to a schema comes as plain data.
        message: what to decide, for the person who answers.
        payload: JSON-safe data shown with the question and kept in the run's events.
        label: a name, or several, the question can be answered by in place of the step's.
    """
    return _inside("suspend").answer(model, message, payload, label)


def labels_of(label: Label) -> list[str]:
    """The labels as a list."""
    return [label] if isinstance(label, str) else list(label)


def write(*values: object, sep: str = " ", end: str = "\n") -> None:
    """Add a line to the output of the running step: shown live in the run view and kept with the run.

    With ``end=""`` the line goes on with what is written next, for text that comes in pieces. A single value that knows
    how to show itself (a frame, an image, a figure, `IPython.display.Markdown`) is shown as in a notebook.
    """
    step = _inside("write")
    shown = mime_bundle(values[0]) if len(values) == 1 else None
    if shown:
        step.write(shown.pop("text/plain", "") or str(values[0]), {"data": shown})
    elif end == "\n":
        step.write(sep.join(map(str, values)))
    else:
        step.write(sep.join(map(str, values)), {"end": end})


def progress(done: float, total: float | None = None, label: str = "") -> None:
    """Say how far the running step has come: `done` of `total`, in whatever unit the step counts."""
    _inside("progress").progress(done, total, label)


def track(items: Iterable[T], total: float | None = None, label: str = "") -> Iterator[T]:
    """Iterate over `items` and show the progress; outside a step it just iterates.

    Args:
        items: anything to loop over.
        total: how many there are; taken from ``len(items)`` where possible.
        label: shown beside the bar.
    """
    step = current_step()
    if step is None:
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    step.progress(0, total, label)
    done, shown, reported = 0, time.monotonic(), 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - shown >= PROGRESS_SECONDS:
            step.progress(done, total, label)
            shown, reported = now, done
    if done != reported:
        step.progress(done, total, label)
