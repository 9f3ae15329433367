"""How long it takes to validate a workflow file of 1,000 steps: read, checked against the format, graph and expressions.

Run as ``python -m tests.benchmarks.load_yaml``.
"""

from __future__ import annotations

import statistics
import time

from wfkernel.plan.load import check_text

STEPS = 1_000


def text() -> str:
    lines = ["id: big", "inputs: {x: integer}", "steps:"]
    for number in range(STEPS):
        lines += [
            f"  - id: s{number}", f"    name: Step {number}", f"    agent: a{number % 5}",
            f"    task: do thing {number} with ${{{{ inputs.x }}}}", f"    needs: [{f's{number - 1}' if number else ''}]",
            "    retries: 2", "    timeout: 5m",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    source, agents = text(), [f"a{number}" for number in range(5)]
    times = []
    for _ in range(7):
        began = time.perf_counter()
        checked = check_text(source, "big.wf.yaml", agents=agents)
        times.append(time.perf_counter() - began)
        assert not checked.problems
    print(f"validate a YAML file of {STEPS} steps ({len(source) / 1000:.0f} kB): first {times[0] * 1000:.0f} ms, "
          f"then {statistics.median(times[1:]) * 1000:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
