"""What the drivers of `tests.benchmarks.peers` have in common. Standard library only: each engine runs in a venv of its own.

A driver is a script ``DRIVER.py CELL FOLDER NUMBER``. A cell does the same work in every engine, in a fresh process, and
prints what it measured as one JSON object:

    seq, seq_unsynced   {"ms"}: one of NUMBER no-op steps of one run, each durable before the next begins (or not synced)
    fan                 {"rate"}: steps/s of NUMBER no-op steps at once in one run
    many                {"rate"}: steps/s of 100 runs at once with 10 steps each
    answer              {"suspend", "ms"}: ms from the start to suspension, and from the answer to the end (median)
    wait, go_on         the first suspends a run and dies, the second answers it: {"s"} from its spawn to the run's end
    crash, recover      the first dies by SIGKILL in step 50 of 100, the second ends the run: {"s", "again"}, the latter
                        being how many finished steps were executed a second time
    history             {"list", "steps", "bytes"}: in a store of NUMBER steps, 100 a run: ms for the newest 100 runs, ms
                        for all steps of one run, bytes on disk a step
    events              {"rate"}: events/s that one step wrote and that are kept
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["bytes_on_disk", "crash_step", "executed_again", "median_ms", "run_cell", "since_spawn", "timed"]

CRASH_AT = 50


def timed(action: Callable[[], Any]) -> float:
    """Seconds `action` takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def median_ms(action: Callable[[], Any], times: int = 15) -> float:
    """Milliseconds `action` takes, as the median."""
    return statistics.median(timed(action) for _ in range(times)) * 1e3


def since_spawn() -> float:
    """Seconds since the driver's process was asked for."""
    return time.time() - float(os.environ["SPAWNED_AT"])


def bytes_on_disk(folder: str) -> int:
    """What the files below `folder` take up."""
    return sum(file.stat().st_blocks * 512 for file in Path(folder).rglob("*") if file.is_file())


def crash_step(folder: str, number: int) -> int:
    """A step that notes that it is executed, and kills its process when it is the fiftieth and the first to get there."""
    with open(f"{folder}/executed", "a") as log:
        log.write(f"{number}\n")
    if number == CRASH_AT and not os.path.exists(f"{folder}/crashed"):
        Path(folder, "crashed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def executed_again(folder: str) -> dict[str, float]:
    """After the recovery: how many finished steps were executed twice."""
    numbers = [int(line) for line in Path(folder, "executed").read_text().split()]
    assert set(numbers) == set(range(100)), "steps are missing"
    crashed = numbers.index(CRASH_AT)
    return {"again": len(set(numbers[:crashed]) & set(numbers[crashed + 1 :])), "s": since_spawn()}


def run_cell(cells: dict[str, Callable[[str, int], Any]]) -> None:
    """Run the cell the command line names and leave at once: how long an engine takes to stop is not measured."""
    _, cell, folder, number = sys.argv
    if cell not in cells:
        print(json.dumps({"not_there": True}))
    else:
        print(json.dumps(cells[cell](folder, int(number))))
    sys.stdout.flush()
    os._exit(0)
