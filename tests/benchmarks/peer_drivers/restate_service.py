"""The services `restate_driver` calls, served at the address on the command line."""

from __future__ import annotations

import asyncio
import os
import sys

import restate
from cells import crash_step
from hypercorn.asyncio import serve
from hypercorn.config import Config

service = restate.Service("Steps")
asking = restate.Workflow("Asking")
crashing = restate.Workflow("Crashing")


@service.handler()
async def count(ctx: restate.Context, steps: int) -> int:
    for i in range(steps):
        await ctx.run_typed("step", lambda i=i: i)
    return steps


@service.handler()
async def spread(ctx: restate.Context, steps: int) -> int:
    await restate.gather(*[ctx.run_typed("arm", lambda i=i: i) for i in range(steps)])
    return steps


@asking.main()
async def run(ctx: restate.WorkflowContext, given: str) -> str:
    await ctx.run_typed("before", lambda: 0)
    ctx.set("waiting", True)
    answer = await ctx.promise("answer", type_hint=str)
    await ctx.run_typed("after", lambda: 1)
    return answer


@asking.handler()
async def is_waiting(ctx: restate.WorkflowSharedContext) -> bool:
    return bool(await ctx.get("waiting"))


@asking.handler()
async def answer(ctx: restate.WorkflowSharedContext, given: str) -> None:
    await ctx.promise("answer").resolve(given)


@crashing.main("run")
async def crash(ctx: restate.WorkflowContext, steps: int) -> int:
    for i in range(steps):
        await ctx.run_typed("step", lambda i=i: crash_step(os.environ["CRASH_FOLDER"], i))
    return steps


if __name__ == "__main__":
    address = Config.from_mapping(bind=[sys.argv[1]], loglevel="ERROR")
    asyncio.run(serve(restate.app(services=[service, asking, crashing]), address))
