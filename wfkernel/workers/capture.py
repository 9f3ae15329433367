"""Text written to sys.stdout and sys.stderr in another process, as bytes for the process that asked."""

from __future__ import annotations

import contextvars
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

__all__ = ["capturing", "print_here", "text_stream"]

Name = Literal["stdout", "stderr"]
_FD: Final[dict[Name, int]] = {"stdout": 1, "stderr": 2}


class _Bytes(io.RawIOBase):
    def __init__(self, send: Callable[[bytes], None], fd: int) -> None:
        self._send, self._fd = send, fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd  # for programs that are started with `stdout=sys.stdout`

    def write(self, data: Any) -> int:
        self._send(bytes(data))
        return len(data)


def text_stream(name: Name, send: Callable[[bytes], None]) -> io.TextIOWrapper:
    """A stand-in for sys.stdout or sys.stderr that gives UTF-8 to `send`, line by line and at every flush."""
    buffer = io.BufferedWriter(_Bytes(send, _FD[name]))
    return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=True)


def print_here(name: Name, text: str) -> None:
    """Write text that came from elsewhere to this process's stream of that name."""
    stream = getattr(sys, name)
    stream.write(text)
    stream.flush()


_captured: contextvars.ContextVar[dict[Name, io.TextIOWrapper] | None] = contextvars.ContextVar(
    "wfkernel_captured", default=None
)


class _ByContext:
    """sys.stdout of a process whose threads belong to several steps: each writes to its own stream."""

    def __init__(self, name: Name, usual: Any) -> None:
        self._name, self._usual = name, usual

    def __getattr__(self, attribute: str) -> Any:
        captured = _captured.get()
        return getattr(self._usual if captured is None else captured[self._name], attribute)


@contextmanager
def capturing(send: Callable[[Name, bytes], None]) -> Iterator[None]:
    """Within the block, what this context (thread, task) writes goes to `send`; the rest of the process is not touched."""
    for name in _FD:
        if not isinstance(getattr(sys, name), _ByContext):
            setattr(sys, name, _ByContext(name, getattr(sys, name)))
    streams: dict[Name, io.TextIOWrapper] = {
        "stdout": text_stream("stdout", lambda data: send("stdout", data)),
        "stderr": text_stream("stderr", lambda data: send("stderr", data)),
    }
    token = _captured.set(streams)
    try:
        yield
    finally:
        _captured.reset(token)
        for stream in streams.values():
            stream.flush()
