"""When a failed attempt is followed by another one, and after how long.

The waits are those of exponential backoff with "full to equal" jitter (Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015): wait n is ``delay * backoff**n``, at most `cap`, of which the part `jitter` is random.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wfkernel.errors import DefinitionError

__all__ = ["RetryOn", "RetryPolicy"]

RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries` more attempts after the first. Times are in seconds."""

    retries: int = 0
    delay: float = 0.0
    backoff: float = 1.0
    """Factor from one wait to the next: 1 is a fixed delay, 2 doubles it."""
    jitter: float = 0.0
    """The part of a wait that is random, 0 to 1."""
    cap: float | None = None
    """No wait is longer."""
    retry_on: RetryOn | None = None
    """Exception class(es), or a function that tells for an exception; None retries every one."""

    def __post_init__(self) -> None:
        if not isinstance(self.retries, int) or isinstance(self.retries, bool) or self.retries < 0:
            raise DefinitionError(f"retries must be a whole number from 0, not {self.retries!r}.")
        if self.delay < 0 or self.backoff < 1 or not 0 <= self.jitter <= 1 or (self.cap is not None and self.cap < 0):
            raise DefinitionError(
                f"a retry needs delay >= 0, backoff >= 1, jitter from 0 to 1 and cap >= 0, not delay={self.delay!r}, "
                f"backoff={self.backoff!r}, jitter={self.jitter!r}, cap={self.cap!r}."
            )

    def applies_to(self, error: BaseException) -> bool:
        """Whether an attempt that ended with `error` may be repeated at all."""
        if self.retry_on is None:
            return True
        if isinstance(self.retry_on, type | tuple):
            return isinstance(error, self.retry_on)
        return bool(self.retry_on(error))

    def wait(self, failed: int, uniform: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the `failed`-th failed attempt (from 1)."""
        wait = self.delay * self.backoff ** (failed - 1)
        if self.cap is not None:
            wait = min(wait, self.cap)
        return wait * (1 - self.jitter * uniform()) if self.jitter else wait

    def changed(self, **options: Any) -> RetryPolicy:
        """The policy with those of `options` that are not None."""
        import dataclasses

        return dataclasses.replace(self, **{name: value for name, value in options.items() if value is not None})
