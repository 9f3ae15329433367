"""Content-addressed files: where a store keeps values that are too large for an event.

A file is named after the BLAKE3 digest of its bytes and lies in a folder named after the first two digits:
``<path>/3f/3f9a...``. It is written once and never changed. `BlobWriter` hashes while it writes: a large buffer goes to
the kernel and to the hash at the same time (both release the GIL), so hashing costs next to nothing on top of writing,
and no second copy of the data exists. Content below a limit never becomes a file; the writer hands it back.

Two hashes are taken in that one pass. The *digest* names the file and is what a signature of a pickle covers (see
`wfkernel.store.trust`), so it has to be cryptographic. The *checksum* is the content digest of frames and arrays and
verifies them when they are read; nothing in them is executed, so speed decides. For 100 MB on one core of a 2-core
machine xxh3 took 6 ms, BLAKE3 29 ms (16 ms on both cores), SHA-256 64 ms with the CPU's SHA instructions, BLAKE2b
125 ms, and writing the file 50 ms. xxh3 and BLAKE3 together still hide behind the write; pyarrow reads a frame of that
size in 7 to 12 ms, which leaves room for xxh3 only. See tests/benchmarks/frame_checkpoint.py.

Order of writing: temporary file, fsync, rename, fsync of the folder. A reader therefore sees a whole file or none, even
after a power cut, and two processes writing the same content do not disturb each other.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import re
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from blake3 import blake3
from xxhash import xxh3_128, xxh3_128_hexdigest

from wfkernel.errors import StoreError, ValueUnreadable
from wfkernel.store.disk import sync_folder, write_all

__all__ = ["BlobDir", "BlobWriter", "checked_name", "checksum_of", "digest_of"]

LARGE_WRITE: Final = 1 << 20
"""Buffers from this size on are hashed in a second thread while they are written; smaller ones are collected."""
WRITE_BEHIND: Final = 4 << 20
"""After this many bytes the kernel is told that they may go to the disk, so that fsync finds little left to do.

The advice is meant for data that will not be read again. Linux answers it by starting to write, and by dropping pages
that are on the disk already, which these are not. For 100 MB, write and fsync together took 73 instead of 101 ms.
"""
ASIDE: Final = ".gone"
"""Behind the name of a file of which it is being decided whether anybody needs it (`wfkernel.store.retention`)."""
MAPPED_SIZE: Final = 8 << 20
"""Files from this size on are mapped; reading a smaller one costs less, and holds no file descriptor."""

_NAME: Final = re.compile("[0-9a-f]{64}")

Buffer = bytes | bytearray | memoryview | mmap.mmap


def digest_of(data: Buffer) -> str:
    """The digest that names content: BLAKE3, 256 bits in hex."""
    return blake3(data, max_threads=blake3.AUTO if len(data) >= LARGE_WRITE else 1).hexdigest()


def checksum_of(data: Buffer) -> str:
    """What tells damage, and one content from another where nobody forges: xxh3, 128 bits in hex."""
    return xxh3_128_hexdigest(data)


def checked_name(digest: Any) -> str:
    """`digest`, if it is one. Raises `ValueUnreadable`."""
    if not (isinstance(digest, str) and _NAME.fullmatch(digest)):
        raise ValueUnreadable(f"{digest!r} does not name a value file; the record is damaged")
    return digest


class BlobWriter:
    """A binary file object for one blob. Use it as a context manager: what is not committed leaves no trace.

    `write` and `commit` raise `StoreError` when the disk refuses (full, read-only, ...).
    """

    closed = False

    def __init__(self, folder: BlobDir, *, durable: bool, in_memory: int = 0) -> None:
        """`durable`: once committed, a power cut cannot take the blob back.

        `in_memory`: content of up to this many bytes creates no file unless committed (see `content`).
        """
        self._folder, self._durable, self._in_memory = folder, durable, in_memory
        self._collected = bytearray()
        self._digest, self._checksum = blake3(), xxh3_128()
        self._hash_thread: ThreadPoolExecutor | None = None
        self._temporary: Path | None = None
        self._fd = -1
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hash_thread is not None:
            self._hash_thread.shutdown()
        if self._fd >= 0:
            os.close(self._fd)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def write(self, data: Any) -> int:
        """Append anything with the buffer protocol; returns its size in bytes."""
        view = memoryview(data).cast("B")
        self.size += len(view)
        if len(view) >= LARGE_WRITE:
            self._write_collected()
            self._write_out(view)
        else:
            self._collected += view
            if len(self._collected) >= max(LARGE_WRITE, self._in_memory + 1):
                self._write_collected()
        return len(view)

    def flush(self) -> None:
        """Part of the file protocol. Nothing reads the file before `commit`."""

    @property
    def content(self) -> bytes | None:
        """What was written if that is at most `in_memory` bytes, else None."""
        return bytes(self._collected) if self.size <= self._in_memory else None

    @property
    def checksum(self) -> str:
        """`checksum_of` what was written."""
        rest = self._checksum.copy()
        rest.update(self._collected)
        return rest.hexdigest()

    def commit(self) -> str:
        """Give the file its name, the digest, which is returned."""
        self._write_collected()
        digest = self._digest.hexdigest()
        target = self._folder.path_of(digest)
        try:
            self._name(target)
        except OSError as error:
            raise _refused(target, error) from error
        return digest

    def _update_hashes(self, view: memoryview) -> None:
        self._digest.update(view)
        self._checksum.update(view)

    def _write_collected(self) -> None:
        collected, self._collected = self._collected, bytearray()
        if collected or self._temporary is None:
            self._write_out(memoryview(collected))

    def _write_out(self, view: memoryview) -> None:
        try:
            if self._temporary is None:
                self._temporary = self._folder.path / f"{os.getpid()}-{secrets.token_hex(6)}.tmp"
                self._fd = _create(self._temporary)
            if len(view) < LARGE_WRITE:
                self._update_hashes(view)
                write_all(self._fd, view)
                return
            if self._hash_thread is None:
                self._hash_thread = ThreadPoolExecutor(1, "wfkernel-hash")
            hashed = self._hash_thread.submit(self._update_hashes, view)
            try:
                self._write_large(view)
            finally:
                hashed.result()
        except OSError as error:
            raise _refused(self._folder.path, error) from error

    def _write_large(self, view: memoryview) -> None:
        for begin in range(0, len(view), WRITE_BEHIND):
            offset = os.lseek(self._fd, 0, os.SEEK_CUR)
            piece = view[begin : begin + WRITE_BEHIND]
            write_all(self._fd, piece)
            if self._durable and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._fd, offset, len(piece), os.POSIX_FADV_DONTNEED)

    def _name(self, target: Path) -> None:
        assert self._temporary is not None
        known = self._is_there(target)
        if self._durable and not known:
            os.fsync(self._fd)
        os.close(self._fd)  # Windows neither renames nor removes an open file
        self._fd = -1
        if known:
            self._temporary.unlink()
        else:
            new_folder = not target.parent.exists()
            target.parent.mkdir(exist_ok=True)
            os.replace(self._temporary, target)
            if self._durable and new_folder:
                sync_folder(self._folder.path)
        self._temporary = None
        if self._durable:
            sync_folder(target.parent)

    def _is_there(self, target: Path) -> bool:
        """Whether the same content is in place already, whole; then as durable as this writer wants it.

        If it is, it counts as new, so that nobody deletes it for being unused.
        """
        try:
            fd = os.open(target, os.O_RDWR | getattr(os, "O_BINARY", 0))  # Windows syncs only what is open for writing
        except FileNotFoundError:
            return False
        try:
            os.utime(target)
            # Only now: who collects moves a file aside before looking at its age, and the path may have been followed before.
            if not os.path.samestat(os.stat(target), found := os.fstat(fd)) or found.st_size != self.size:
                return False
            content = xxh3_128()
            while part := os.read(fd, LARGE_WRITE):
                content.update(part)
            if content.digest() != self._checksum.digest():  # damaged since: what is written now takes its place
                return False
            if self._durable:  # whoever wrote it first may not have asked for it
                os.fsync(fd)
        except FileNotFoundError:  # just now taken for unused
            return False
        finally:
            os.close(fd)
        return True


class BlobDir:
    """A folder of content-addressed files. It is created with the first blob. Safe across threads and processes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def path_of(self, digest: str) -> Path:
        """Where the blob of this name lies, whether it exists or not."""
        name = checked_name(digest)  # a record from a foreign store must not lead out of the folder
        return self.path / name[:2] / name

    def put(self, content: Iterable[Any] | Callable[[BlobWriter], object], *, durable: bool = True) -> tuple[str, int]:
        """Store the chunks of `content`, or what it writes when called with a file object: (digest, size in bytes).

        Raises `StoreError` when the disk refuses.
        """
        with BlobWriter(self, durable=durable) as writer:
            if callable(content):
                content(writer)
            else:
                for chunk in content:
                    writer.write(chunk)
            return writer.commit(), writer.size

    def read(self, digest: str) -> bytes:
        """The bytes of a blob, checked against its name. Raises `ValueUnreadable` if it is missing or damaged."""
        try:
            with self._open(digest) as file:
                data = file.read()
        except OSError as error:
            raise self._unreadable(digest, f"cannot be read ({error.strerror})") from error
        if digest_of(data) != digest:
            raise self._damaged(digest)
        return data

    def map(self, digest: str, checksum: str) -> bytearray | mmap.mmap:
        """The bytes of a blob, checked against `checksum`, in writable memory of the caller's own.

        Large files are mapped privately: pages are loaded when touched and copied when written, the file stays as it
        is, and arrays laid over the mapping keep it alive. Raises `ValueUnreadable` like `read`.
        """
        try:
            with self._open(digest) as file:
                size = os.fstat(file.fileno()).st_size
                data: bytearray | mmap.mmap
                if size >= MAPPED_SIZE:
                    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                else:
                    data = bytearray(size)
                    file.readinto(data)
        except OSError as error:
            raise self._unreadable(digest, f"cannot be read ({error.strerror})") from error
        if checksum_of(data) != checksum:
            raise self._damaged(digest)
        return data

    def _open(self, digest: str) -> io.BufferedReader:
        path = self.path_of(digest)
        for here in (path, path.with_name(f"{path.name}{ASIDE}")):
            with contextlib.suppress(FileNotFoundError):
                return here.open("rb")
        return path.open("rb")  # put back just now

    def _damaged(self, digest: str) -> ValueUnreadable:
        return self._unreadable(digest, "is damaged (its content changed since it was saved)")

    def _unreadable(self, digest: str, problem: str) -> ValueUnreadable:
        return ValueUnreadable(f"value file {self.path_of(digest)} {problem}; run the step that made it again")


def _refused(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot save a value in {path}: {error.strerror}; free or choose another place")


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)
