"""How long `import wfkernel` takes, in a fresh interpreter, and what it brings along. Target: under 250 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys

CODE = """
import sys, time
before = set(sys.modules)
begun = time.perf_counter()
import wfkernel
print((time.perf_counter() - begun) * 1e3)
print(','.join(sorted({'pandas', 'numpy', 'pyarrow', 'duckdb', '_duckdb', 'IPython', 'pydantic'} & set(sys.modules))) or 'nothing heavy')
"""


def measure(code: str, runs: int = 9) -> tuple[float, str]:
    """Median milliseconds and what the last run printed beside it."""
    times, brought = [], ""
    for _ in range(runs):
        lines = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        times.append(float(lines[0]))
        brought = lines[1]
    return statistics.median(times), brought


if __name__ == "__main__":
    median, brought = measure(CODE)
    print(f"import wfkernel: {median:.1f} ms ({brought})")
    median, _ = measure(CODE.replace("import wfkernel\n", "from wfkernel.notebook import extension\n"))
    print(f"what %load_ext wfkernel imports: {median:.0f} ms")
