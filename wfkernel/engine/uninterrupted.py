"""Stretches of the main thread's work that an interrupt must not cut in two.

Python runs a signal handler between any two instructions of the main thread. Between writing an event and folding it
into the state, a `KeyboardInterrupt` would leave a run whose state and journal disagree. Whoever handles SIGINT asks
`deferred` first: inside such a stretch the interrupt is kept, and happens when the stretch ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["Uninterrupted", "deferred"]

_depth = 0
_kept: Callable[[], object] | None = None


class Uninterrupted:
    """``with Uninterrupted():`` a stretch that is not cut. Nothing but an attribute test away from the main thread."""

    __slots__ = ("_main",)

    def __enter__(self) -> None:
        global _depth
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            _depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        global _depth, _kept
        if self._main:
            _depth -= 1
            if _depth == 0 and _kept is not None:
                interrupt, _kept = _kept, None
                interrupt()


def deferred(interrupt: Callable[[], object]) -> bool:
    """For a signal handler: whether `interrupt` was kept for the end of the present stretch, instead of now."""
    global _kept
    if _depth == 0:
        return False
    _kept = interrupt
    return True
