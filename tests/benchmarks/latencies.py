"""How long the parts of a durable run take, as medians and 95th percentiles beside what they may take.

    python -m tests.benchmarks.latencies

One process with a store of 200 runs of 100 steps; durability is `fsync` unless said otherwise.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks.store_steps import new_script, new_store, raw_append, step_through

SAMPLES = 200


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds."""
    return statistics.median(seconds) * 1e3, statistics.quantiles(seconds, n=20)[-1] * 1e3


def sample(action: Callable[[], Any], pause: float = 0.0) -> list[float]:
    taken = []
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
        time.sleep(pause)
    return taken


def begun_runs(store: Any) -> Iterator[float]:
    """Seconds from making a run to the first line of its first step."""
    from wfkernel.engine.workflow import Workflow
    from wfkernel.plan.step import step

    reached = 0.0

    @step
    def first(x: int) -> int:
        nonlocal reached
        reached = time.perf_counter()
        return x

    flow = Workflow("first", input=int, store=store).then(first).commit()
    for n in range(SAMPLES):
        begun = time.perf_counter()
        flow.run(n)
        yield reached - begun


def written(store: Any) -> Iterator[float]:
    """Seconds for one event in the tables, the file being open: a transaction of its own."""
    from wfkernel.engine.events import Event
    from wfkernel.store.projection import insert_events
    from wfkernel.store.read import transaction

    for n in range(SAMPLES):
        event = Event("written", n + 1, time.time(), "step.custom", "s", 1, {"data": n})
        with store.database.open() as connection:
            begun = time.perf_counter()
            with transaction(connection):
                insert_events(connection, [event])
            yield time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WFKERNEL_KEY_FILE"] = f"{folder}/key"
        print(f"one append with fdatasync on this disk: {raw_append(folder):.2f} ms (median)")
        store = new_store(folder)
        for n in range(200):
            step_through(new_script(store, f"run{n:03}", "write"), 0, 100)
        store.runs()
        run, quick = new_script(store, "events", "fsync"), new_script(store, "quick", "write")
        rows = [
            ("checkpoint of a run of 100 steps", sample(lambda: store.checkpoint("run050")), 10),
            ("event, on disk", sample(lambda: run.emit("step.custom", {"data": 1}, "s", durable=True)), 1),
            ("event, durability `write`", sample(lambda: quick.emit("step.custom", {"data": 1}, "s", durable=True)), 1),
            ("a run from its creation to its first step", list(begun_runs(store)), 50),
            ("one event moved to the tables (nobody waits)", list(written(store)), 10),
        ]
        store.close()
    print(f"{'':45} median     p95   at most")
    for what, seconds, most in rows:
        median, high = quantiles(seconds)
        print(f"{what:45} {median:6.2f}  {high:6.2f} ms  {most} ms")


if __name__ == "__main__":
    main()
