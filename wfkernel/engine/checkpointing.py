"""When the checkpoints of a run are made by themselves.

A policy is written the same way everywhere, in ``Workflow(checkpoints=...)``, on a ``%workflow set`` line and behind
``wf run --checkpoints``: words that are joined by commas.

    every step · 10 steps · 30s · 10 steps, 5m, keep 3 · manual

Checkpoints themselves are the store's business (`wfkernel.store.checkpoints`): a store that can make them offers
`auto_checkpoint`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from wfkernel.engine.events import Event
from wfkernel.errors import DefinitionError
from wfkernel.plan.duration import seconds

__all__ = ["CheckpointPolicy", "CheckpointStore", "Follower", "check_together", "checkpoint_policy"]

_STEPS: Final = re.compile(r"(?:every )?(?:(\d+) steps?|step)")
_KEEP: Final = re.compile(r"keep (\d+)")


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """When checkpoints are made by themselves: after every `steps` finished steps, every `seconds`, or never (manual)."""

    steps: int | None = None
    seconds: float | None = None
    keep: int | None = None
    """How many of those made by the policy a run keeps; None: all."""

    def __post_init__(self) -> None:
        for name in ("steps", "seconds", "keep"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise DefinitionError(f"checkpoint policy: {name} has to be above 0, not {value}")

    @property
    def is_manual(self) -> bool:
        return self.steps is None and self.seconds is None

    def __str__(self) -> str:
        parts = [f"every {self.steps} steps" if self.steps > 1 else "every step"] if self.steps else []
        parts += [f"every {self.seconds:g} s"] if self.seconds else []
        parts += [f"keep {self.keep}"] if self.keep and parts else []
        return ", ".join(parts) or "manual"


def checkpoint_policy(said: CheckpointPolicy | str | None) -> CheckpointPolicy:
    """The policy somebody wrote; None is ``manual``. Raises `DefinitionError`."""
    if said is None or isinstance(said, CheckpointPolicy):
        return said or CheckpointPolicy()
    steps: int | None = None
    interval: float | None = None
    keep: int | None = None
    for part in (" ".join(part.split()) for part in said.split(",")):
        if part == "manual":
            continue
        if found := _STEPS.fullmatch(part):
            steps = int(found[1] or 1)
        elif found := _KEEP.fullmatch(part):
            keep = int(found[1])
        else:
            try:
                interval = seconds(part.removeprefix("every "))
            except DefinitionError:
                raise DefinitionError(
                    f"checkpoints '{said}': '{part}' is none of 'every step', 'N steps', a duration like '30s', 'keep N', 'manual'"
                ) from None
    return CheckpointPolicy(steps, interval, keep)


def check_together(durability: str, policy: CheckpointPolicy) -> None:
    """Refuse checkpoints of a run that is not written until it leaves. Raises `DefinitionError`."""
    if durability == "exit" and not policy.is_manual:
        raise DefinitionError(
            "durability 'exit' writes nothing before the run ends or suspends: there is nothing checkpoints could be made of"
        )


class Follower(Protocol):
    """Makes the checkpoints of one run: is given every event, and closed when the run leaves this process."""

    def __call__(self, event: Event) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class CheckpointStore(Protocol):
    """A store that can make checkpoints."""

    def auto_checkpoint(self, run_id: str, policy: CheckpointPolicy) -> Follower: ...
