"""What DuckDB overwrites while it moves its write-ahead log into its file, kept aside until that is done.

DuckDB's own checkpoint (not to be confused with ours) writes blocks where nothing lies and then, in one page, the head
that points to them: a process killed before that leaves what was there. With one exception, in 1.5 and 2.0 alike: blocks
of metadata, 256 KiB each, are written again where they stand, and a process killed in the middle of one leaves a file
whose checksum is wrong and that nobody can open any more. (`tests/soak/torn.py` kills at that moment.)

So DuckDB makes no checkpoint on its own account here, and before we ask for one the blocks of metadata and the heads are
copied to ``<file>.undo``: what SQLite calls a rollback journal. Who opens the file next and finds that copy looks at the
heads. Are they the same, the checkpoint did not get to its end: the blocks are put back, and DuckDB reads its log again.
Are they others, it did, and the copy is of no more use.

Closing any descriptor of a file drops all POSIX locks the process has on it, DuckDB's too. The one used here therefore
stays open as long as the process has the file open, through however many connections.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfkernel.store.disk import sync_folder

if TYPE_CHECKING:
    import duckdb

__all__ = ["Undo"]

_HEADS: Final = 4096, 12288
"""From where to where DuckDB's two heads stand, the older of which a checkpoint overwrites; the blocks follow."""
_FRAME: Final = struct.Struct("<QQ")
"""Offset and length of the bytes that follow."""
_MAGIC: Final = b"wfundo1\n"


class Undo:
    """The copy beside the DuckDB file at `path`, for the one process whose turn it is with the file.

    `mend` before DuckDB opens it, `hold` after, `checkpoint` instead of ``CHECKPOINT``, `release` once it is closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.copy = path.with_name(f"{path.name}.undo")
        self._descriptor = -1
        self._holders = 0

    def mend(self) -> bool:
        """Put back what an interrupted checkpoint overwrote; returns whether there was something to put back."""
        if self._holders:
            return False
        try:
            kept = self.copy.read_bytes()
        except FileNotFoundError:
            return False
        mended = False
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                frames = _frames(kept)
                if frames and frames[0][1] == os.pread(descriptor, _HEADS[1] - _HEADS[0], _HEADS[0]):
                    for offset, content in frames[1:]:
                        os.pwrite(descriptor, content, offset)
                    os.fsync(descriptor)
                    mended = True
            finally:
                os.close(descriptor)
        self.copy.unlink(missing_ok=True)
        return mended

    def hold(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Keep DuckDB, which has just opened the file, from checkpoints on its own account."""
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("SET GLOBAL checkpoint_threshold = '1TB'")
        if not self._holders:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        self._holders += 1

    def release(self) -> None:
        """One connection to the file was closed."""
        self._holders -= 1
        if not self._holders:
            os.close(self._descriptor)

    @property
    def log_bytes(self) -> int:
        """How much waits in DuckDB's write-ahead log."""
        try:
            return self.path.with_name(f"{self.path.name}.wal").stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Have DuckDB move its log into the file, so that a kill at any moment leaves a file that opens."""
        size = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()[0][0]
        blocks = [row[0] for row in connection.execute("SELECT block_id FROM pragma_metadata_info()").fetchall()]
        frames = [(_HEADS[0], os.pread(self._descriptor, _HEADS[1] - _HEADS[0], _HEADS[0]))]
        frames += [(at, os.pread(self._descriptor, size, at)) for at in (_HEADS[1] + block * size for block in blocks)]
        content = _MAGIC + b"".join(_FRAME.pack(at, len(kept)) + kept for at, kept in frames)
        unfinished = self.copy.with_name(f"{self.copy.name}.tmp")
        with unfinished.open("wb") as file:
            file.write(content + hashlib.blake2b(content, digest_size=16).digest())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.copy)
        sync_folder(self.copy.parent)
        connection.execute("CHECKPOINT")
        self.copy.unlink()

    def copy_to(self, target: Path) -> None:
        """Copy the file as it stands."""
        with target.open("wb") as file:
            at = 0
            while part := os.pread(self._descriptor, 1 << 20, at):
                file.write(part)
                at += len(part)


def _frames(kept: bytes) -> list[tuple[int, bytes]]:
    """The offsets and bytes of a copy; empty if it is not whole."""
    content, digest = kept[:-16], kept[-16:]
    if not content.startswith(_MAGIC) or hashlib.blake2b(content, digest_size=16).digest() != digest:
        return []
    frames = []
    at = len(_MAGIC)
    while at < len(content):
        offset, length = _FRAME.unpack_from(content, at)
        at += _FRAME.size
        frames.append((offset, content[at : at + length]))
        at += length
    return frames
