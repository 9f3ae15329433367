"""What somebody did to a store as a whole: pruned it, brought it back, trusted it.

What is done to a run is an event of the run. This has no run, may delete the runs it is about, and has to be noted where the
database itself is what was damaged: so it is a line of JSON in a file beside the database, which is only ever appended to.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfkernel.engine.actor import actor
from wfkernel.errors import StoreError
from wfkernel.store.disk import write_all

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["deeds_file", "note_deed", "noted_deeds"]


def deeds_file(store: Store) -> Path:
    """Where they are noted."""
    return store.path.with_suffix(".history")


def note_deed(store: Store, what: str, detail: str) -> None:
    """Note that this process's user did something to the store. Raises `StoreError` if it cannot be written down."""
    line = json.dumps({"at": time.time(), **actor(), "what": what, "detail": detail}) + "\n"
    try:
        fd = os.open(deeds_file(store), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            write_all(fd, line.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreError(
            f"{what} {store.path}, which could not be noted in its history: {error.strerror or error}"
        ) from error


def noted_deeds(store: Store) -> Iterator[dict[str, Any]]:
    """What was noted, oldest first. A line that a crash cut short is left out."""
    try:
        lines = deeds_file(store).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue
