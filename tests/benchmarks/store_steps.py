"""What durability costs: a step, many runs at once, going on after a restart, and looking things up in a large store.

    python tests/benchmarks/store_steps.py [seq] [many] [fan] [resume] [history]

Every cell runs in a fresh process with a fresh store. A step is two events, its start and its durable result. `script` is
`ScriptRun`, what a notebook's steps are written with; the others are durable functions with as many `ctx.step` calls,
everything the engine does included: of plain functions, which threads execute, and of coroutines. Beside them: what one
append with fdatasync takes on this disk at this moment, and five million turns of an empty loop on this processor.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CELLS = ("seq", "many", "fan", "resume", "history")
MODES = ("fsync", "write", "exit")
STEPS = 1_000
REPEATS = 5


def new_store(folder: str) -> Any:
    from wfkernel.store.store import Store

    return Store(Path(folder) / "store.duckdb")


def new_script(store: Any, run_id: str, durability: Any) -> Any:
    from wfkernel.engine.script import ScriptRun
    from wfkernel.engine.state import RunState

    run = ScriptRun(store, RunState(run_id), durability=durability)
    start = {"status": "running", "workflow": "bench", "mode": "headless", "owner": store.owner}
    run.emit("run.start", start, durable=True)
    return run


def step_through(run: Any, first: int, count: int) -> None:
    """`count` steps that do nothing and return their number."""
    for n in range(first, first + count):
        step = run.begin(f"s{n}", "py3.11:0123456789abcdef", {}, (), ("n",))
        step.start()
        output = {"name": "n", "type": "int", "codec": "json", "size": len(str(n)), "data": n, "digest": f"json:{n}"}
        step.succeed([output], 0.0)


def medians(measure: Callable[[int], float]) -> float:
    return statistics.median(measure(n) for n in range(REPEATS))


def timed(action: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def raw_append(folder: str, *, reserved: bool = False) -> float:
    """Milliseconds for one append of a step's bytes with fdatasync; `reserved`: into a file that is long enough."""
    Path(f"{folder}/raw").unlink(missing_ok=True)
    fd = os.open(f"{folder}/raw", os.O_WRONLY | os.O_CREAT)
    if reserved:
        os.pwrite(fd, bytes(1 << 18), 0)
        os.fsync(fd)

    def append() -> None:
        os.write(fd, b"x" * 300)
        getattr(os, "fdatasync", os.fsync)(fd)

    taken = [timed(append) * 1e3 for _ in range(300)]
    os.close(fd)
    return statistics.median(taken)


def loop_seconds() -> float:
    """Seconds for five million turns of a loop that does nothing: how fast the processor is just now."""
    return timed(lambda: [None for _ in range(5_000_000)])


def nothing(n: int) -> int:
    return n


async def nothing_async(n: int) -> int:
    return n


def function(store: Any, durability: Any, body: Any) -> Any:
    from wfkernel.engine.durable import workflow
    from wfkernel.plan.step import step

    one = step(body)

    @workflow(store=store, durability=durability)
    async def sequence(ctx: Any, count: int) -> int:
        for n in range(count):
            await ctx.step(one, n)
        return count

    return sequence


def seq(folder: str, mode: str) -> None:
    before = raw_append(folder)
    store = new_store(folder)
    script = medians(lambda n: timed(lambda: step_through(new_script(store, f"r{n}", mode), 0, STEPS)))
    plain, coroutines = function(store, mode, nothing), function(store, mode, nothing_async)
    threads = medians(lambda n: timed(lambda: plain.run(STEPS)))
    inline = medians(lambda n: timed(lambda: coroutines.run(STEPS)))
    store.close()
    print(
        f"1,000 sequential steps, {mode:5}: script {script:.3f} ms a step, plain functions {threads:.3f}, "
        f"coroutines {inline:.3f}   (raw append + fdatasync: {before:.3f} before, {raw_append(folder):.3f} after; with "
        f"the room reserved: {raw_append(folder, reserved=True):.3f}; loop {loop_seconds():.2f} s)"
    )


def many(folder: str, mode: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = new_store(folder)

    def scripts(repeat: int) -> float:
        runs = [new_script(store, f"{repeat}-{n}", mode) for n in range(100)]
        with ThreadPoolExecutor(32) as pool:
            return timed(lambda: list(pool.map(lambda run: step_through(run, 0, 10), runs)))

    script = medians(scripts)

    def together(body: Any) -> float:
        sequence = function(store, mode, body)

        async def all_of_them() -> None:
            await asyncio.gather(*(sequence.create_run().start(10) for _ in range(100)))

        return 1_000 / medians(lambda n: timed(lambda: asyncio.run(all_of_them())))

    plain, coroutines = together(nothing), together(nothing_async)
    store.close()
    print(
        f"100 runs x 10 steps, {mode:5}: script in 32 threads {1_000 / script:,.0f} steps/s, "
        f"on one loop plain functions {plain:,.0f}, coroutines {coroutines:,.0f}   (loop {loop_seconds():.2f} s)"
    )


def fan(folder: str, mode: str) -> None:
    from wfkernel.engine.workflow import Workflow
    from wfkernel.plan.step import step

    store = new_store(folder)
    rates = []
    for body in (nothing, nothing_async):
        flow = Workflow("fan", store=store, durability=mode).foreach(step(body), concurrency=STEPS).commit()
        rates.append(STEPS / medians(lambda n, flow=flow: timed(lambda: flow.run(list(range(STEPS))))))
    store.close()
    print(
        f"1,000 steps side by side, {mode:5}: plain functions {rates[0]:,.0f} steps/s, coroutines {rates[1]:,.0f}"
        f"   (loop {loop_seconds():.2f} s)"
    )


KILLED = """
import os, sys
from tests.benchmarks.store_steps import new_script, new_store, step_through
step_through(new_script(new_store(sys.argv[1]), "r", "write"), 0, 500)
os.kill(os.getpid(), 9)
"""
NEXT = """
import sys
from wfkernel.engine.script import ScriptRun
from wfkernel.store.store import Store
store = Store(sys.argv[1] + "/store.duckdb")
run = ScriptRun(store, store.claim("r", lambda state: [("run.attach", "", {})]))
assert all(run.decide(f"s{n}", "py3.11:0123456789abcdef", {}) == "restore" for n in range(500))
step = run.begin("s500", "py3.11:0123456789abcdef", {}, (), ("n",))
step.start()
step.succeed([{"name": "n", "type": "int", "codec": "json", "size": 3, "data": 500, "digest": "json:500"}], 0.0)
run.finish("success")
store.close()
"""


def resume(folder: str, mode: str) -> None:
    """Kill a process after 500 of 1,000 steps; time from spawning the next one to its end, the store closed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    taken = []
    for n in range(REPEATS + 1):
        where = f"{folder}/{n}"
        subprocess.run([sys.executable, "-c", KILLED, where], env=environment, check=False)
        going_on = [sys.executable, "-c", NEXT, where]
        taken.append(timed(lambda command=going_on: subprocess.run(command, env=environment, check=True)))
    print(
        f"a killed run of 500 steps: {statistics.median(taken[1:]):.2f} s from spawning its next process to the end of that"
    )  # the first one may have compiled wfkernel, as installing it does


def history(folder: str, mode: str) -> None:
    store = new_store(folder)
    building = timed(lambda: [step_through(new_script(store, f"run{n:04}", "write"), 0, 100) for n in range(1_000)])
    folding = timed(store.runs)
    store.close()  # who looks things up finds the file as its writer left it
    store = new_store(folder)
    store.runs()
    listing = statistics.median(timed(lambda: store.runs(limit=100)) for _ in range(60)) * 1e3
    steps = "SELECT step, status, executions FROM steps WHERE run_id = 'run0500'"
    reading = statistics.median(timed(lambda: store.query(steps)) for _ in range(60)) * 1e3
    loading = statistics.median(timed(lambda: store.load("run0500")) for _ in range(20)) * 1e3
    path = Path(folder) / "store.duckdb"
    with store.database.open() as connection:
        store.database.checkpoint()
        (used,) = connection.execute("SELECT used_blocks * block_size FROM pragma_database_size()").fetchall()[0]
    size = path.stat().st_size
    point = statistics.median(timed(lambda: store.checkpoint("run0500")) for _ in range(20)) * 1e3
    checked = timed(lambda: __import__("wfkernel.store.fsck", fromlist=["check"]).check(store))
    store.close()
    print(
        f"100,000 steps in 1,000 runs: written in {building:.1f} s, the rest folded in {folding:.2f} s; newest 100 runs "
        f"{listing:.1f} ms, steps of one run {reading:.1f} ms, its state {loading:.1f} ms, a checkpoint {point:.1f} ms, "
        f"fsck {checked:.2f} s, {used / 100_000:.0f} bytes on disk a step "
        f"({size / 100_000:.0f} with the blocks DuckDB keeps free)"
    )


def main(cells: list[str]) -> None:
    for cell in cells or CELLS:
        for mode in MODES if cell in ("seq", "many", "fan") else ("",):
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run([sys.executable, __file__, "--cell", cell, mode, folder], check=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    if sys.argv[1:2] == ["--cell"]:
        os.environ["WFKERNEL_KEY_FILE"] = f"{sys.argv[4]}/key"
        globals()[sys.argv[2]](sys.argv[4], sys.argv[3])
    else:
        main(sys.argv[1:])
