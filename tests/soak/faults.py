"""What is done to the processes of the soak and to the files of their store, and what is counted afterwards."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.compare import NAMED, SAME, content
from tests.soak.worker import ITEMS, RESULT, STEPS
from wfkernel.engine import events as ev
from wfkernel.engine.values import reveal
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import WorkflowError
from wfkernel.plan.step import step
from wfkernel.store.fsck import check
from wfkernel.store.store import Store

ROOT = Path(__file__).parents[2]
HOUR = 3600.0


@dataclass
class Report:
    seconds: float = 0.0
    runs: int = 0
    steps: int = 0
    kills: int = 0
    freezes: int = 0
    unfinished: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    """Acknowledged steps whose result the store does not hold."""
    twice: list[tuple[str, str]] = field(default_factory=list)
    """Steps executed again after they had been acknowledged, or with two results."""
    problems: list[str] = field(default_factory=list)
    flips: int = 0
    named: int = 0
    harmless: int = 0
    unnoticed: list[str] = field(default_factory=list)
    """Changed bytes that changed what the store says without being named."""

    @property
    def good(self) -> bool:
        return self.runs > 0 and not (self.unfinished or self.lost or self.twice or self.problems or self.unnoticed)

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s: {self.runs} runs, {self.steps} acknowledged steps; {self.kills} processes killed, "
            f"{self.freezes} frozen; lost {len(self.lost)}, executed twice {len(self.twice)}, "
            f"unfinished {len(self.unfinished)}, named by fsck {len(self.problems)}\n"
            f"{self.flips} single bytes changed: {self.named} named, {self.harmless} without effect, "
            f"{len(self.unnoticed)} unnoticed"
            + "".join(f"\n  {line}" for line in [*self.unfinished, *self.problems, *self.unnoticed])
        )


def soak(folder: Path, seconds: float, processes: int, flips: int, seed: int) -> Report:
    """Run `processes` workers on a store in `folder` for `seconds`, hurting them; drain, count, flip bytes of a copy."""
    rng = random.Random(seed)
    store_path, log = folder / ".wfkernel" / "store.duckdb", folder / "log"
    store_path.parent.mkdir(parents=True)
    report = Report()
    started = 0

    def start() -> subprocess.Popen[bytes]:
        nonlocal started
        started += 1
        command = [sys.executable, "-m", "tests.soak.worker", str(store_path), str(log), str(seed + started), str(HOUR)]
        return subprocess.Popen(command, cwd=ROOT, stdout=(folder / "out").open("ab"), stderr=subprocess.STDOUT)

    begin = time.monotonic()
    living = [start() for _ in range(processes)]
    try:
        while time.monotonic() - begin < seconds:
            time.sleep(rng.uniform(0.5, 2.5) * 4 / processes)
            at = rng.randrange(len(living))
            if rng.random() < 0.15:  # a process that sleeps with whatever it holds, then goes on
                living[at].send_signal(signal.SIGSTOP)
                time.sleep(rng.uniform(0.2, 1.0))
                living[at].send_signal(signal.SIGCONT)
                report.freezes += 1
                continue
            if living[at].poll() is not None:
                report.problems.append(f"a worker ended by itself: {(folder / 'out').read_text()[-2000:]}")
                break
            living[at].kill()
            living[at].wait()
            report.kills += 1
            living[at] = start()
        report.seconds = time.monotonic() - begin
        _drain(folder, store_path, living)
    finally:
        (folder / "stop").touch()
        for process in living:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                report.problems.append("a worker did not stop within a minute")
    _count(store_path, log, report)
    _flip(folder, store_path, flips, rng, report)
    return report


def _drain(folder: Path, store_path: Path, living: list[subprocess.Popen[bytes]]) -> None:
    """No new runs; wait until nobody starts one any more and those there are have ended, or for two minutes."""
    (folder / "drain").touch()
    store = Store(store_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        stopped = all((folder / f"drains-{process.pid}").exists() for process in living)
        if stopped and store.query("SELECT count(*) FROM runs WHERE status <> 'success'")[1] == [(0,)]:
            break
        time.sleep(0.3)
    store.close()


def _count(store_path: Path, log: Path, report: Report) -> None:
    """What the workers say they were told, against what the store holds."""
    acknowledged: set[tuple[str, str]] = set()
    for line in log.read_text().splitlines():
        verb, run, *rest = line.split()
        if verb == "ack":
            acknowledged.add((run, rest[0]))
        elif verb == "do" and (run, rest[0]) in acknowledged:
            report.twice.append((run, rest[0]))
    report.steps = len(acknowledged)
    store = Store(store_path)
    wanted = {f"s{n}" for n in range(STEPS)} | {f"item[{n}]" for n in range(ITEMS)}
    results: Counter[tuple[str, str]] = Counter()
    for (run,) in store.query("SELECT run_id FROM runs")[1]:
        report.runs += 1
        for event in store.events(run):
            if event.type == ev.STEP_RESULT and event.payload["status"] == "success":
                results[run, event.path] += 1
        state = store.load(run)
        if state.status != "success" or reveal(state.result, store) != RESULT:
            report.unfinished.append(f"{run}: {state.status}")
        elif missing := {name for name in wanted if results[run, name] == 0}:
            report.lost += [(run, name) for name in missing]
    report.lost += [step for step in acknowledged if results[step] == 0]
    report.twice += [step for step, times in results.items() if times > 1]
    report.problems += [str(problem) for problem in check(store)]
    store.close()


def _flip(folder: Path, store_path: Path, flips: int, rng: random.Random, report: Report) -> None:
    """Change single bytes of copies of the store: each is named by fsck or by the reading, or changed nothing."""
    size = store_path.stat().st_size
    undamaged = Store(store_path)
    expected = content(undamaged)
    undamaged.close()
    for n in range(flips):
        copy = folder / "copy" / str(n) / "store.duckdb"
        shutil.copytree(store_path.parent, copy.parent)
        at = rng.randrange(size)
        with copy.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ (1 << rng.randrange(8))]))
        # In a process of its own, as a damaged DuckDB file may end the process that reads it.
        found = subprocess.run(
            [sys.executable, "-m", "tests.soak.compare", str(copy), expected],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        report.flips += 1
        if found.returncode == NAMED:
            report.named += 1
        elif found.returncode == SAME:
            report.harmless += 1
        else:
            report.unnoticed.append(f"byte {at}: status {found.returncode} {found.stdout[-500:]}{found.stderr[-500:]}")
        shutil.rmtree(copy.parent)


@dataclass
class FullDisk:
    tried: bool
    why_not: str = ""
    refused: int = 0
    steps: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.tried or (self.refused > 0 and self.lost == 0 and not self.problems)

    def __str__(self) -> str:
        if not self.tried:
            return f"disk full: not tried, {self.why_not}"
        return (
            f"disk full: {self.refused} runs refused in one line, {self.steps} steps acknowledged before, {self.lost} lost, "
            f"{len(self.problems)} named by fsck; all finished once there was room"
        )


def full_disk(folder: Path) -> FullDisk:
    """A store on a file system of 24 MB that fills up, and is then given room. Needs the right to mount a tmpfs."""
    mount = folder / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(mount)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return FullDisk(False, made.stderr.strip() or "mount failed")
    try:
        return _fill(mount)
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=False)


def _noise(run: str, x: object) -> bytes:
    return random.Random(f"{run}{x}").randbytes(200_000)


def _fill(mount: Path) -> FullDisk:
    report = FullDisk(True)
    filler = mount / "filler"
    store = Store(mount / ".wfkernel" / "store.duckdb")
    ran: list[str] = []

    @step(worker="inline")
    def chunk(x: int, ctx: Any) -> bytes:
        return _noise(ctx.run_id, x)

    @step(worker="inline")
    def size(data: bytes, ctx: Any) -> int:
        ran.append(ctx.run_id)
        return len(data)

    workflow: Any = Workflow("full", store=store).then(chunk).then(size).commit()
    filler.write_bytes(bytes(4_000_000))
    for n in range(200):
        try:
            result = workflow.create_run(f"r{n}").sync.start(n)
            if result.status != "success":
                report.refused += 1
        except (WorkflowError, OSError):
            report.refused += 1
        if report.refused >= 3:
            break
    report.steps = len(ran)
    filler.unlink()
    store.close()
    reopened = Store(store.path)
    for run in ran:
        held = reopened.load(run).steps
        report.lost += "chunk" not in held or reveal(held["chunk"].output, reopened) != _noise(run, run[1:])
    report.problems = [str(problem) for problem in check(reopened)]
    reopened.close()
    return report
