"""A run in the background: a process of its own that outlives the terminal, its output in a log beside the store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["begun", "log_of", "spawn"]

_LOOKS_EVERY: Final = 0.2


def log_of(store: Store, run_id: str) -> Path:
    """Where a run in the background prints."""
    return store.path.parent / "logs" / f"{run_id}.log"


def spawn(store: Store, run_id: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start ``wf ARGUMENTS`` as a process that no longer depends on this one."""
    log = log_of(store, run_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "wfkernel", *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
        )  # fmt: skip


def begun(store: Store, run_id: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the run is in the store, so that other commands find it; False if its process ended before."""
    while not store.exists(run_id):
        if process.poll() is not None:
            return store.exists(run_id)
        time.sleep(_LOOKS_EVERY)
    return True
