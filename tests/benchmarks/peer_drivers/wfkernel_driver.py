"""wfkernel: durable functions of plain `def` steps on their default worker, in a store with the default durability."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from cells import bytes_on_disk, crash_step, executed_again, median_ms, run_cell, since_spawn, timed

from wfkernel.engine.durable import workflow
from wfkernel.engine.workflow import Workflow
from wfkernel.plan.step import step
from wfkernel.store.store import Store


@step
def noop(i: int) -> int:
    return i


@step
async def noop_async(i: int) -> int:
    return i


def store_in(folder: str) -> Store:
    os.environ["WFKERNEL_KEY_FILE"] = f"{folder}/key"
    return Store(Path(folder) / "store.duckdb")


def counting(store: Store, durability: Any = "fsync", body: Any = noop) -> Any:
    @workflow(store=store, durability=durability)
    async def count(ctx: Any, steps: int) -> int:
        for i in range(steps):
            await ctx.step(body, i)
        return steps

    return count


def asking(store: Store) -> Any:
    @workflow(store=store)
    async def ask(ctx: Any) -> Any:
        await ctx.step(noop, 0)
        answer = await ctx.suspend(message="approve?")
        await ctx.step(noop, 1)
        return answer

    return ask


def seq(folder: str, number: int, durability: Any = "fsync", body: Any = noop) -> dict[str, float]:
    count = counting(store_in(folder), durability, body)
    count.run(10)
    return {"ms": timed(lambda: count.run(number)) / number * 1e3}


def fan(folder: str, number: int) -> dict[str, float]:
    flow = Workflow("fan", store=store_in(folder)).foreach(noop_async, concurrency=number).commit()
    flow.run([1, 2, 3])
    return {"rate": number / timed(lambda: flow.run(list(range(number))))}


def many(folder: str, number: int) -> dict[str, float]:
    count = counting(store_in(folder), body=noop_async)
    count.run(3)

    async def together() -> float:
        begun = time.perf_counter()
        await asyncio.gather(*(count.create_run().start(10) for _ in range(100)))
        return time.perf_counter() - begun

    return {"rate": 1000 / asyncio.run(together())}


def answer(folder: str, number: int) -> dict[str, float]:
    ask = asking(store_in(folder))

    async def rounds() -> tuple[list[float], list[float]]:
        suspended, answered = [], []
        for _ in range(number):
            run = ask.create_run()
            begun = time.perf_counter()
            await run.start()
            asked = time.perf_counter()
            result = await run.resume("yes")
            answered.append((time.perf_counter() - asked) * 1e3)
            suspended.append((asked - begun) * 1e3)
            assert result.result == "yes"
        return suspended, answered

    suspended, answered = asyncio.run(rounds())
    return {"suspend": statistics.median(suspended), "ms": statistics.median(answered)}


def wait(folder: str, number: int) -> dict[str, float]:
    asking(store_in(folder)).create_run("run").sync.start()
    return {}


def go_on(folder: str, number: int) -> dict[str, float]:
    assert asking(store_in(folder)).create_run("run").sync.resume("yes").result == "yes"
    return {"s": since_spawn()}


def crashing(folder: str) -> Any:
    def may_crash(i: int) -> int:
        return crash_step(folder, i)

    return counting(store_in(folder), body=step(may_crash))


def crash(folder: str, number: int) -> dict[str, float]:
    crashing(folder).create_run("run").sync.start(100)
    return {}


def recover(folder: str, number: int) -> dict[str, float]:
    crashing(folder).create_run("run").sync.restart()
    return executed_again(folder)


def history(folder: str, number: int) -> dict[str, float]:
    store = store_in(folder)
    count = counting(store, "write", noop_async)
    for k in range(number // 100):
        count.create_run(f"run{k}").sync.start(100)
    store.runs()
    steps = f"SELECT step, status, executions, seconds FROM steps WHERE run_id = 'run{number // 200}'"
    found = {"list": median_ms(lambda: store.runs(limit=100)), "steps": median_ms(lambda: store.query(steps))}
    store.close()
    return {**found, "bytes": bytes_on_disk(folder) / number}


def events(folder: str, number: int) -> dict[str, float]:
    store = store_in(folder)

    async def talk(given: int, ctx: Any) -> None:
        for i in range(given):
            await ctx.writer.custom({"type": "word", "i": i, "word": "x" * 20})

    flow = Workflow("talk", store=store).then(talk).commit()
    flow.run(10)
    rate = number / timed(lambda: flow.run(number))
    kept = store.query("SELECT count(*) FROM events WHERE type = 'step.custom'")[1][0][0]
    assert kept == number + 10, kept
    return {"rate": rate}


if __name__ == "__main__":
    run_cell(
        {
            "seq": seq,
            "seq_unsynced": lambda folder, number: seq(folder, number, "write"),
            "fan": fan,
            "many": many,
            "seq_async": lambda folder, number: seq(folder, number, "fsync", noop_async),
            "seq_async_unsynced": lambda folder, number: seq(folder, number, "write", noop_async),
            "answer": answer,
            "wait": wait,
            "go_on": go_on,
            "crash": crash,
            "recover": recover,
            "history": history,
            "events": events,
        }
    )
