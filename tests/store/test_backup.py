"""A copy of a store is whole, whatever happens to the store or to who copies meanwhile."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.test_retention import age, ended, save
from wfkernel.errors import StoreError
from wfkernel.store.backup import backup
from wfkernel.store.fsck import check
from wfkernel.store.store import Store


def test_a_copy_that_was_interrupted_is_no_store_and_is_made_again(store: Store, tmp_path: Path) -> None:
    save(store, "r", {"x": "x" * 100_000, "y": "y" * 100_000})

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(store, tmp_path / "copy", interrupted)
    assert not (tmp_path / "copy" / "store.duckdb").exists()
    made = backup(store, tmp_path / "copy")
    with closing(Store(made.path)) as copied:
        assert (check(copied), made.value_files) == ([], 2)
    with pytest.raises(StoreError, match="already: name another folder"):
        backup(store, tmp_path / "copy")


def test_values_that_are_pruned_while_they_are_copied_are_in_the_copy(store: Store, tmp_path: Path) -> None:
    age(store, *(record["blob"] for record in save(store, "old", {"x": "x" * 100_000, "y": "y" * 100_000})))
    ended(store, "new", 0)
    pruning: list[subprocess.Popen[bytes]] = []

    def copied(done: int, total: int) -> None:
        if not pruning:
            command = [sys.executable, "-m", "wfkernel", "prune", "--keep-last", "0", "--store", str(store.path)]
            pruning.append(subprocess.Popen(command))
            with pytest.raises(subprocess.TimeoutExpired):
                pruning[0].wait(2)

    made = backup(store, tmp_path / "copy", copied)
    assert pruning[0].wait(60) == 0
    assert list(store.blobs.path.glob("??/*")) == []
    with closing(Store(made.path)) as copy:
        assert (check(copy), copy.exists("old")) == ([], True)


def test_a_folder_with_the_journals_of_another_store_is_refused(store: Store, tmp_path: Path) -> None:
    ended(store, "r", 0)
    other = Store(tmp_path / "copy" / "other.duckdb")
    ended(other, "r", 0)
    with pytest.raises(StoreError, match=r"lies in the folder of the store other\.duckdb"):
        backup(store, tmp_path / "copy")
    other.close()
