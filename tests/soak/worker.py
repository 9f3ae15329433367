"""One of the processes of the soak: starts runs, takes up what others left, resumes what is suspended, until told to stop.

What it did is appended to `log` (one short line a write, so a killed process leaves whole lines): `do RUN STEP` when a
step's body begins, `ack RUN STEP` when the engine has given that step's result to the next one, that is: after it was
acknowledged to be durable. `answered RUN` when a resume was accepted.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from wfkernel.engine.failures import RunActive, RunNotActive
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import ResumeAlreadyClaimed, RunNotSuspended, WorkflowError
from wfkernel.plan.step import step
from wfkernel.store.store import Store

STEPS = 12
ITEMS = 6
RESULT = STEPS + ITEMS
APPROVED_AT = 5

log_fd = -1


def log(*words: object) -> None:
    os.write(log_fd, (" ".join(map(str, words)) + "\n").encode())


def flow(store: Store) -> Workflow[Any, Any]:
    """Twelve steps in a row, one of which asks somebody, then six items side by side."""

    def advance(n: int) -> Any:
        @step(id=f"s{n}", worker="inline")
        def body(x: int, ctx: Any) -> int:
            if n:
                log("ack", ctx.run_id, f"s{n - 1}")
            log("do", ctx.run_id, f"s{n}")
            if n == APPROVED_AT:
                ctx.suspend()
            ctx.writer.write(f"step {n}")
            if n % 4 == 3:
                time.sleep(0.002)  # so that some kills fall inside a step
            return x + 1

        return body

    @step(id="item")
    async def item(x: int, ctx: Any) -> int:
        log("do", ctx.run_id, f"item{x}")
        await asyncio.sleep(0.001)
        return x

    built: Any = Workflow("soak", store=store)
    for n in range(STEPS):
        built = built.then(advance(n))
    return (
        built.map(lambda x: list(range(ITEMS)))
        .foreach(item, concurrency=3)
        .map(lambda items: STEPS + len(items))
        .commit()
    )


def take_up(store: Store, workflow: Workflow[Any, Any], rng: random.Random) -> int:
    """Continue what is suspended or interrupted; returns how many runs ended. Others may be faster, and say so clearly."""
    rows = [row for row in store.runs(limit=1_000) if row["status"] == "suspended" or row["interrupted"]]
    rng.shuffle(rows)
    ended = 0
    for row in rows[:4]:
        run = workflow.create_run(row["run_id"])
        try:
            if row["status"] == "suspended":
                result = asyncio.run(run.resume({"ok": True}))
                log("answered", row["run_id"])
            else:
                result = asyncio.run(run.restart())
        except (ResumeAlreadyClaimed, RunActive, RunNotActive, RunNotSuspended):
            continue
        ended += result.status == "success"
    return ended


def main(path: str, log_path: str, seed: int, skew: float) -> None:
    global log_fd
    log_fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    rng = random.Random(seed)
    real = time.time
    jumps = [0.0]
    time.time = lambda: real() + jumps[0]
    store = Store(path)
    workflow = flow(store)
    stop, drain = Path(log_path).with_name("stop"), Path(log_path).with_name("drain")
    number = 0
    while not stop.exists():
        jumps[0] = rng.choice([0.0, skew, -skew])
        take_up(store, workflow, rng)
        if drain.exists():
            drain.with_name(f"drains-{os.getpid()}").touch()
            time.sleep(0.05)
            continue
        number += 1
        try:
            asyncio.run(workflow.create_run(f"{seed}-{number}").start(0))
        except WorkflowError as error:
            log("refused", f"{seed}-{number}", type(error).__name__)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
