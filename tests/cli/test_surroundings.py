"""``wf`` where something around it is not as it should be: folders that may not be written, a full disk, a pipe nobody reads."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import JOBS, REPOSITORY

WF = [sys.executable, "-m", "wfkernel"]
AS_ANYBODY = (
    ["setpriv", "--inh-caps=-dac_override,-dac_read_search", "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() == 0
    else []
)
"""Root may write everywhere; without these two rights it may not."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "pyproject.toml").touch()
    for name in [name for name in os.environ if name.startswith("WFKERNEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WFKERNEL_KEY_FILE", str(tmp_path.parent / "key"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return tmp_path


def wf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*AS_ANYBODY, *WF, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_folder_that_may_not_be_written_is_told_in_one_line(folder: Path) -> None:
    folder.chmod(0o555)
    try:
        for command in (["run", "jobs.py:orders", "-p", "rows=1"], ["graph", "jobs.py:orders", "-o", "graph.svg"]):
            done = wf(folder, *command)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
            assert done.stderr.endswith(": Permission denied\n")
        found = wf(folder, "doctor")
        assert found.returncode == 1
        assert f"WRONG   folder       {folder} cannot be written" in found.stdout
    finally:
        folder.chmod(0o755)


def test_a_store_that_may_not_be_written_or_read_is_told_in_one_line(folder: Path) -> None:
    assert wf(folder, "run", "jobs.py:orders", "-p", "rows=1").returncode == 0
    store = folder / ".wfkernel"
    for place, mode, command in (
        (store / "journal", 0o555, ["run", "jobs.py:orders", "-p", "rows=1"]),
        (store / "store.duckdb", 0o000, ["ls"]),
    ):
        was = place.stat().st_mode
        place.chmod(mode)
        done = wf(folder, *command)
        place.chmod(was)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert done.stderr.endswith(": Permission denied\n")
    assert wf(folder, "ls", "--json").stdout.count('"status": "success"') == 1


def test_the_doctor_names_one_thing_where_one_thing_is_broken(folder: Path) -> None:
    def made(name: str, content: str = "", mode: int = 0o600) -> str:
        path = folder / name
        path.write_text(content)
        path.chmod(mode)
        return str(path)

    (folder / "torn").mkdir(mode=0o700)
    broken = {
        "settings: WFKERNEL_DURABILTY: there is no setting of this name": {"WFKERNEL_DURABILTY": "write"},
        "settings: WFKERNEL_CONCURRENCY: concurrency = '0'": {"WFKERNEL_CONCURRENCY": "0"},
        "chmod 600": {"WFKERNEL_KEY_FILE": made("key-for-all", "0" * 64, 0o644)},
        "is damaged: restore it": {"WFKERNEL_KEY_FILE": made("half-a-key", "0" * 9)},
        "key: cannot use the key file": {"WFKERNEL_KEY_FILE": str(folder / "torn")},
        "store: name a file in it": {"WFKERNEL_STORE": str(folder)},
        "`wf recover` brings back what can be read": {"WFKERNEL_STORE": made("torn/s.duckdb", "x" * 20_000)},
    }
    running = {
        todo: subprocess.Popen([*WF, "doctor"], cwd=folder, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True)
        for todo, variables in broken.items()
    }  # fmt: skip
    for todo, doctor in running.items():
        said = doctor.communicate()[0]
        assert (doctor.returncode, said.count("WRONG")) == (1, 1), said
        assert todo in said


def test_a_store_that_may_only_be_read_is_read_and_stays_as_it_is(folder: Path) -> None:
    assert wf(folder, "run", "jobs.py:orders", "-p", "rows=1", "--run-id", "r1").returncode == 0
    killed = (
        "import os, wfkernel\ndef one(x: int) -> int: return x\n"
        "wfkernel.Workflow('left', input=int, store=wfkernel.open_store()).then(one).commit().run(1)\n"
        "os.kill(os.getpid(), 9)"  # which leaves its journal
    )
    assert subprocess.run([sys.executable, "-c", killed], cwd=folder, check=False).returncode == -signal.SIGKILL
    store = folder / ".wfkernel"
    places = [place for place in (store, *store.rglob("*")) if place.is_dir() or place.suffix in (".duckdb", ".lock")]
    older = folder / "older" / "store.duckdb"
    older.parent.mkdir()
    older.write_bytes(gzip.decompress((REPOSITORY / "tests" / "store" / "data" / "schema-1.duckdb.gz").read_bytes()))
    places += [older.parent, older]
    modes = {place: place.stat().st_mode for place in places}
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    for place, mode in modes.items():
        place.chmod(mode & 0o555)
    try:
        assert len(json.loads(wf(folder, "ls", "--json").stdout)) == 2
        assert wf(folder, "search", "r1").returncode == 0
        assert wf(folder, "fsck").returncode == 0
        assert wf(folder, "ls", "--json", "--store", "older/store.duckdb").stdout.count("run_id") == 3
        for command in (
            ["checkpoint", "create", "r1"],
            ["recover", "r1"],
            ["prune"],
            ["search", "--reindex"],
            ["db", "migrate"],
        ):
            done = wf(folder, *command)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert "can only be read: it or its folder is write-protected" in done.stderr
        assert wf(folder, "db", "backup", "copy").returncode == 0
    finally:
        for place, mode in modes.items():
            place.chmod(mode)
    assert {file: file.read_bytes() for file in store.rglob("*") if file.is_file()} == before
    assert list(older.parent.iterdir()) == [older]
    copied = wf(folder, "ls", "--json", "--store", "copy/store.duckdb")
    assert len(json.loads(copied.stdout)) == 2


def test_a_full_disk_and_a_pipe_that_nobody_reads_end_it_quietly(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*WF, "guide"], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "wf: what was printed: No space left on device\n")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*WF, "schema"], cwd=folder, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_says_how_to_go_on_and_what_was_done_is_kept(folder: Path) -> None:
    command = [*WF, "run", "jobs.py:slow", "-p", "rows=1", "--run-id", "stopped"]
    running = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while "step.start" not in wf(folder, "events", "stopped").stdout and time.monotonic() < until:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    said = running.communicate()[1]
    assert (running.returncode, said) == (130, "\nwf: interrupted. Continue with: wf resume stopped\n")
    (folder / "go").touch()
    assert wf(folder, "resume", "stopped").returncode == 0


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", {"COMP_WORDS": "wf validate --imp", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "wf validate --imp"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "wf validate --imp", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_each_shell_completes(folder: Path, shell: str, line: dict[str, str]) -> None:
    program = [sys.executable, "-c", "import sys; sys.argv = ['wf']; from wfkernel.cli import main; main()"]
    asked = {**os.environ, "_WF_COMPLETE": f"complete_{shell}", **line}
    done = subprocess.run(program, cwd=folder, env=asked, capture_output=True, text=True, check=False)
    assert "--import" in done.stdout, done.stderr
