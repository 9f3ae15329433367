"""How soon Suspend and Cancel act while a cell keeps the kernel busy: command sent on the control channel to cell ended.

    python -m tests.benchmarks.stop_latency

Real kernels; the target is 200 ms.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.benchmarks.latencies import quantiles
from tests.notebook.conftest import Kernel
from tests.notebook.test_stops import begun

STOPS = 20
BODIES = "time.sleep(60)", "while True: pass", "await asyncio.sleep(60)"


def stops(kernel: Kernel, body: str, op: str) -> list[float]:
    """Seconds of each stop of a step with `body`, a run each."""
    taken = []
    for n in range(STOPS):
        kernel.run("%workflow new")
        cell = kernel.send(f"%%step s{n}\n{body}", cell_id=f"s{n}")
        begun(kernel, f"s{n}")
        sent = time.perf_counter()
        assert kernel.control(op=op)["ok"]
        result = kernel.wait(cell, timeout=20)
        taken.append(time.perf_counter() - sent)
        assert result.error is not None
        assert result.error[0] == "RunStopped"
    return taken


def main() -> None:
    os.environ.pop("JPY_SESSION_NAME", None)
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(
            Path(folder), live=True, WFKERNEL_STORE=f"{folder}/store.duckdb", WFKERNEL_KEY_FILE=f"{folder}/key"
        )
        try:
            kernel.run("import asyncio, time")
            for op in ("suspend", "cancel"):
                for body in BODIES:
                    median, high = quantiles(stops(kernel, body, op))
                    print(f"{op:8} during {body:24} median {median:5.1f} ms, p95 {high:5.1f} ms")
        finally:
            kernel.close()


if __name__ == "__main__":
    main()
