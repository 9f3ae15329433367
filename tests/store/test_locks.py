"""Locks between processes, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from wfkernel.store.locks import Held, ProcessLock, is_held

HOLDER = """
import sys, time
from pathlib import Path
{how}
print("held", flush=True)
sys.stdin.read()
"""
OURS = "from wfkernel.store.locks import ProcessLock; lock = ProcessLock(Path(sys.argv[1])); lock.acquire()"
FILELOCK = "from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire()"


@pytest.fixture(params=[OURS, FILELOCK], ids=["ours", "filelock"])
def holder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    code = HOLDER.format(how=request.param)
    command = [sys.executable, "-c", code, str(tmp_path / "a.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_another_process_holds_is_told_until_that_is_killed(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "a.lock")
    with pytest.raises(Held):
        lock.acquire()
    with pytest.raises(Held):
        lock.acquire(wait=0.05)
    holder.send_signal(signal.SIGKILL)
    lock.acquire(wait=30)
    lock.release()


def test_filelock_and_this_one_keep_each_other_out(tmp_path: Path) -> None:
    lock, other = ProcessLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    lock.acquire()
    with pytest.raises(Timeout):
        other.acquire(timeout=0)
    lock.release()
    with other.acquire(timeout=0), pytest.raises(Held):
        lock.acquire()


def test_it_is_let_go_when_all_who_took_it_have(tmp_path: Path) -> None:
    lock, other = ProcessLock(tmp_path / "a.lock"), ProcessLock(tmp_path / "a.lock")
    lock.acquire()
    lock.acquire()
    lock.release()
    with pytest.raises(Held):
        other.acquire()
    lock.release()
    other.acquire()
    other.release()


def test_a_file_that_is_removed_while_it_is_locked_is_no_longer_the_lock(tmp_path: Path) -> None:
    lock, next_one, late = (ProcessLock(tmp_path / "a.lock") for _ in range(3))
    lock.acquire()
    (tmp_path / "a.lock").unlink()
    next_one.acquire()
    with pytest.raises(Held):
        late.acquire()
    next_one.release()
    lock.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_that_lets_go_leaves_its_parent_the_lock(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "a.lock")
    lock.acquire()
    if (child := os.fork()) == 0:
        lock.release()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(Held):
        ProcessLock(tmp_path / "a.lock").acquire()
    lock.release()
    ProcessLock(tmp_path / "a.lock").acquire()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_lock_ends_with_its_process_whatever_that_has_forked(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "a.lock")
    code = HOLDER.format(how=f"{OURS}\nimport os\nif os.fork() == 0: time.sleep(60)")
    command = [sys.executable, "-c", code, str(tmp_path / "a.lock")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, start_new_session=True
    ) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        with pytest.raises(Held):
            lock.acquire()
        held.kill()
        lock.acquire(wait=30)
        lock.release()
        os.killpg(held.pid, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_who_only_asks_is_not_taken_for_the_holder(tmp_path: Path) -> None:
    names = [tmp_path / f"{number}.lock" for number in range(2_000)]
    for name in names:
        name.touch()
    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            os._exit(any(is_held(name) for name in names))
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_where_the_file_cannot_be_opened_the_system_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        ProcessLock(tmp_path / "missing" / "a.lock").acquire()
