"""How far a run may go: every limit has an error of its own name."""

from __future__ import annotations

from dataclasses import dataclass

from wfkernel.errors import DefinitionError

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run. None: no limit.

    Attributes:
        iterations: how often one loop may go round; then the run fails with `IterationLimit`.
        seconds: how long the run may take from its start, restarts and sleeps included; then `RunTimeout`. The time it
            is suspended counts too.
        concurrency: how many steps may execute at the same time; further ones wait.
    """

    iterations: int | None = None
    seconds: float | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "seconds", "concurrency"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise DefinitionError(f"the limit {name} must be above 0, not {value!r}.")
