"""What the engine costs: medians of repeated runs. Run it on an idle machine; it prints, it asserts nothing.

python tests/benchmarks/engine.py [--quick]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step

QUICK = "--quick" in sys.argv
REPEAT = 3 if QUICK else 7


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def row(what: str, value: str, target: str = "") -> None:
    print(f"{what:<66} {value:>16}   {target}", flush=True)


def yardstick() -> None:
    """How fast the machine is just now: compare figures of two runs of this script only beside it."""
    begun = time.perf_counter()
    total = 0
    for n in range(5_000_000):
        total += n
    row("yardstick: 5,000,000 turns of a Python loop", f"{time.perf_counter() - begun:.2f} s")


async def median(work: Callable[[], Awaitable[Any]]) -> float:
    """Seconds `work` takes, as the median after one run to warm up."""
    await work()
    times = []
    for _ in range(REPEAT):
        began = time.perf_counter()
        await work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def chain(length: int, worker: str | None, **options: Any) -> Workflow:
    flow = Workflow("chain", **options)
    for n in range(length):
        if worker is None:

            async def noop(x: Any) -> Any:
                return x
        else:

            def noop(x: Any) -> Any:  # type: ignore[misc]
                return x

        flow.then(step(id=f"s{n}", worker=worker)(noop))
    return flow.commit()


async def sequential() -> None:
    for name, worker, target in (
        ("coroutines", None, "<= 80 us"),
        ("plain functions, worker='inline'", "inline", "<= 80 us"),
        ("plain functions, in threads (their default)", "threads", "no target"),
    ):
        flow = chain(1_000, worker)
        seconds = await median(lambda flow=flow: flow.create_run().start(1))  # type: ignore[misc]
        row(f"1,000 sequential no-op steps, in memory: {name}", f"{seconds * 1000:.1f} us/step", target)


async def bare_threads() -> None:
    """What the standard library alone takes to call a function in a thread and come back."""

    async def calls() -> None:
        for _ in range(1_000):
            await asyncio.to_thread(int)

    row("1,000 times asyncio.to_thread(int), no engine", f"{await median(calls) * 1000:.1f} us/call")


async def fan_out() -> None:
    async def noop(x: Any) -> Any:
        return x

    steps = []
    for n in range(1_000):

        async def arm(x: Any) -> Any:
            return x

        steps.append(step(id=f"a{n}")(arm))
    arms = Workflow("arms").parallel(*steps).commit()
    seconds = await median(lambda: arms.create_run().start(1))
    row("1,000-way parallel, in memory", f"{1000 / seconds:,.0f} steps/s", ">= 15,000 steps/s")
    each = Workflow("each").foreach(noop, concurrency=1_000).commit()
    items = list(range(1_000))
    seconds = await median(lambda: each.create_run().start(items))
    row("foreach over 1,000 items, concurrency 1,000, in memory", f"{1000 / seconds:,.0f} items/s", ">= 15,000 steps/s")


async def writer_events() -> None:
    count = 100_000

    async def talk(x: Any, ctx: Any) -> None:
        write = ctx.writer.write
        for n in range(count):
            await write(n)

    flow = Workflow("talk").then(talk).commit()

    async def consume() -> None:
        stream = flow.create_run().stream(1)
        seen = 0
        async for _ in stream:
            seen += 1
        assert seen == count + 4

    yardstick()
    seconds = await median(consume)
    row("100,000 writer events to one consumer", f"{count / seconds:,.0f} events/s", ">= 300,000 events/s")


async def memory() -> None:
    async def up(x: int) -> int:
        return x + 1

    count = 20_000 if QUICK else 100_000
    sizes: dict[int, float] = {}
    marks: dict[int, float] = {}

    def below(x: int) -> bool:
        if x in (10, 1_000, count // 10, count):
            sizes[x] = resident_mb()
        if x in (10, 1_010, count // 10, count // 10 + 1_000, count - 1_000, count - 1):
            marks[x] = time.perf_counter()
        return x < count

    await Workflow("long").do_while(up, below).commit().create_run().start(0)
    row(f"memory after 1,000 and after {count:,} steps of a run", f"{sizes[1_000]:.1f}, {sizes[count]:.1f} MB", "flat")
    first = (marks[1_010] - marks[10]) / 1_000
    tenth = (marks[count // 10 + 1_000] - marks[count // 10]) / 1_000
    last = (marks[count - 1] - marks[count - 1_000]) / 999
    row(
        f"a step at 10, at {count // 10:,} and at the end",
        f"{first * 1e6:.1f} {tenth * 1e6:.1f} {last * 1e6:.1f} us",
        "equal",
    )

    total = 100_000 if QUICK else 1_000_000

    async def talk(x: Any, ctx: Any) -> None:
        write = ctx.writer.write
        for n in range(total):
            await write(n)

    stream = Workflow("talk").then(talk).commit().create_run().stream(1)
    seen, sizes = 0, {}
    async for _ in stream:
        seen += 1
        if seen in (10_000, total):
            sizes[seen] = resident_mb()
    row(f"memory after 10,000 and after {total:,} stream events", f"{sizes[10_000]:.1f}, {sizes[total]:.1f} MB", "flat")


async def stored() -> None:
    from wfkernel.store.store import Store

    for durability in ("fsync", "write", "exit"):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "store.duckdb")
            flow = chain(300, None, store=store, durability=durability)
            seconds = await median(lambda flow=flow: flow.create_run().start(1))  # type: ignore[misc]
            row(f"300 sequential steps in a store, durability {durability}", f"{seconds / 300 * 1e6:.0f} us/step", "")
            store.close()


async def main() -> None:
    yardstick()
    await sequential()
    await bare_threads()
    await fan_out()
    await writer_events()
    await memory()
    await stored()


if __name__ == "__main__":
    asyncio.run(main())
