"""What DuckDB and the operating system say of a store's file, as one line that says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfkernel.errors import StoreCorrupt, StoreError, StoreLocked, StoreTooNew, WorkflowError
from wfkernel.store.locks import Held

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.holder import Holder

__all__ = ["explain", "locked", "tells_of_damage", "tells_of_full_disk", "troubles"]

_FULL: Final = "No space left on device", "Disk quota exceeded", "File too large"
_DAMAGED: Final = "Corrupt database file", "Could not read enough bytes"


def troubles() -> tuple[type[Exception], ...]:
    """What the store's own threads may meet, for an ``except`` clause: asked only then, so DuckDB is not imported for it before."""
    from wfkernel.store.duck import duckdb

    return WorkflowError, duckdb.Error, OSError


def tells_of_damage(error: duckdb.Error) -> bool:
    """Whether a query failed because of what stands in the file: DuckDB checks a block when it first reads it."""
    from wfkernel.store.duck import duckdb

    damage = (duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)
    return isinstance(error, damage) or any(said in str(error) for said in _DAMAGED)


def tells_of_full_disk(error: Exception) -> str:
    """Which of the ways to be full it is, or ""."""
    return next((way for way in _FULL if way in str(error)), "")


def locked(path: Path, holder: Holder) -> StoreLocked:
    """Another process keeps the file open, and which one is known."""
    who = f"process {holder.pid} ({holder.command})"
    if holder.stopped:
        return StoreLocked(
            f"the store {path} is kept open by {who}, which is stopped: let it go on (fg, kill -CONT {holder.pid}) or end "
            "it; nothing written so far is lost."
        )
    return StoreLocked(
        f"the store {path} is kept open by {who}. Close it there, or set WFKERNEL_STORE to another file; nothing "
        "written so far is lost."
    )


def explain(error: Exception, path: Path) -> StoreError:
    """DuckDB's message as one line that says what to do."""
    text = str(error)
    if isinstance(error, Held) or "Could not set lock" in text or "being used by another process" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder.group(1)}" if holder else "another process"
        return StoreLocked(
            f"the store {path} is kept open by {who}. Close it there (a DuckDB shell, a script with duckdb.connect?) "
            "or set WFKERNEL_STORE to another file; nothing written so far is lost."
        )
    if "different configuration" in text:
        return StoreLocked(
            f"the store {path} is open in this process by other settings, as with duckdb.connect(..., read_only=True). "
            "Close that connection; nothing written so far is lost."
        )
    if isinstance(error, OSError):
        return StoreError(f"cannot open the store {path}: {error.strerror or error}")
    if way := tells_of_full_disk(error):
        return StoreError(
            f"the disk of the store {path} is full ({way}): free some space and try again; nothing written so far is lost."
        )
    if path.is_dir():
        return StoreError(f"the store is a file, and {path} is a folder: name a file in it")
    for reason in ("Permission denied", "Read-only file system"):
        if reason in text:
            return StoreError(f"cannot open the store {path}: {reason}")
    if "version number" in text:
        numbers = re.findall(r"version (?:number )?(\d+)", text)
        detail = f" (file format {numbers[0]}, readable {numbers[1]})" if len(numbers) > 1 else ""
        return StoreTooNew(f"the store {path} was written by a newer DuckDB{detail}. Upgrade: pip install -U duckdb")
    return StoreCorrupt(
        f"the store {path} cannot be read: {text.splitlines()[0]} `wf recover` brings back what can be "
        "read, from a backup too (--from FILE), and keeps the file; or move the file away to start a new store."
    )
