"""Versions of the state that workflows and sessions keep, and the way from an older one.

    @state_migration(1, 2)
    def split_name(state):
        first, _, last = state.pop("name").partition(" ")
        return {**state, "first": first, "last": last}

    Workflow("onboard", state=Person, migrations=[split_name], ...)

The version of a workflow's state is where its migrations end; without any it is 1. A stored run carries the version it was
begun with. When it is taken up by code of a later version, the state it has by then goes through the migrations in turn,
and the result is written in the same atomic act that claims the run: either both happen or neither. What finished steps
set is part of that result from then on, so a migration sees a complete state, and a rollback cannot go behind it.
A run whose version no chain of migrations connects with the code is refused and stays as it is; so is one whose model was
changed without a migration (`wfkernel.engine.state_model`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfkernel.errors import DefinitionError, StateMigrationError

__all__ = ["FIRST", "StateMigration", "Version", "migrated", "newest", "state_migration"]

Version = int | str
FIRST: Version = 1
"""The version of a state nobody has migrated yet."""


@dataclass(frozen=True, slots=True)
class StateMigration:
    """One step of a way: makes the state of version `to` from one of version `from_`."""

    function: Callable[[dict[str, Any]], Mapping[str, Any]]
    from_: Version
    to: Version

    def __call__(self, state: dict[str, Any]) -> Mapping[str, Any]:
        return self.function(state)

    def __str__(self) -> str:
        return f"{getattr(self.function, '__name__', 'migration')} ({self.from_} to {self.to})"


def state_migration(
    from_: Version, to: Version
) -> Callable[[Callable[[dict[str, Any]], Mapping[str, Any]]], StateMigration]:
    """Make ``f(state) -> state`` the migration of a state from one version to another.

    It gets the whole state as a dict it may change, and returns the new one. Versions are numbers or text; a state is 1
    before its first migration. Hand migrations to ``Workflow(migrations=[...])``, `@workflow` or `Session`.
    """
    if from_ == to:
        raise DefinitionError(f"a state migration leads from one version to another, not from {from_} to {to}")
    return lambda function: StateMigration(function, from_, to)


def newest(migrations: Sequence[StateMigration], whose: str) -> Version:
    """The version all `migrations` lead to. Raises `DefinitionError` when it is not one."""
    starts = [m.from_ for m in migrations]
    twice = [version for version in starts if starts.count(version) > 1]
    if twice:
        raise DefinitionError(f"{whose} has two state migrations from version {twice[0]}: keep one")
    ends = dict.fromkeys(m.to for m in migrations if m.to not in starts)
    if len(ends) > 1 or (migrations and not ends):
        found = " and ".join(map(str, ends)) or "nowhere, they go in a circle"
        raise DefinitionError(f"the state migrations of {whose} lead to {found}: they have to end at one version")
    return next(iter(ends), FIRST)


def migrated(
    state: dict[str, Any], version: Version, migrations: Sequence[StateMigration], whose: str
) -> dict[str, Any]:
    """The state brought from `version` to the newest. Raises `StateMigrationError` and leaves `state` as it is."""
    target = newest(migrations, whose)
    ways = {m.from_: m for m in migrations}
    state = dict(state)
    while version != target:
        way = ways.get(version)
        if way is None:
            raise StateMigrationError(
                f"{whose} has state version {version}, the code has version {target}, and no migration leads on from "
                f"{version}: add one, @state_migration({version!r}, ...), or run the code the state was written by. "
                "Nothing was changed."
            )
        try:
            found = way(state)
        except Exception as error:
            raise StateMigrationError(
                f"the state migration {way} of {whose} failed: {type(error).__name__}: {error}. Nothing was changed."
            ) from error
        if not isinstance(found, Mapping):
            raise StateMigrationError(
                f"the state migration {way} of {whose} returned {type(found).__name__}, not the state. Nothing was changed."
            )
        state, version = dict(found), way.to
    return state
