"""Which store file a folder belongs to.

Journals, values and owners lie in folders beside the store's file and are that file's. Opened there, a second file, be it the
copy that a migration made of the first, would take in the first one's journals and remove them. So the name of the file that
was written there first is kept in ``owners/store``, and another one is refused, unless the first is there no more: then the
file was renamed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from wfkernel.errors import StoreError
from wfkernel.store.journal import SUFFIX

__all__ = ["check_folder", "holds_store", "take_folder"]

_NAME: Final = "store"
_COPY: Final = re.compile(r"(.+)\.v\d+")
"""How `wfkernel.store.migrations` calls the copies it makes."""


def check_folder(path: Path) -> None:
    """Raise `StoreError` if the folder of the store file `path` belongs to another one."""
    name = _kept(path) or _copied_from(path)
    if name in ("", path.name):
        return
    other = path.with_name(name)
    # Without the lock beside it no DuckDB file was ever made: all there is of that store is in its journals.
    if other.exists() or (not path.with_name(f"{name}.lock").exists() and _journals(path)):
        raise StoreError(
            f"{path} lies in the folder of the store {name}, whose journals and values are there: give it a folder of its own"
        )


def take_folder(path: Path) -> None:
    """The store at `path` is written from now on. Raises `StoreError` like `check_folder`, and `OSError`."""
    if _kept(path) == path.name:
        return
    check_folder(path)
    note = _note(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(path.name, "utf-8")


def holds_store(path: Path) -> bool:
    """Whether there is a store at `path`: its file, or journals of which none was made yet."""
    return path.is_file() or (_kept(path) == path.name and _journals(path))


def _note(path: Path) -> Path:
    return path.parent / "owners" / _NAME


def _kept(path: Path) -> str:
    try:
        return Path(_note(path).read_text("utf-8")).name
    except (OSError, ValueError):
        return ""


def _copied_from(path: Path) -> str:
    """The name of the store file whose copy `path` is, if it is one and that is there."""
    copy = _COPY.fullmatch(path.stem)
    name = f"{copy[1]}{path.suffix}" if copy is not None else ""
    return name if name and path.with_name(name).exists() else ""


def _journals(path: Path) -> bool:
    return any((path.parent / "journal").glob(f"*{SUFFIX}"))
