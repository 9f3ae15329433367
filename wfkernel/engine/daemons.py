"""A bounded pool of daemon threads from which a job can be given up.

`concurrent.futures.ThreadPoolExecutor` would do but for two things, which are what steps need: it waits for its threads
when the interpreter ends, so one step that hangs keeps a kernel from ever exiting; and a job nobody waits for any more
holds its place in the pool, so a few timed out steps make the pool stand still.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["DaemonThreads"]

Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class DaemonThreads:
    """At most `size` jobs at a time; threads are started when needed and kept."""

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._wake = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._threads = 0
        self._idle = 0
        self._leaving = 0
        self._given_up: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have a thread call `function(*args)`. The future can be cancelled until a thread takes it up."""
        future: Future[Any] = Future()
        with self._wake:
            self._jobs.append((future, function, args))
            self._staff()
        return future

    def give_up(self, future: Future[Any]) -> None:
        """Nobody waits for this job any more: its thread no longer counts, and ends when the job does."""
        with self._wake:
            if future.running() and future not in self._given_up:
                self._given_up.add(future)
                self._threads -= 1
                self._staff()

    def close(self) -> None:
        """Let the idle threads go. Running jobs go on; a later `submit` starts threads again."""
        with self._wake:
            self._leaving = self._idle
            self._wake.notify_all()

    def _staff(self) -> None:
        """Wake a thread for the next job, or start one. The lock is held."""
        if self._idle - self._leaving >= len(self._jobs):
            self._wake.notify()
        elif self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            future, function, args = job
            if future.set_running_or_notify_cancel():
                try:
                    result = function(*args)
                except BaseException as error:
                    future.set_exception(error)
                    del error
                else:
                    future.set_result(result)
                    del result
            with self._wake:
                if future in self._given_up:
                    self._given_up.remove(future)
                    return
            del job, future, function, args  # an idle thread must not keep a step's values alive

    def _next(self) -> Job | None:
        with self._wake:
            while not self._jobs:
                self._idle += 1
                self._wake.wait()
                self._idle -= 1
                if self._leaving:
                    self._leaving -= 1
                    self._threads -= 1
                    self._staff()  # for a job that came after `close`
                    return None
            return self._jobs.popleft()
