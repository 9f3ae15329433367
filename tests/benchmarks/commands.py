"""How soon a process hears of, and is heard by, a run that another process executes.

    python -m tests.benchmarks.commands

The other process executes a workflow whose step writes the time 50 times; this one follows it, asks for its status, and
cancels it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from wfkernel.engine.events import Event
from wfkernel.store.store import Store

OTHER = """
import asyncio, sys, time
from wfkernel import Store, Workflow

async def tell(x, ctx):
    for _ in range(50):
        await asyncio.sleep(0.02)
        await ctx.writer.custom({"type": "now", "at": time.time()})
    await ctx.signal.wait()

store = Store(sys.argv[1])
asyncio.run(Workflow("told", store=store).then(tell).commit().create_run("r").start(1))
store.close()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "store.duckdb")
        other = subprocess.Popen([sys.executable, "-c", OTHER, path])
        store = Store(path)
        while not store.exists("r"):
            time.sleep(0.05)
        delays: list[float] = []
        heard: list[float] = []
        ended = threading.Event()

        def take(events: list[Event]) -> None:
            now = time.time()
            said = [e.payload["data"]["at"] for e in events if e.type == "step.custom"]
            delays.extend(now - at for at in said if at > begun_at)  # not those from before it was followed
            heard.extend(said)
            if events[-1].type == "run.finish":
                ended.set()

        begun_at = time.time()
        stop = store.follow("r", 0, take)
        while len(heard) < 50:
            time.sleep(0.02)
        taken = []
        for _ in range(100):
            begun = time.perf_counter()
            store.send("r", {"op": "status"})
            taken.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        store.send("r", {"op": "cancel"})
        ended.wait(10)
        canceled = time.perf_counter() - begun
        stop()
        other.wait()
        store.close()
    high = statistics.quantiles(delays, n=20)[-1] * 1e3
    print(
        f"an event of another process, until it is here   {statistics.median(delays) * 1e3:6.1f} ms (median, p95 {high:.1f})"
    )
    print(f"a command to another process, there and back    {statistics.median(taken) * 1e3:6.1f} ms (median)")
    print(f"cancel, until its last event is here            {canceled * 1e3:6.1f} ms")


if __name__ == "__main__":
    main()
