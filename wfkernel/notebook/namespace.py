"""Where the values in the user's namespace come from, and whether they changed.

For every name a step reads we need the digest of its content. What a step bound was digested when it was checkpointed;
as long as the namespace still holds that very object, and no cell is known to have changed it in place, the digest holds
and no time is spent. Values from plain cells are digested when a step reads them. What is cheap to digest is digested
every time, since a change in place that nobody can see is possible anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from wfkernel.store.digest import digest_value

__all__ = ["Binding", "Namespace"]

CHEAP_SECONDS: Final = 0.001
_COLUMNAR: Final = frozenset({"pandas", "numpy", "polars", "pyarrow"})
_SCALARS: Final = (bool, int, float, str, bytes, type(None))
_MISSING: Final = object()


@dataclass(slots=True)
class Binding:
    """What is known about the object a name is bound to."""

    value: Any
    digest: str
    producer: str
    """The step that bound it, "" for a plain cell."""
    stale: bool = False
    """A cell may have changed the object in place since it was digested."""
    cheap: bool | None = None
    """Whether digesting takes so little time that it is done at every use; None: not tried yet."""


class Namespace:
    """The user's namespace with the origin of its values."""

    def __init__(self, user_ns: dict[str, Any]) -> None:
        self.values = user_ns
        self._bindings: dict[str, Binding] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def binding(self, name: str) -> Binding:
        """The binding of a name that is there, with an up to date digest."""
        value = self.values[name]
        known = self._bindings.get(name)
        if known is None or known.value is not value:
            known = self._bindings[name] = Binding(value, "", "", stale=True)
        if known.cheap is None and type(value).__module__.partition(".")[0] in _COLUMNAR:
            known.cheap = False
        if known.stale or known.cheap is not False:
            begun = time.perf_counter()
            digest = digest_value(value)
            known.cheap = time.perf_counter() - begun < CHEAP_SECONDS
            if known.digest and digest != known.digest:
                known.producer = ""  # changed in place: no longer what its step bound
            known.digest, known.stale = digest, False
        return known

    def peek(self, name: str) -> str | None:
        """The digest of what a name is bound to, if it is known or costs nothing to find; None otherwise."""
        if name not in self.values:
            return None
        value, known = self.values[name], self._bindings.get(name)
        if known is not None and known.value is value and not known.stale and not known.cheap:
            return known.digest
        same = known is not None and known.value is value
        return digest_value(value) if (same and known and known.cheap) or isinstance(value, _SCALARS) else None

    def producer(self, name: str) -> str:
        """The step that bound the object `name` is bound to now, as far as known; "" otherwise."""
        known = self._bindings.get(name)
        return known.producer if known is not None and known.value is self.values.get(name, _MISSING) else ""

    def bind(self, name: str, value: Any, producer: str, digest: str) -> None:
        """Note that step `producer` bound `name` to `value`, which has this digest, and put it in place."""
        self.values[name] = value
        self._bindings[name] = Binding(value, digest, producer)

    def touched(self, names: Iterable[str]) -> None:
        """A plain cell may have changed these objects in place."""
        for name in names:
            known = self._bindings.get(name)
            if known is not None:
                known.stale = True

    def forget_rebound(self) -> None:
        """Let go of objects the namespace no longer holds, so that they can be freed."""
        gone = [name for name, b in self._bindings.items() if self.values.get(name, _MISSING) is not b.value]
        for name in gone:
            del self._bindings[name]
