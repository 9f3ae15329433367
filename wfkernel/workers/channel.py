"""Messages between this process and a worker process, over the worker's stdin and stdout.

A message is a list of byte parts: the first names its kind, the rest is up to the kind. On the wire: the number of
parts, the length of each (little endian, 4 and 8 bytes), then the parts. Large parts are read straight into the memory
they stay in. Pipes need nothing that differs between platforms, and both ends notice at once when the other is gone.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["Channel", "ChannelClosed"]

_SMALL: Final = 1 << 16
"""Up to this many bytes, parts are joined and written at once."""


class ChannelClosed(Exception):
    """The other end is gone."""


class _Reader(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class _Writer(Protocol):
    def write(self, data: bytes | memoryview, /) -> int | None: ...
    def flush(self) -> None: ...


class Channel:
    """Both directions. Any thread may send; one at a time may receive."""

    def __init__(self, reader: _Reader, writer: _Writer) -> None:
        self._reader, self._writer = reader, writer
        self._sending = threading.Lock()

    def send(self, kind: bytes, *parts: bytes | bytearray | memoryview) -> None:
        """Write one message. Raises `ChannelClosed`."""
        views = [memoryview(part).cast("B") for part in (kind, *parts)]
        header = struct.pack(f"<I{len(views)}Q", len(views), *(len(view) for view in views))
        with self._sending:
            if sum(map(len, views)) <= _SMALL:
                views = [memoryview(b"".join([header, *views]))]
            else:
                views.insert(0, memoryview(header))
            try:
                for view in views:
                    while view:  # an unbuffered pipe may take less than all
                        view = view[self._writer.write(view) or 0 :]
                self._writer.flush()
            except (OSError, ValueError) as error:  # ValueError: closed on this side
                raise ChannelClosed from error

    def receive(self) -> tuple[bytes, Sequence[bytearray]]:
        """Wait for the next message: its kind and its parts. Raises `ChannelClosed`."""
        (count,) = struct.unpack("<I", self._read(4))
        lengths = struct.unpack(f"<{count}Q", self._read(8 * count))
        kind, *parts = [self._read(length) for length in lengths]
        return bytes(kind), parts

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            try:
                read = self._reader.readinto(view)
            except (OSError, ValueError) as error:
                raise ChannelClosed from error
            if not read:
                raise ChannelClosed
            view = view[read:]
        return data
