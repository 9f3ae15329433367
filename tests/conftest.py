"""Fixtures shared by all tests: every test has a store, a key and a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wfkernel.store.store import Store


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test does touches the user's files, and no setting of the user changes a test."""
    for name in (
        "WFKERNEL_RUN",
        "WFKERNEL_PARENT",
        "WFKERNEL_NOTEBOOK",
        "WFKERNEL_ANSWERS",
        "WFKERNEL_CONTEXT",
        "WFKERNEL_EMBEDDER",
        "JPY_SESSION_NAME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WFKERNEL_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("WFKERNEL_STORE", str(tmp_path / ".wfkernel" / "store.duckdb"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / ".wfkernel" / "store.duckdb")
    yield opened
    opened.close()
