"""What became of a worker process, from its return code."""

from __future__ import annotations

import signal as signals

from wfkernel.engine.restarts import WorkerDied

__all__ = ["died"]


def died(path: str, returncode: int, last_output: list[str]) -> WorkerDied:
    """`WorkerDied` from a return code in the manner of `subprocess`: negative is a signal."""
    if returncode >= 0:
        return WorkerDied(path, returncode, "", last_output)
    try:
        name = signals.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return WorkerDied(path, None, name, last_output)
