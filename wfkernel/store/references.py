"""Which value files something still refers to.

Records name files by their digest, and a pickle may refer to further files from the inside (`wfkernel.store.pickles`).
So that nothing is ever taken for unused by mistake, this does not parse: any 64 hexadecimal digits found in an event, a
checkpoint, a journal, a quarantined file (not a database, which is compressed), a session that keeps its values in the store,
or a pickle that is referred to count as a reference.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfkernel.store.blobs import BlobDir
from wfkernel.store.disk import write_all
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

__all__ = ["note_file", "pickles_in", "referenced"]

_FILES: Final = "files"
"""In the folder of the values: a list of files elsewhere that name some of them."""

_NAME: Final = re.compile(rb"[0-9a-f]{64}")
_BASE64: Final = re.compile(rb'"data":"([A-Za-z0-9+/]{88,}={0,2})"')
"""A pickle in a record: a reference inside makes it at least this long."""


def note_file(blobs: BlobDir, file: Path) -> None:
    """Count what `file` names as referred to, as long as it is there. Raises `OSError`."""
    if file in _noted(blobs):
        return
    blobs.path.mkdir(parents=True, exist_ok=True)
    fd = os.open(blobs.path / _FILES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        write_all(fd, os.fsencode(f"{file}\n"))
        os.fsync(fd)
    finally:
        os.close(fd)


def _noted(blobs: BlobDir) -> list[Path]:
    try:
        return [Path(os.fsdecode(line)) for line in (blobs.path / _FILES).read_bytes().splitlines()]
    except FileNotFoundError:
        return []


def referenced(
    connection: duckdb.DuckDBPyConnection, journals: Path, quarantine: Path, blobs: BlobDir, without: list[str]
) -> set[str]:
    """Digests of all files of `blobs` that the store refers to, directly or through a pickle.

    The runs `without` do not count.
    """
    known = {file.name for file in blobs.path.glob("??/*")}
    found: set[str] = set()
    waiting: list[str] = []
    for text in _texts(connection, journals, quarantine, without):
        waiting += known.intersection(_names(text))
    for noted in _noted(blobs):
        if noted.is_file():
            waiting += known.intersection(_names(noted.read_bytes()))
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            with blobs.path_of(digest).open("rb") as file:
                if file.read(1) == b"\x80":  # a pickle; what else there is may be large
                    waiting += known.intersection(_names(file.read()))
    return found


def _texts(
    connection: duckdb.DuckDBPyConnection, journals: Path, quarantine: Path, without: list[str]
) -> Iterator[bytes]:
    for query in (
        "SELECT payload FROM wf.events WHERE (payload LIKE '%\"blob\"%' OR payload LIKE '%\"pickle\"%') "
        "AND NOT list_contains($1, run_id)",
        "SELECT state FROM wf.checkpoints WHERE NOT list_contains($1, run_id)",
    ):
        cursor = execute(connection.cursor(), query, [without])
        while rows := cursor.fetchmany(1_000):
            for (text,) in rows:
                yield text.encode("utf-8")
    folded = dict(connection.execute("SELECT file, folded FROM wf.journals").fetchall())
    for file in journals.glob("*"):
        with file.open("rb") as handle:  # what was moved to the tables is found there, unless it was deleted since
            handle.seek(folded.get(file.name, 0))
            yield handle.read()
    for file in quarantine.rglob("*"):
        if file.is_file():
            yield file.read_bytes()


def _names(content: bytes) -> Iterator[str]:
    for name in _NAME.findall(content):
        yield name.decode("ascii")
    for pickle in pickles_in(content):
        yield from _names(pickle)


def pickles_in(record: bytes | str) -> Iterator[bytes]:
    """The pickles that stand in records."""
    for data in _BASE64.findall(record.encode() if isinstance(record, str) else record):
        try:
            yield base64.b64decode(data)
        except binascii.Error:
            continue  # text that looks like base64 and is none
