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
        memory: how many bytes the process that executes the run, and the processes it started, may occupy; then the run
            fails with `MemoryLimit`.
        cpu: how many seconds of CPU time these processes may use from when this process took the run up; then `CpuLimit`.

    Memory and CPU time are those of whole processes: what else they do counts too. Both are looked at before every step
    and a few times a second; a step that occupies the event loop or a thread is not interrupted, the run fails after it.
    """

    iterations: int | None = None
    seconds: float | None = None
    concurrency: int | None = None
    memory: int | None = None
    cpu: float | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "seconds", "concurrency", "memory", "cpu"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise DefinitionError(f"the limit {name} must be above 0, not {value!r}.")
