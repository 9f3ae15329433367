"""Lengths of time as people write them: ``5``, ``"1.5s"``, ``"2h 30m"``, ``timedelta(days=1)``; and points in time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from wfkernel.errors import DefinitionError

__all__ = ["Duration", "seconds", "timestamp"]

Duration = float | int | str | timedelta

LONGEST: Final = 3.2e10
"""Seconds; dates further off have no place in a calendar of four digits."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)")


def seconds(duration: Duration) -> float:
    """A duration in seconds; a negative one is 0. Raises `DefinitionError` for what is not a duration."""
    if isinstance(duration, timedelta):
        return max(0.0, duration.total_seconds())
    if isinstance(duration, str):
        total, end = 0.0, 0
        while (part := _PART.match(duration, end)) is not None:
            total, end = total + float(part[1]) * _UNITS[part[2]], part.end()
        if end == 0 or duration[end:].strip():
            raise DefinitionError(
                f"'{duration}' is not a duration. Write seconds, or like '500ms', '5m', '2h 30m', '1d'."
            )
        return _bounded(duration, total)
    if isinstance(duration, bool) or not isinstance(duration, int | float) or duration != duration:
        raise DefinitionError(f"{duration!r} is not a duration. Write seconds, a timedelta, or like '5m', '2h 30m'.")
    return _bounded(duration, max(0.0, float(duration)))


def _bounded(duration: Duration, length: float) -> float:
    if length > LONGEST:
        raise DefinitionError(f"{duration!r} is longer than a thousand years.")
    return length


def timestamp(moment: datetime | float | int | str) -> float:
    """A point in time in seconds since the epoch; a datetime without a zone is local time, text is ISO 8601."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise DefinitionError(f"'{moment}' is not a date and time in ISO 8601, like 2026-05-01T09:00.") from None
    if isinstance(moment, datetime):
        return moment.astimezone(UTC).timestamp()
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise DefinitionError(
            f"{moment!r} is not a point in time. Use a datetime, ISO text or seconds since the epoch."
        )
    if not -LONGEST < moment < 2 * LONGEST:  # NaN, too
        raise DefinitionError(f"{moment!r} is no point in time: seconds since 1970, please.")
    return float(moment)
