"""Runs of three workflow files killed at every one of their events, each in a run of its own, and taken up.

    python -m tests.soak.everywhere

The tests do this with the smallest of them, and kill the others at what ends a step (`tests/files/test_crashes.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.files.crashing import SHAPES


@dataclass
class Everywhere:
    deaths: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"{self.deaths} runs of {len(SHAPES)} workflow files killed, one at each event: {len(self.wrong)} went on wrong"
        return "\n".join([told, *self.wrong])


def everywhere(folder: Path) -> Everywhere:
    """Kill each shape everywhere, in a process of its own: lives are forked from one that has no threads."""
    report = Everywhere()
    for shape in SHAPES:
        command = [sys.executable, "-m", "tests.files.crashing", str(folder / shape), shape]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        report.deaths += len(found["deaths"])
        report.wrong += [f"{shape}: {one}" for one in found["wrong"]]
    return report


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        ended = everywhere(Path(place))
        print(ended)
        sys.exit(1 if ended.wrong else 0)
