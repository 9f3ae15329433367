"""Soak: many processes on one store, killed and frozen at random, clocks that jump, bytes that flip; then count.
After that, a full disk, blocks of DuckDB's file torn, and workflows killed at every event.

    python -m tests.soak [--seconds 300] [--processes 8] [--seed N]

Prints what was done and what was found; exit status 1 when anything was lost, executed twice or damaged unnoticed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.soak.everywhere import everywhere
from tests.soak.faults import full_disk, soak
from tests.soak.torn import torn


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--flips", type=int, default=40, help="how many single bytes are changed, one at a time")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), options.seconds, options.processes, options.flips, options.seed)
        print(report)
        disk = full_disk(Path(folder))
        print(disk)
        blocks = torn(Path(folder), min(60.0, options.seconds / 5))
        print(blocks)
        ended = everywhere(Path(folder))
        print(ended)
    return 0 if report.good and disk.good and not blocks.unreadable and not ended.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
