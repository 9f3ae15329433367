"""What the live view costs the kernel: a run writes 1,000 lines a second for ten seconds, with and without a view.

The kernel is a real one with a live front end's requests; its own CPU clock is read around the step. Printed is the
difference, as part of one core.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tests.notebook.conftest import Kernel

SECONDS: Final = 10
BODY: Final = f"""
import time
begun, cpu = time.monotonic(), time.process_time()
for n in range(1000 * {SECONDS}):
    write(f"line {{n}} of a log as programs write it, some eighty characters long altogether")
    rest = begun + (n + 1) / 1000 - time.monotonic()
    if rest > 0:
        time.sleep(rest)
used = (time.process_time() - cpu) / (time.monotonic() - begun)
"""


def used(view: bool) -> float:
    """The part of a core the kernel uses while the step writes."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(Path(folder), live=True)
        try:
            kernel.run("from wfkernel import write")
            kernel.run("%%step first\nx = 1")
            if view:
                kernel.run("%workflow")
            kernel.run("%%step noisy" + BODY, timeout=60)
            return float(kernel.value("used"))
        finally:
            kernel.close()


def main() -> None:
    pairs = [(used(False), used(True)) for _ in range(3)]
    without = sorted(one for one, _ in pairs)[1]
    with_view = sorted(other for _, other in pairs)[1]
    print(f"1,000 lines a second: {without:.1%} of a core without a view, {with_view:.1%} with one")
    print(f"the view: {with_view - without:.1%} of a core")


if __name__ == "__main__":
    main()
