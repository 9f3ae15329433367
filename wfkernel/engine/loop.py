"""The engine's own event loop, in a thread: for scripts and for cells, whose own loop must not be blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from wfkernel.errors import WorkflowError

__all__ = ["engine_loop", "run_sync"]

T = TypeVar("T")

SETTLE_SECONDS: Final = 5.0

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def engine_loop() -> asyncio.AbstractEventLoop:
    """The loop, started on first use and after a fork."""
    global _loop, _thread
    with _lock:
        if _loop is None or _thread is None or not _thread.is_alive():
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="wfkernel-engine", daemon=True)
            _thread.start()
        return _loop


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the engine's loop and wait for it.

    An interrupt cancels it, and is raised when the coroutine has ended, or takes longer than `SETTLE_SECONDS` to.
    """
    if threading.current_thread() is _thread:
        work.close()
        raise WorkflowError(
            "the blocking form was called from a step on the engine's loop: use the async form with await."
        )
    ended = threading.Event()

    async def followed() -> T:
        try:
            return await work
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(followed(), engine_loop())
    try:
        return future.result()
    except BaseException:
        if not ended.is_set():
            future.cancel()
            ended.wait(SETTLE_SECONDS)
        raise
