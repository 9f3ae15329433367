"""The parent's side of one worker process: start it, have it execute a call, end it.

Started as a fresh interpreter (never a fork of a kernel full of threads), in a session of its own: a Ctrl-C or a kernel
interrupt does not reach it, and it can be ended together with the programs its step started.
"""

from __future__ import annotations

import codecs
import contextlib
import contextvars
import io
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from multiprocessing.spawn import get_executable
from typing import Final, Literal

from wfkernel.workers.capture import print_here
from wfkernel.workers.channel import Channel, ChannelClosed
from wfkernel.workers.child import MARK
from wfkernel.workers.execute import Outcome
from wfkernel.workers.remote import Relay
from wfkernel.workers.shipping import Parts, Suspended, pack, unpack_outcome

__all__ = ["ProcessEnded", "WorkerProcess"]

LAST_LINES: Final = 50
"""How many lines of output a `WorkerDied` carries."""
_SETTLE_SECONDS: Final = 1.0
"""How long to wait for output that is still on its way when a process or a call has ended."""


class ProcessEnded(Exception):
    """The process ended before the call did. `begun` tells whether the function may have had effects."""

    def __init__(self, returncode: int, begun: bool, last_output: list[str]) -> None:
        super().__init__(returncode, begun, last_output)
        self.returncode, self.begun, self.last_output = returncode, begun, last_output


class WorkerProcess:
    """One worker process, executing one call at a time."""

    def __init__(self) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from wfkernel.workers.child import main; main()"
        executable = get_executable()
        self._process = subprocess.Popen(
            [os.fsdecode(executable), "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert isinstance(stdin, io.BufferedWriter)
        assert isinstance(stdout, io.BufferedReader)
        assert stderr is not None
        self._channel = Channel(stdout, stdin)
        self._output = stderr
        self.call_sent = threading.Event()
        """Set while a call is in flight; before that, `ask_to_end` would be lost."""
        self._surroundings: Parts = []
        self._last: deque[str] = deque([""], maxlen=LAST_LINES + 1)
        """Last lines of output of the call in flight, the last one still open."""
        self._noting = threading.Lock()
        self._context: contextvars.Context | None = None
        """Where output of the call in flight is printed."""
        self._marked = threading.Event()
        self._ended = threading.Event()
        self._killed = False
        self._killing = threading.Lock()
        self._draining = threading.Thread(target=self._drain, name="wfkernel-output", daemon=True)
        self._draining.start()
        threading.Thread(target=self._reap, name="wfkernel-reaper", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can execute calls, as far as is known."""
        return not self._killed and not self._ended.is_set()

    def execute(self, call: Parts, relay: Relay) -> Outcome | Suspended:
        """Have the process execute a pickled call; blocks until it is done. Raises `ProcessEnded`."""
        surroundings = pack((os.getcwd(), dict(os.environ), list(sys.path)))
        self._last.clear()
        self._last.append("")
        self._marked.clear()
        self._context = contextvars.copy_context()
        text = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in (b"stdout", b"stderr")}
        begun = False
        try:
            if surroundings != self._surroundings:
                self._channel.send(b"surroundings", *surroundings)
                self._surroundings = surroundings
            self._channel.send(b"call", *call)
            self.call_sent.set()
            while True:
                kind, parts = self._channel.receive()
                if kind == b"begun":
                    begun = True
                elif kind == b"step":
                    relay.receive(list(parts))
                elif kind == b"done":
                    self._marked.wait(_SETTLE_SECONDS)
                    return unpack_outcome(parts)
                else:
                    self._print("stderr" if kind == b"stderr" else "stdout", text[kind].decode(parts[0]))
        except ChannelClosed:
            if not self._ended.wait(_SETTLE_SECONDS):  # the step closed its file descriptors
                self.kill()
                self._ended.wait()
            self._draining.join(_SETTLE_SECONDS)
            raise ProcessEnded(self._process.returncode, begun, self._last_output()) from None
        finally:
            self.call_sent.clear()
            self._context = None

    def ask_to_end(self, reason: str) -> None:
        """Set the cancel signal of the call in flight."""
        with contextlib.suppress(ChannelClosed):
            self._channel.send(b"cancel", reason.encode())

    def terminate(self) -> None:
        """SIGTERM: the step's `finally` blocks run, then the process ends."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and the programs it started at once."""
        self._killed = True
        if hasattr(os, "killpg"):
            self._signal(signal.SIGKILL, group=True)
        else:
            self._process.kill()

    def close(self, grace: float) -> None:
        """Let an idle process end; one that does not within `grace` seconds is killed."""
        with contextlib.suppress(ChannelClosed):
            self._channel.send(b"exit")
        if not self._ended.wait(grace):
            self.kill()
            self._ended.wait()

    def _signal(self, number: int, *, group: bool = False) -> None:
        with self._killing:
            if self._process.returncode is None:  # else the id may be another's by now
                (os.killpg if group else os.kill)(self._process.pid, number)

    def _reap(self) -> None:
        """Wait for the process's end. What it started goes with it, or would keep its pipes open for ever."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            with self._killing:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process.wait()
        self._ended.set()

    def _drain(self) -> None:
        """Read what is written past Python."""
        for line in self._output:
            if MARK in line:
                line = line.partition(MARK)[0]
                if line:
                    self._print("stderr", line.decode("utf-8", "replace"))
                self._marked.set()
            else:
                self._print("stderr", line.decode("utf-8", "replace"))

    def _print(self, name: Literal["stdout", "stderr"], text: str) -> None:
        first, *more = text.split("\n")
        with self._noting:
            self._last[-1] += first
            self._last.extend(more)
        if self._context is not None:
            self._context.copy().run(print_here, name, text)

    def _last_output(self) -> list[str]:
        *ended, still_open = self._last
        return ([*ended, still_open] if still_open else ended)[-LAST_LINES:]
