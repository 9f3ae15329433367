"""Calls and outcomes as bytes, for other processes.

cloudpickle takes what pickle does not: functions and classes of a notebook, lambdas, closures. A pickle is a list of
byte parts: the pickle itself, then the buffers of arrays and frames as they lie in memory (pickle protocol 5, PEP 574),
so large data is neither copied into a pickle nor pickled a second time on its way.

Exceptions are pickled by tblib with their traceback, causes and notes: what is raised here shows the lines that failed
there. One that cannot be pickled, or not be opened again, comes back as `RemoteStepError`.
"""

from __future__ import annotations

import copyreg
import pickle
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, Final

from wfkernel.engine.worker import Call
from wfkernel.errors import DefinitionError, RunSuspended, WorkflowError
from wfkernel.workers.execute import Outcome

__all__ = ["Parts", "RemoteStepError", "Suspended", "pack", "pack_call", "pack_outcome", "unpack", "unpack_outcome"]

Parts = list[bytes | bytearray | memoryview]

_PROTOCOL: Final = 5


class RemoteStepError(WorkflowError):
    """An exception of another process that cannot be rebuilt here.

    Attributes:
        type_name: the exception's class, with its module.
        message: its text.
        remote_traceback: its traceback, causes included, as Python prints it.
    """

    def __init__(self, type_name: str, message: str, remote_traceback: str) -> None:
        self.type_name, self.message, self.remote_traceback = type_name, message, remote_traceback
        super().__init__(type_name, message, remote_traceback)
        self.add_note(f"In the worker:\n{remote_traceback}")

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"

    def __reduce__(self) -> tuple[type[RemoteStepError], tuple[str, str, str]]:
        return RemoteStepError, (self.type_name, self.message, self.remote_traceback)


@dataclass(frozen=True)
class Suspended:
    """In place of an outcome: the step suspended the run; what it asks was relayed before."""


@dataclass(frozen=True)
class _Failed:
    """An exception on its way: the fallback, and the exception pickled on its own."""

    fallback: RemoteStepError
    pickled: bytes


def pack(value: Any) -> Parts:
    """Pickle `value`. The parts refer to the memory of its arrays: they are valid as long as those are unchanged."""
    import cloudpickle

    buffers: list[pickle.PickleBuffer] = []
    data: bytes = cloudpickle.dumps(value, protocol=_PROTOCOL, buffer_callback=buffers.append)
    return [data, *(buffer.raw() for buffer in buffers)]


def unpack(parts: Sequence[bytes | bytearray | memoryview]) -> Any:
    """Inverse of `pack`. Arrays use the memory of the parts: they can be written to if those are bytearrays."""
    return pickle.loads(parts[0], buffers=parts[1:])


def pack_call(call: Call) -> Parts:
    """The call as bytes; raises `DefinitionError` naming what cannot be sent."""
    try:
        return pack(call)
    except DefinitionError:  # an argument that says itself why it stays here
        raise
    except Exception as error:
        named = {"its code": call.function, **{f"its argument {n + 1}": a for n, a in enumerate(call.args)}}
        named |= {f"its argument '{name}'": value for name, value in call.kwargs.items()}
        named |= {f"'{name}' of its environment": value for name, value in call.environment.items()}
        what = next((name for name, value in named.items() if not _can_pack(value)), "the call")
        raise DefinitionError(
            f"step '{call.path}': {what} cannot be sent to another process ({_said(error)}). "
            'Make it inside the step, or give the step worker="threads".'
        ) from None


def pack_outcome(outcome: Outcome, path: str) -> Parts:
    """The outcome as bytes; a result that cannot be sent becomes a `DefinitionError`."""
    if isinstance(outcome.error, RunSuspended):
        return pack(Suspended())
    if outcome.error is None:
        try:
            return pack(outcome)
        except Exception as unpicklable:
            kind = type(outcome.value).__name__
            error: BaseException = DefinitionError(
                f"step '{path}': its result ({kind}) cannot be sent back from another process ({_said(unpicklable)}). "
                'Return something that can be pickled, or give the step worker="threads".'
            )
    else:
        error = outcome.error
    return pack(_failed(error))


def unpack_outcome(parts: Sequence[bytes | bytearray | memoryview]) -> Outcome | Suspended:
    """Inverse of `pack_outcome`."""
    try:
        found = unpack(parts)
    except Exception as unreadable:
        text = "".join(traceback.format_exception(unreadable))
        return Outcome(error=RemoteStepError("its result could not be opened here", _said(unreadable), text))
    if not isinstance(found, _Failed):
        assert isinstance(found, Outcome | Suspended)
        return found
    try:
        error = pickle.loads(found.pickled)
    except Exception:
        error = None
    return Outcome(error=error if isinstance(error, BaseException) else found.fallback)


def _failed(error: BaseException) -> _Failed:
    kind = type(error)
    text = "".join(traceback.format_exception(error))
    fallback = RemoteStepError(f"{kind.__module__}.{kind.__qualname__}", _said(error), text)
    import cloudpickle

    try:
        _teach_tblib(error)
        pickled = cloudpickle.dumps(error, protocol=_PROTOCOL)
    except Exception:  # whatever is in the exception: the fallback carries its text
        pickled = b""
    return _Failed(fallback, pickled)


def _teach_tblib(error: BaseException) -> None:
    """Register the exception, its causes and members with tblib.

    tblib rebuilds a class that has its own `__init__` without calling it. Builtins written in C have one too, and keep
    what they are made of only if it is called (UnicodeDecodeError, SyntaxError, SystemExit): for those it is.
    """
    from tblib import pickling_support

    pickling_support.install(error)
    seen: set[int] = set()
    found: list[BaseException | None] = [error]
    while found:
        one = found.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        found += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        kind = type(one)
        made_in_c = not isinstance(kind.__init__, FunctionType)
        if made_in_c and not isinstance(one, BaseExceptionGroup):
            copyreg.pickle(kind, partial(pickling_support.pickle_exception, builtin_inits=(kind.__init__,)))


def _said(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__


def _can_pack(value: Any) -> bool:
    try:
        pack(value)
    except Exception:
        return False
    return True
