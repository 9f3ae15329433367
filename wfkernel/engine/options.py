"""What a run is made of: the program it executes and the options it is executed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from wfkernel.engine.checkpointing import CheckpointPolicy, check_together, checkpoint_policy
from wfkernel.engine.clock import SYSTEM_CLOCK, Clock
from wfkernel.engine.core import Core
from wfkernel.engine.hooks import Hooks
from wfkernel.engine.limits import Limits
from wfkernel.engine.memory import RunStore
from wfkernel.engine.migration import StateMigration, newest
from wfkernel.engine.recorder import Durability
from wfkernel.engine.result import RunInfo
from wfkernel.engine.scope import ConflictRule, StateScope
from wfkernel.engine.state import RunState
from wfkernel.engine.values import Codec
from wfkernel.plan.shape import Shape
from wfkernel.plan.step import StepSpec

if TYPE_CHECKING:
    from wfkernel.settings import Settings

__all__ = ["Callback", "Options", "Program"]

Callback = Callable[[RunInfo], Any]


@dataclass(slots=True)
class Options:
    """How the runs of a workflow are run."""

    store: RunStore | None = None
    codec: Codec | None = None
    durability: Durability = field(default_factory=lambda: _settings().durability)
    checkpoints: CheckpointPolicy | str | None = field(default_factory=lambda: _settings().checkpoints)
    """When checkpoints are made by themselves."""
    clock: Clock = SYSTEM_CLOCK
    hooks: Hooks | None = None
    limits: Limits = field(default_factory=lambda: Limits(concurrency=_settings().concurrency))
    worker: str = field(default_factory=lambda: _settings().worker)
    """Where steps that are plain functions and name no worker execute."""
    migrations: Sequence[StateMigration] = ()
    """The way from older versions of the state, see `wfkernel.engine.migration`."""
    conflict: ConflictRule = "last"
    validate: bool = True
    park: float | None = None
    """A sleep longer than this many seconds ends the process's work on the run: `wake` takes it up when it is time."""
    on_start: Callback | None = None
    on_finish: Callback | None = None
    on_error: Callback | None = None
    rollback_to: str = ""
    """The step whose state a run that fails goes back to, or `START`; empty: it keeps what it set."""

    def __post_init__(self) -> None:
        if self.codec is None and isinstance(self.store, Codec):  # a store that knows how to keep values
            self.codec = self.store
        self.checkpoints = checkpoint_policy(self.checkpoints)
        check_together(self.durability, self.checkpoints)
        newest(self.migrations, "the workflow")


def _settings() -> Settings:
    from wfkernel.settings import settings

    return settings()


class Program(Protocol):
    """What a run executes: a plan, or a durable function."""

    id: str
    mode: str
    description: str
    template: str
    input_shape: Shape | None
    state_shape: Shape | None

    @property
    def on_drift(self) -> str: ...
    def check_runnable(self) -> None: ...
    def definition_digest(self) -> str: ...
    def kept(self) -> dict[str, Any]: ...
    async def execute(self, core: Core, value: Any, scope: StateScope) -> Any: ...
    def spec_at(self, path: str) -> StepSpec | None: ...
    def plan_travel(
        self, state: RunState, target: str, given: Mapping[str, Any], has_input: bool
    ) -> dict[str, Any]: ...
