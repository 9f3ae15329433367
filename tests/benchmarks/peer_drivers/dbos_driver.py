"""DBOS Transact on SQLite (rollback journal, synchronous=FULL): a step's output is committed before the next begins."""

from __future__ import annotations

import asyncio
import statistics
import time

from cells import bytes_on_disk, crash_step, executed_again, median_ms, run_cell, since_spawn, timed
from dbos import DBOS, SetWorkflowID

FOLDER = ""


@DBOS.step()
def noop(i: int) -> int:
    return i


@DBOS.step()
async def noop_async(i: int) -> int:
    return i


@DBOS.step()
def may_crash(i: int) -> int:
    return crash_step(FOLDER, i)


@DBOS.workflow()
def count(steps: int) -> int:
    for i in range(steps):
        noop(i)
    return steps


@DBOS.workflow()
async def spread(steps: int) -> int:
    return len(await asyncio.gather(*(noop_async(i) for i in range(steps))))


@DBOS.workflow()
def ask() -> str:
    noop(0)
    DBOS.set_event("state", "waiting")
    answer = DBOS.recv("approve", timeout_seconds=600)
    noop(1)
    return answer


@DBOS.workflow()
def crashing() -> int:
    for i in range(100):
        may_crash(i)
    return 100


@DBOS.workflow()
def talk(number: int) -> int:
    for i in range(number):
        DBOS.write_stream("words", {"i": i, "word": "x" * 20})
    DBOS.close_stream("words")
    return number


def launch(folder: str) -> None:
    global FOLDER
    FOLDER = folder
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{folder}/state.sqlite", "log_level": "ERROR"})
    DBOS.launch()


def seq(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    count(3)
    return {"ms": timed(lambda: count(number)) / number * 1e3}


def fan(folder: str, number: int) -> dict[str, float]:
    launch(folder)

    async def go() -> float:
        await spread(3)
        begun = time.perf_counter()
        await spread(number)
        return number / (time.perf_counter() - begun)

    return {"rate": asyncio.run(go())}


def many(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    count(3)
    seconds = timed(lambda: [h.get_result() for h in [DBOS.start_workflow(count, 10) for _ in range(100)]])
    return {"rate": 1000 / seconds}


def answer(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    suspended, answered = [], []
    for _ in range(min(number, 5)):  # each waits for a poll of one second
        begun = time.perf_counter()
        handle = DBOS.start_workflow(ask)
        DBOS.get_event(handle.workflow_id, "state")
        suspended.append((time.perf_counter() - begun) * 1e3)
        time.sleep(0.05)
        begun = time.perf_counter()
        DBOS.send(handle.workflow_id, "yes", topic="approve")
        handle.get_result()
        answered.append((time.perf_counter() - begun) * 1e3)
    return {"suspend": statistics.median(suspended), "ms": statistics.median(answered)}


def wait(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    with SetWorkflowID("run"):
        DBOS.start_workflow(ask)
    DBOS.get_event("run", "state")
    time.sleep(0.3)
    return {}


def go_on(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    DBOS.send("run", "yes", topic="approve")
    assert DBOS.retrieve_workflow("run").get_result() == "yes"
    return {"s": since_spawn()}


def crash(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    with SetWorkflowID("run"):
        crashing()
    return {}


def recover(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    DBOS.retrieve_workflow("run").get_result()
    return executed_again(folder)


def history(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    for k in range(number // 100):
        with SetWorkflowID(f"run{k}"):
            count(100)
    middle = f"run{number // 200}"
    return {
        "list": median_ms(lambda: DBOS.list_workflows(limit=100, sort_desc=True)),
        "steps": median_ms(lambda: DBOS.list_workflow_steps(middle)),
        "bytes": bytes_on_disk(folder) / number,
    }


def events(folder: str, number: int) -> dict[str, float]:
    launch(folder)
    few = min(number, 1000)  # each is a commit
    return {"rate": few / timed(lambda: talk(few))}


if __name__ == "__main__":
    run_cell(
        {
            "seq": seq,
            "fan": fan,
            "many": many,
            "answer": answer,
            "wait": wait,
            "go_on": go_on,
            "crash": crash,
            "recover": recover,
            "history": history,
            "events": events,
        }
    )
