"""How much a store takes, and copying it while others use it.

A copy is made with the database held, which nobody else can write meanwhile, and with every journal taken in. Value files
are never changed once written, and one that is named has been written before, so they are copied afterwards, while no
`wf prune` collects them. The database has its name in the new place when all is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wfkernel.errors import StoreError
from wfkernel.store.deeds import deeds_file
from wfkernel.store.folder import check_folder
from wfkernel.store.journal import SUFFIX

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["Backup", "Size", "backup", "size"]


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes on disk, and how much is in the tables."""

    database: int
    journals: int
    values: int
    value_files: int
    runs: int
    events: int
    checkpoints: int

    @property
    def total(self) -> int:
        """All bytes together."""
        return self.database + self.journals + self.values


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied: the store in the new place, and how many value files lie beside it."""

    path: Path
    value_files: int
    bytes: int


def size(store: Store) -> Size:
    """What the store takes now."""
    with store.database.open() as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM wf.runs), (SELECT count(*) FROM wf.events), (SELECT count(*) FROM wf.checkpoints)"
        ).fetchone() or (0, 0, 0)
    values = [file.stat().st_size for file in store.blobs.path.glob("??/*")]
    journals = [file.stat().st_size for file in store.journals.glob("*")] if store.journals.is_dir() else []
    database = store.path.stat().st_size + store.database.log_bytes
    return Size(database, sum(journals), sum(values), len(values), *counts)


def backup(store: Store, folder: Path, copied: Callable[[int, int], None] = lambda done, total: None) -> Backup:
    """Copy the store to `folder`, which must not hold one yet. `copied(done, total)` is called for each value file.

    What an interrupted copy left there is written again. Raises `StoreError`.
    """
    target = folder / store.path.name
    check_folder(target)
    if target.exists() or any((folder / store.journals.name).glob(f"*{SUFFIX}")):
        raise StoreError(f"there is a store {target} already: name another folder")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with store.claims.values_stay():
            with store.database.open():
                store.database.copy_to(unfinished)
            if deeds_file(store).exists():
                shutil.copyfile(deeds_file(store), target.with_name(deeds_file(store).name))
            files = sorted(store.blobs.path.glob("??/*"))
            for number, file in enumerate(files, 1):
                beside = folder / store.blobs.path.name / file.parent.name / file.name
                beside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, beside)
                copied(number, len(files))
            length = unfinished.stat().st_size + sum(file.stat().st_size for file in files)
        unfinished.replace(target)
    except OSError as error:
        raise StoreError(f"cannot copy the store to {folder}: {error.strerror or error}") from error
    return Backup(target, len(files), length)
