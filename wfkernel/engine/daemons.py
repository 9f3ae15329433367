"""A bounded pool of daemon threads from which a job can be given up.

`concurrent.futures.ThreadPoolExecutor` would do but for two things, which are what steps need: it waits for its threads
when the interpreter ends, so one step that hangs keeps a kernel from ever exiting; and a job nobody waits for any more
holds its place in the pool, so a few timed out steps make the pool stand still. An idle thread waits for a lock of its
own, and the one that came last is woken first: a step costs one wake-up, of a thread that is still warm.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["DaemonThreads"]


class _Job(Future[Any]):
    """A call for a thread, and its outcome."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__()
        self.call: tuple[Callable[..., Any], tuple[Any, ...]] | None = (function, args)
        self.over = False
        """Its thread is done with it and counts as free again."""
        self.given_up = False


class _Idle:
    """A thread that waits for its next job; `job` is None when it is to leave."""

    __slots__ = ("called", "job")

    def __init__(self) -> None:
        self.called = threading.Lock()
        self.called.acquire()
        self.job: _Job | None = None


_pools: weakref.WeakSet[DaemonThreads] = weakref.WeakSet()


class DaemonThreads:
    """At most `size` jobs at a time; threads are started when needed and kept."""

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self.begin()
        _pools.add(self)

    def begin(self) -> None:
        """Without threads: at first, and in a process that was forked, where those of its parent are not."""
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._idle: list[_Idle] = []
        self._threads = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have a thread call `function(*args)`. The future can be cancelled until a thread takes it up."""
        job = _Job(function, args)
        with self._lock:
            self._staff(job)
        return job

    def give_up(self, job: Future[Any]) -> None:
        """Nobody waits for this job, which `submit` gave, any more: its thread no longer counts, and ends when it does."""
        assert isinstance(job, _Job)
        with self._lock:
            if job.running() and not job.over and not job.given_up:
                job.given_up = True
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

    def _staff(self, job: _Job) -> None:
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

    def _work(self, job: _Job | None) -> None:
        idle = _Idle()
        while job is not None:
            done, result, error = job, None, None
            if begun := done.set_running_or_notify_cancel():
                assert done.call is not None
                function, args = done.call
                try:
                    result = function(*args)
                except BaseException as raised:
                    error = raised
                del function, args
            done.call = None
            with self._lock:
                done.over = True
                job = self._jobs.popleft() if self._jobs and not done.given_up else None
                if job is None and not done.given_up:
                    self._idle.append(idle)
            # Free before it says so: who waits for the outcome may have the next job for this very thread.
            if begun:
                if error is not None:
                    done.set_exception(error)
                else:
                    done.set_result(result)
            if done.given_up:
                return
            del done, result, error  # an idle thread must not keep a step's values alive
            if job is None:
                idle.called.acquire()
                job, idle.job = idle.job, None


def _after_fork() -> None:
    for pool in tuple(_pools):
        pool.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
