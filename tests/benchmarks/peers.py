"""wfkernel beside other durable engines: the same work on the same machine, in one run, a table with ratios.

    python -m tests.benchmarks.peers [--install] [--rounds 3] [--history 10000] [--only wfkernel,burr]

`--install` makes a virtual environment for each engine in ``~/.cache/wfkernel-peers`` (`WFKERNEL_PEERS` names another
folder) and installs the pinned versions there; restate's server comes from npm. An engine that is not installed is said
to be missing and the rest is measured. `tests/benchmarks/peer_drivers` says what each cell does: every engine runs it
with its own recommended store and, but for the rows that say otherwise, with fsync where it has one. Each sample is a
fresh process with an empty folder, the engines take turns, and the table shows medians. Machines are noisy: what counts
are the ratios, and the first line, which is what one append with fdatasync took on this disk meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VENVS = Path(os.environ.get("WFKERNEL_PEERS", "~/.cache/wfkernel-peers")).expanduser()
PEERS: dict[str, list[str]] = {
    "wfkernel": [],
    "langgraph": ["langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2"],
    "burr": ["apache-burr==0.43.0", "pydantic>=2,<3"],
    "dbos": ["dbos==3.4.0"],
    "restate": ["restate-sdk[serde,client]==1.3.0", "hypercorn>=0.17,<1", "httpx>=0.27,<1"],
}
NPM = {"restate": ["@restatedev/restate-server@1.7.12"]}
SECONDS = 300
"""What a cell may take."""

ROWS = [  # (what, cell, number, figure, unit, target of ours; more is better where the unit is a rate)
    ("sequential no-op step, durable", "seq", 1_000, "ms", "ms", 0.35),
    ("the same, of coroutines", "seq_async", 1_000, "ms", "ms", 0.35),
    ("sequential no-op step, not synced", "seq_unsynced", 1_000, "ms", "ms", 0.08),
    ("the same, of coroutines", "seq_async_unsynced", 1_000, "ms", "ms", 0.08),
    ("1,000-way fan-out, durable", "fan", 1_000, "rate", "steps/s", 10_000),
    ("100 runs at once, 10 steps each, durable", "many", 0, "rate", "steps/s", 8_000),
    ("from the start to suspension", "answer", 20, "suspend", "ms", None),
    ("from the answer to the end", "answer", 20, "ms", "ms", 1.5),
    ("answer in a new process, spawn to end", "wait+go_on", 0, "s", "s", 0.3),
    ("killed in step 50 of 100, spawn to end", "crash+recover", 0, "s", "s", None),
    ("finished steps executed again after that", "crash+recover", 0, "again", "", 0),
    ("newest 100 runs", "history", 0, "list", "ms", 3),
    ("all steps of one run", "history", 0, "steps", "ms", 2),
    ("bytes on disk a step", "history", 0, "bytes", "B", 80),
    ("custom events that are kept", "events", 50_000, "rate", "events/s", 50_000),
]


def python_of(peer: str) -> Path:
    return Path(sys.executable) if peer == "wfkernel" else VENVS / peer / "bin" / "python"


def install(peer: str) -> None:
    """Make the engine's environment. What cannot be had is reported, and left out of the table."""
    folder = VENVS / peer
    commands = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(python_of(peer)), "-m", "pip", "install", "-q", *PEERS[peer]],
    ]
    if peer in NPM:
        commands.append(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), *NPM[peer]])
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            print(f"{peer} cannot be installed here: {said[-1] if said else error}")
            return
    print(f"{peer} is installed in {folder}")


def run_driver(peer: str, cell: str, folder: str, number: int) -> dict[str, Any] | None:
    """What one cell printed; None if it did not come to its end."""
    command = [python_of(peer), HERE / "peer_drivers" / f"{peer}_driver.py", cell, folder, str(number)]
    environment = {**os.environ, "SPAWNED_AT": str(time.time())}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
    with tempfile.TemporaryFile("w+") as said:  # not a pipe: a server that was left behind would keep it open
        try:
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, timeout=SECONDS)  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        said.seek(0)
        lines = said.read().strip().splitlines()
    try:
        return dict(json.loads(lines[-1]))
    except (IndexError, ValueError):
        return None


def measure(peer: str, cell: str, number: int) -> dict[str, Any] | None:
    """One sample of a cell; of the cells ``first+second`` the first may die, and the second is what counts."""
    with tempfile.TemporaryDirectory() as folder:
        *before, last = cell.split("+")
        for first in before:
            found = run_driver(peer, first, folder, number)
            if found is not None and "not_there" in found:
                return found
        return run_driver(peer, last, folder, number)


def raw_append() -> float:
    """Milliseconds for one append of a step's bytes with fdatasync."""
    with tempfile.TemporaryDirectory() as folder:
        fd = os.open(f"{folder}/raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        taken = []
        for _ in range(200):
            begun = time.perf_counter()
            os.write(fd, b"x" * 300)
            getattr(os, "fdatasync", os.fsync)(fd)
            taken.append((time.perf_counter() - begun) * 1e3)
        os.close(fd)
    return statistics.median(taken)


def show(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit.endswith("/s"):
        return f"{value:,.0f}"
    return f"{value:.0f}" if unit in ("", "B") else f"{value:.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="install the engines first")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each cell")
    parser.add_argument("--history", type=int, default=10_000, help="steps in the store of the history cell")
    parser.add_argument("--only", default=",".join(PEERS), help="engines, separated by commas")
    parser.add_argument("--cells", default="", help="cells, separated by commas; all without it")
    given = parser.parse_args()
    peers = [peer for peer in PEERS if peer in given.only.split(",")]
    if given.install:
        for peer in peers:
            if not python_of(peer).exists():
                install(peer)
    for peer in [p for p in peers if not python_of(p).exists()]:
        print(f"{peer} is not installed: --install does that")
        peers.remove(peer)
    rows = [row for row in ROWS if not given.cells or row[1] in given.cells.split(",")]
    cells = {cell: number if cell != "history" else given.history for _, cell, number, *_ in rows}
    samples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    floor = []
    for n in range(given.rounds):
        for cell, number in cells.items():
            floor.append(raw_append())
            for peer in peers:
                if cell == "history" and n:  # one is enough: it takes its own medians
                    continue
                found = measure(peer, cell, number)
                if found is None:
                    print(f"{peer} did not come to the end of {cell}", flush=True)
                elif "not_there" not in found:
                    samples.setdefault((peer, cell), []).append(found)
    print(
        f"\nOne append with fdatasync: {statistics.median(floor):.2f} ms. Store of the history rows: {given.history:,} steps.\n"
    )
    print(f"| work | unit | target | {' | '.join(peers)} | best other / ours |")
    print(f"|{'---|' * (len(peers) + 4)}")
    for what, cell, _, figure, unit, target in rows:
        values = {
            peer: statistics.median(s[figure] for s in samples[peer, cell])
            for peer in peers
            if any(figure in s for s in samples.get((peer, cell), ()))
        }
        ours, others = values.get("wfkernel"), [v for peer, v in values.items() if peer != "wfkernel"]
        ratio = "-"
        if ours and others and figure != "again":
            ratio = f"{(ours / max(others)) if unit.endswith('/s') else (min(others) / ours):.1f}"
        shown = " | ".join(show(values.get(peer), unit) for peer in peers)
        print(f"| {what} | {unit} | {show(target, unit)} | {shown} | {ratio} |")


if __name__ == "__main__":
    main()
