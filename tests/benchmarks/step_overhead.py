"""What a `%%step` cell costs over the same plain cell, in a real kernel: request sent to kernel idle, small values.

Prints the medians; the target is an overhead of under 5 ms. Cells alternate, so both see the same machine.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.notebook.conftest import Kernel

CELLS = 150


def measure(*, live: bool) -> tuple[float, float, float]:
    """Median milliseconds of a plain cell, of a step cell, and of a restored step cell."""
    with tempfile.TemporaryDirectory() as folder:
        store = {"WFKERNEL_STORE": f"{folder}/store.duckdb", "WFKERNEL_KEY_FILE": f"{folder}/key"}
        times: dict[str, list[float]] = {"plain": [], "step": [], "restored": []}
        kernel = Kernel(Path(folder), live=live, **store)
        try:
            kernel.run("%%step warm\nwarm = 1")
            for n in range(CELLS):
                body = f"value_{n} = [{n}, 'text', 1.5]"
                for kind, source in (
                    ("plain", body),
                    ("step", f"%%step s{n}\n{body}"),
                    ("restored", f"%%step s{n}\n{body}"),
                ):
                    begun = time.perf_counter()
                    result = kernel.run(source)
                    times[kind].append((time.perf_counter() - begun) * 1e3)
                    assert result.status == "ok"
                    assert result.restored == (kind == "restored")
        finally:
            kernel.close()
    plain, step, restored = (statistics.median(times[kind]) for kind in ("plain", "step", "restored"))
    return plain, step, restored


if __name__ == "__main__":
    os.environ.pop("JPY_SESSION_NAME", None)
    for live in (False, True):
        plain, step, restored = measure(live=live)
        print(
            f"{'live' if live else 'headless'}: plain cell {plain:.2f} ms, step {step:.2f} ms "
            f"(overhead {step - plain:.2f} ms), restored {restored:.2f} ms (overhead {restored - plain:.2f} ms)"
        )
