"""The worker process: executes one call at a time, in its main thread, until its parent is gone.

Messages in: `surroundings` (folder, environment, import path of the parent, when they changed), `call`, `cancel`,
`exit`. Messages out: `begun` (from here on the function may have had effects), `step` (a call on the running step),
`stdout` and `stderr` (text written to sys.stdout and sys.stderr), `done` (the outcome).

stdin and stdout are the channel to the parent. The step gets an empty stdin, and whatever is written past Python to file
descriptors 1 and 2, by C code or by programs the step starts, goes to the pipe that is the process's stderr; so do crash
reports. After a call a mark is written there, which tells the parent that it has read all of the call's output.

The end of stdin means the parent has died, however it died: the process kills its own process group at once, programs
the step started included.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

from wfkernel.engine.signal import CancelSignal
from wfkernel.workers.capture import text_stream
from wfkernel.workers.channel import Channel, ChannelClosed
from wfkernel.workers.execute import Outcome, execute
from wfkernel.workers.remote import RemoteStep, open_call
from wfkernel.workers.shipping import Parts, pack_outcome, unpack

__all__ = ["MARK", "main"]

MARK: Final = b"\0wfkernel: end of output\0"


class _Terminated(SystemExit):
    """SIGTERM arrived: raised in the main thread, so that the step's `finally` blocks run."""


class _Child:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._calls: queue.SimpleQueue[tuple[Parts, CancelSignal]] = queue.SimpleQueue()
        self._signal = CancelSignal()

    def listen(self) -> None:
        """The thread that reads: it must notice the parent's end while a step is computing."""
        try:
            while True:
                self._take(*self._channel.receive())
        except ChannelClosed:
            _end_all()
        except BaseException:  # a surrounding that cannot be had; without this thread the process is of no use
            traceback.print_exc()
            os._exit(70)

    def _take(self, kind: bytes, parts: Sequence[bytearray]) -> None:
        if kind == b"call":
            self._signal = CancelSignal()
            self._calls.put((list(parts), self._signal))
        elif kind == b"cancel":
            self._signal.set(parts[0].decode())
        elif kind == b"surroundings":
            _move_to(*unpack(parts))
        elif kind == b"exit":
            self._calls.put(([], self._signal))

    def work(self) -> None:
        """Execute calls until told to exit."""
        while True:
            parts, cancel = self._calls.get()
            if not parts:
                return
            self._execute(parts, cancel)

    def _execute(self, parts: Parts, cancel: CancelSignal) -> None:
        path = ""
        try:
            step = RemoteStep(lambda parts: self._channel.send(b"step", *parts))
            call = open_call(parts, step, cancel)
            path = call.path
            self._channel.send(b"begun")
            outcome = execute(call, step, cancel)
            del call
        except Exception as error:  # the call cannot be opened here: a module that is missing, say
            outcome = Outcome(error=error)
        if isinstance(outcome.error, _Terminated):
            raise outcome.error
        sys.stdout.flush()
        sys.stderr.flush()
        reply = pack_outcome(outcome, path)
        with contextlib.suppress(OSError):  # the step closed it
            os.write(2, MARK + b"\n")
        self._channel.send(b"done", *reply)


def _move_to(folder: str, environment: dict[str, str], path: list[str]) -> None:
    """Be where the parent is: a notebook changes its folder and its environment between two cells."""
    sys.path[:] = path
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    os.chdir(folder)


def _end_all() -> NoReturn:
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(143)


def main() -> None:
    """What the worker process runs."""
    reader = io.BufferedReader(io.FileIO(os.dup(0)), 1 << 16)
    writer = io.FileIO(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    channel = Channel(reader, writer)
    sys.stdout = sys.__stdout__ = text_stream("stdout", lambda data: channel.send(b"stdout", data))  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = text_stream("stderr", lambda data: channel.send(b"stderr", data))  # type: ignore[misc]
    sys.stdin = open(os.devnull)  # noqa: SIM115 - for the life of the process
    faulthandler.enable(2)
    signal.signal(signal.SIGTERM, _terminate)
    child = _Child(channel)
    threading.Thread(target=child.listen, name="wfkernel-channel", daemon=True).start()
    child.work()
