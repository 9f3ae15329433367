"""The journal: this process's own append-only file in front of DuckDB.

A step counts as finished once its event is appended here and fdatasync-ed (about 0.15 ms; a DuckDB commit takes five
times as long and needs the database lock). A file is a sequence of frames, each

    <u32 length> <u32 crc32 of the body> <body: JSON array of events>

so a torn write at the end of a file is recognised and cut. Behind the last frame stand zeros: the file is made longer in
steps before its bytes are needed, because an fdatasync that need not write the file's new length as well takes a third
less. What closes a journal in order takes the zeros off. Threads that wait for the disk at the same time share one
fdatasync: whoever comes first syncs what all have written. Frames are moved to DuckDB in batches by
`wfkernel.store.database`, which records the offset it has reached in the same transaction: every frame lands exactly
once, whoever moves it. A full file is followed by the next one (`<owner>.1.wfj`, `<owner>.2.wfj`, ...).
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wfkernel.engine.events import Event, encode_events, to_json
from wfkernel.errors import StoreError
from wfkernel.store.disk import sync_folder, write_all

__all__ = [
    "SUFFIX",
    "Journal",
    "TornTail",
    "events_of",
    "frame_bytes",
    "goes_on",
    "join_frames",
    "owner_of",
    "read_frames",
    "removed",
]

SUFFIX: Final = ".wfj"
ROTATE_BYTES: Final = 16 * 1024 * 1024
ZEROS: Final = bytes(1 << 18)
"""By how much a file is made longer at most; the first step is `FIRST_BYTES` and each is twice the one before."""
FIRST_BYTES: Final = 1 << 14
READ_BYTES: Final = 1 << 18
LOOK_SECONDS: Final = 0.2
"""How often it is made sure that the file is still where it was made."""
_HEADER: Final = struct.Struct("<II")
_NOTHING: Final = bytes(_HEADER.size)
_sync = getattr(os, "fdatasync", os.fsync)


class TornTail(Exception):
    """The bytes after `offset` are not a whole, intact frame."""

    def __init__(self, offset: int, complete: bool) -> None:
        self.offset = offset
        self.complete = complete
        """True when a whole frame is there but its checksum is wrong (damage, not an unfinished write)."""
        super().__init__(offset)


def removed(folder: Path) -> StoreError:
    """What to tell when the folder of a store is gone."""
    return StoreError(
        f"the store in {folder} was removed or moved while this process used it: put it back, or restart this process "
        "(the kernel) to begin anew in another. Nothing more is written until then."
    )


def owner_of(file: Path) -> str:
    """The identity of the process that writes (or wrote) the journal `file`."""
    return file.name.removesuffix(SUFFIX).rpartition(".")[0]


class Journal:
    """The writing end. Safe to use from several threads; belongs to one process."""

    def __init__(self, folder: Path, owner: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._owner = folder, owner
        self._lock = threading.Lock()
        """For writing."""
        self._sync_lock = threading.Lock()
        """For fdatasync and for changing files; taken before `_lock`, and never while holding it."""
        self._written = self._synced = 0
        """Bytes over all files: written, and of those on disk for certain."""
        self._failed: OSError | None = None
        self._looked = 0.0
        self._number = 0
        self._fd = -1
        self._size = self._reserved = 0
        """Bytes of frames in the file, and with the zeros behind them."""
        self._open_next()

    def _open_next(self) -> None:
        if self._fd >= 0:
            self._end()
        self._number += 1
        self.file = self._folder / f"{self._owner}.{self._number}{SUFFIX}"
        self._fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._size = self._reserved = 0
        sync_folder(self._folder)  # so that the new file itself survives a power cut

    def append(self, events: list[Event], *, durable: bool) -> int:
        """Write `events` as one frame. Returns its bytes after fdatasync when `durable`, else when the kernel has them."""
        body = encode_events(events)
        frame = _HEADER.pack(len(body), zlib.crc32(body)) + body
        with self._lock:
            if self._fd < 0:
                raise ValueError("the journal is closed")
            if self._failed is not None:
                raise self._failed
            if (now := time.monotonic()) - self._looked > LOOK_SECONDS:
                self._make_sure_it_is_there()
                self._looked = now
            if self._size + len(frame) > self._reserved:
                self._reserve(len(frame))
            try:
                write_all(self._fd, frame)
            except OSError:  # a full disk: the half of a frame that was written must not stand before the next one
                self._cut()
                raise
            self._size += len(frame)
            self._written += len(frame)
            position, full = self._written, self._size >= ROTATE_BYTES
        if durable:
            self._sync_up_to(position)
        if full:
            self._rotate()
        return len(frame)

    def _make_sure_it_is_there(self) -> None:
        """What is written to a file that was removed, or is moved elsewhere, nobody would find. Raises `StoreError`."""
        try:
            if os.path.samestat(os.stat(self.file), os.fstat(self._fd)):
                return
        except FileNotFoundError:
            pass
        raise removed(self._folder.parent)

    def _reserve(self, wanted: int) -> None:
        """Make the file longer, so that `wanted` more bytes and some have their place. A full disk is for the write to say."""
        if not hasattr(os, "pwrite"):
            return
        step = min(max(self._reserved, FIRST_BYTES), len(ZEROS))
        start = max(self._reserved, self._size + wanted)
        with contextlib.suppress(OSError):
            self._reserved = start + os.pwrite(self._fd, ZEROS[:step], start)

    def _cut(self) -> None:
        """Take off what stands behind the last frame."""
        os.ftruncate(self._fd, self._size)
        os.lseek(self._fd, self._size, os.SEEK_SET)
        self._reserved = self._size

    def _end(self) -> None:
        self._cut()
        _sync(self._fd)
        os.close(self._fd)

    def sync(self) -> None:
        """Everything written so far is on disk when this returns."""
        self._sync_up_to(self._written)

    def _sync_up_to(self, position: int) -> None:
        with self._sync_lock:
            if self._synced < position:  # else another thread's fdatasync took these bytes along
                reached = self._written
                try:
                    _sync(self._fd)
                except OSError as error:
                    # What is on disk now is unknown and a second fdatasync would not tell: this journal is at its end.
                    self._failed = error
                    raise
                self._synced = reached

    def _rotate(self) -> None:
        with self._sync_lock, self._lock:
            if self._size >= ROTATE_BYTES and self._fd >= 0:
                self._open_next()
                self._synced = self._written

    def close(self) -> None:
        with self._sync_lock, self._lock:
            if self._fd >= 0:
                self._end()
                self._synced = self._written
                self._fd = -1


def frame_bytes(file: Path) -> int:
    """How much of a journal is frames: its length without the zeros at its end."""
    with file.open("rb", buffering=0) as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - len(ZEROS)))
        end = handle.read()
    return size - len(end) + len(end.rstrip(b"\0"))


def goes_on(file: Path, offset: int) -> bool:
    """Whether anything stands in a journal behind the frames that end at `offset`."""
    with file.open("rb", buffering=0) as handle:
        handle.seek(offset)
        return handle.read(_HEADER.size).strip(b"\0") != b""


def read_frames(file: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset after the frame, its body) from `offset` on; raises `TornTail` if the rest is not intact."""
    with file.open("rb", buffering=READ_BYTES) as handle:
        handle.seek(offset)
        read, size = handle.read, _HEADER.size
        while header := read(size):
            if header == _NOTHING:
                return
            if len(header) < size:
                raise TornTail(offset, complete=False)
            length, checksum = _HEADER.unpack(header)
            body = read(length)
            if len(body) < length or zlib.crc32(body) != checksum:
                raise TornTail(offset, complete=_is_whole(body, length, checksum))
            offset += size + length
            yield offset, body


def _is_whole(body: bytes, length: int, checksum: int) -> bool:
    """Whether what does not fit its header was once written to its end, and was changed since."""
    written = body.rstrip(b"\0")
    if len(written) == length or b"\0" in written:  # no frame has a zero byte in its body, the next one's header has
        return True
    return written != b"" and zlib.crc32(written) == checksum  # the length was changed


def events_of(run_id: str, body: bytes) -> list[Event]:
    """The events of one run in the body of a frame."""
    if to_json(run_id).encode("utf-8") not in body:  # most frames are other runs'
        return []
    return [Event(*row) for row in json.loads(body) if row[0] == run_id]


def join_frames(bodies: list[bytes]) -> str:
    """Several bodies as one: the JSON text of an array of events."""
    return "[" + b",".join(body[1:-1] for body in bodies).decode("utf-8") + "]"
