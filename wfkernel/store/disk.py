"""Writing to a file descriptor completely, and making a folder entry survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["sync_folder", "write_all"]


def write_all(fd: int, data: bytes | memoryview) -> None:
    """`os.write` until nothing is left: a single call may write less than it was given."""
    written = os.write(fd, data)
    if written < len(data):
        view = memoryview(data)[written:]
        while view:
            view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """fsync a folder, without which a new or renamed file in it may be gone after a power cut."""
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the file system journals the entry
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
