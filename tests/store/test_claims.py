"""A process goes on with a run it wrote last without reading it again, unless somebody else changed it since."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from wfkernel.engine.run import Run
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import WorkflowError
from wfkernel.store.claims import LONGEST, Claims
from wfkernel.store.store import Store


def ask(x: int, ctx: Any) -> Any:
    return ctx.suspend(message="go on?")


def asking(store: Store, run_id: str | None = None) -> Run:
    return Workflow("w", store=store).then(ask).commit().create_run(run_id)


def test_answering_a_run_of_this_process_leaves_the_database_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store.duckdb")
    run = asking(store)
    assert run.sync.start(1).status == "suspended"
    opened = store.database.open

    def in_the_background(**options: Any) -> Any:
        assert threading.current_thread().name == "wfkernel-store"
        return opened(**options)

    with monkeypatch.context() as patch:
        patch.setattr(store.database, "open", in_the_background)
        assert run.sync.resume("yes").result == "yes"
    assert store.load(run.run_id).status == "success"
    store.close()


def test_a_run_that_another_answered_is_read_again_and_refused(tmp_path: Path) -> None:
    mine, others = Store(tmp_path / "store.duckdb"), Store(tmp_path / "store.duckdb")
    run = asking(mine)
    run.sync.start(1)
    mine.database.close()
    assert asking(others, run.run_id).sync.resume("theirs").result == "theirs"
    others.close()
    with pytest.raises(WorkflowError, match="not suspended"):
        run.sync.resume("mine")
    assert mine.load(run.run_id).result is not None
    mine.close()


def test_another_handle_on_the_run_in_this_process_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb")
    run = asking(store)
    run.sync.start(1)
    assert asking(store, run.run_id).sync.resume("second handle").result == "second handle"
    with pytest.raises(WorkflowError, match="not suspended"):
        run.sync.resume("first handle")
    store.close()


def test_one_process_at_a_time_is_within_also_when_the_lock_s_file_is_removed(tmp_path: Path) -> None:
    mine, others = Claims(tmp_path), Claims(tmp_path)  # two that lock for themselves, as two processes do
    within = threading.Event()

    def wait() -> None:
        with others.exclusive():
            within.set()

    for remove in (False, True):
        within.clear()
        with mine.exclusive():
            pass
        if remove:
            (tmp_path / "claimed.lock").unlink()
        with mine.exclusive():
            thread = threading.Thread(target=wait)
            thread.start()
            assert not within.wait(0.2)
        assert within.wait(10)
        thread.join()


def test_notes_name_the_run_and_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    mine, others = Claims(tmp_path), Claims(tmp_path)
    with mine.exclusive():
        mine.has("a", 3)
        mine.has("b", 5)
    with others.exclusive():
        others.note("others", "a")
    assert (mine.is_current("a", 3), mine.is_current("b", 5), mine.is_current("b", 4)) == (False, True, False)
    with others.exclusive():
        others.note("others", "x" * (LONGEST + 1))
        others.note("others", "b")
    assert not mine.is_current("b", 5)
    assert (tmp_path / "claimed").stat().st_size < 100
