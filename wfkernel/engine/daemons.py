"""A bounded pool of daemon threads from which a job can be given up.

`concurrent.futures.ThreadPoolExecutor` would do but for two things, which are what steps need: it waits for its threads
when the interpreter ends, so one step that hangs keeps a kernel from ever exiting; and a job nobody waits for any more
holds its place in the pool, so a few timed out steps make the pool stand still. An idle thread waits for a lock of its
own, and the one that came last is woken first: a step costs one wake-up, of a thread that is still warm.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["DaemonThreads"]

Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class _Idle:
    """A thread that waits for its next job; `job` is None when it is to leave."""

    __slots__ = ("called", "job")

    def __init__(self) -> None:
        self.called = threading.Lock()
        self.called.acquire()
        self.job: Job | None = None


class DaemonThreads:
    """At most `size` jobs at a time; threads are started when needed and kept."""

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._idle: list[_Idle] = []
        self._threads = 0
        self._given_up: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have a thread call `function(*args)`. The future can be cancelled until a thread takes it up."""
        future: Future[Any] = Future()
        with self._lock:
            self._staff((future, function, args))
        return future

    def give_up(self, future: Future[Any]) -> None:
        """Nobody waits for this job any more: its thread no longer counts, and ends when the job does."""
        with self._lock:
            if future.running() and future not in self._given_up:
                self._given_up.add(future)
                self._threads -= 1
                if self._jobs:
                    self._staff(self._jobs.popleft())

    def close(self) -> None:
        """Let the idle threads go. Running jobs go on; a later `submit` starts threads again."""
        with self._lock:
            self._threads -= len(self._idle)
            for idle in self._idle:
                idle.called.release()
            self._idle.clear()

    def _staff(self, job: Job) -> None:
        """Give `job` to a thread, or have it wait for one. The lock is held."""
        if self._idle:
            idle = self._idle.pop()
            idle.job = job
            idle.called.release()
        elif self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._work, args=(job,), name=self._name, daemon=True).start()
        else:
            self._jobs.append(job)

    def _work(self, job: Job | None) -> None:
        idle = _Idle()
        while job is not None:
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
            del job, function, args  # an idle thread must not keep a step's values alive
            with self._lock:
                if future in self._given_up:
                    self._given_up.remove(future)
                    return
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    self._idle.append(idle)
            del future
            if job is None:
                idle.called.acquire()
                job, idle.job = idle.job, None
