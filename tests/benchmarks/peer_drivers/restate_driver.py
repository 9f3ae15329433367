"""Restate: its server (WAL with fsync, the default) and a Python service, each a process; called over HTTP on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from cells import bytes_on_disk, executed_again, run_cell, since_spawn

HERE = Path(__file__).parent
SERVER = Path(sys.prefix, "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server")


def ports_of(folder: str) -> list[int]:
    """Four ports, the same ones each time a server is started on this folder: runs know where their service is."""
    known = Path(folder, "ports")
    if not known.exists():
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
        known.write_text(" ".join(str(probe.getsockname()[1]) for probe in probes))
        for probe in probes:
            probe.close()
    return [int(port) for port in known.read_text().split()]


class Restate:
    """A running server with the services registered."""

    def __init__(self, folder: str) -> None:
        ingress, admin, service, between = ports_of(folder)
        self.ingress, self.admin, self.service = (f"http://127.0.0.1:{port}" for port in (ingress, admin, service))
        environment = {
            **os.environ, "RESTATE_BASE_DIR": f"{folder}/server", "RESTATE_LOG_FILTER": "error", "RESTATE_NODE_NAME": "n",
            "RESTATE_DISABLE_TELEMETRY": "true", "RESTATE_BIND_IP": "127.0.0.1", "RESTATE_BIND_PORT": str(between),
            "RESTATE_ADMIN__BIND_PORT": str(admin), "RESTATE_INGRESS__BIND_PORT": str(ingress),
            "RESTATE_LISTEN_MODE": "tcp", "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "512MiB",
            "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": "1000",
        }  # fmt: skip
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [sys.executable, HERE / "restate_service.py", f"127.0.0.1:{service}"]
        self.processes = [
            subprocess.Popen([SERVER, "--no-logo"], env=environment, **quiet),
            subprocess.Popen(command, env={**os.environ, "CRASH_FOLDER": folder}, **quiet),
        ]
        self.client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200), timeout=600)

    async def ready(self) -> None:
        await self._until(lambda: self.client.get(f"{self.admin}/health"))
        await self._until(lambda: self.client.post(f"{self.admin}/deployments", json={"uri": self.service}))
        await self._until(lambda: self.client.get(f"{self.ingress}/restate/health"))

    async def _until(self, request: Callable[[], Awaitable[httpx.Response]]) -> None:
        for _ in range(2_000):
            try:
                if (await request()).status_code < 300:
                    return
            except httpx.HTTPError:
                pass  # not up yet
            await asyncio.sleep(0.01)
        raise RuntimeError("restate does not start")

    async def call(self, path: str, body: Any = None) -> Any:
        response = await self.client.post(self.ingress + path, json=body)
        response.raise_for_status()
        return response.json() if response.content else None

    async def result(self, workflow: str, key: str) -> Any:
        response = await self.client.get(f"{self.ingress}/restate/workflow/{workflow}/{key}/attach")
        response.raise_for_status()
        return response.json()

    async def sql(self, query: str) -> Any:
        response = await self.client.post(
            f"{self.admin}/query", json={"query": query}, headers={"accept": "application/json"}
        )
        response.raise_for_status()
        return response.json()["rows"]

    def kill(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


def cell(work: Callable[[Restate, str, int], Awaitable[Any]]) -> Callable[[str, int], Any]:
    async def served(folder: str, number: int) -> Any:
        restate = Restate(folder)
        try:
            await restate.ready()
            return await work(restate, folder, number)
        finally:
            restate.kill()

    return lambda folder, number: asyncio.run(served(folder, number))


async def timed(work: Awaitable[Any]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def seq(restate: Restate, folder: str, number: int) -> dict[str, float]:
    await restate.call("/Steps/count", 3)
    return {"ms": await timed(restate.call("/Steps/count", number)) / number * 1e3}


async def fan(restate: Restate, folder: str, number: int) -> dict[str, float]:
    await restate.call("/Steps/count", 3)
    return {"rate": number / await timed(restate.call("/Steps/spread", number))}


async def many(restate: Restate, folder: str, number: int) -> dict[str, float]:
    await restate.call("/Steps/count", 3)
    return {"rate": 1000 / await timed(asyncio.gather(*(restate.call("/Steps/count", 10) for _ in range(100))))}


async def suspended(restate: Restate, key: str) -> None:
    await restate.call(f"/Asking/{key}/run/send", "")
    while not await restate.call(f"/Asking/{key}/is_waiting"):
        await asyncio.sleep(0.002)


async def answered(restate: Restate, key: str) -> None:
    await restate.call(f"/Asking/{key}/answer", "yes")
    assert await restate.result("Asking", key) == "yes"


async def answer(restate: Restate, folder: str, number: int) -> dict[str, float]:
    starts, ends = [], []
    for n in range(number):
        starts.append(await timed(suspended(restate, f"r{n}")) * 1e3)
        await asyncio.sleep(0.02)
        ends.append(await timed(answered(restate, f"r{n}")) * 1e3)
    return {"suspend": statistics.median(starts), "ms": statistics.median(ends)}


async def wait(restate: Restate, folder: str, number: int) -> dict[str, float]:
    await suspended(restate, "run")
    await asyncio.sleep(0.3)
    return {}


async def go_on(restate: Restate, folder: str, number: int) -> dict[str, float]:
    await answered(restate, "run")
    return {"s": since_spawn()}


async def crash(restate: Restate, folder: str, number: int) -> dict[str, float]:
    await restate.call("/Crashing/run/run/send", 100)
    await asyncio.to_thread(restate.processes[1].wait)
    return {}


async def recover(restate: Restate, folder: str, number: int) -> dict[str, float]:
    await restate.result("Crashing", "run")
    return executed_again(folder)


async def history(restate: Restate, folder: str, number: int) -> dict[str, float]:
    empty = bytes_on_disk(folder)
    for first in range(0, number // 100, 10):
        runs = range(first, min(first + 10, number // 100))
        await asyncio.gather(*(restate.call("/Steps/count", 100) for _ in runs))
    size = (bytes_on_disk(folder) - empty) / number
    newest = "SELECT id, target, status, created_at FROM sys_invocation ORDER BY created_at DESC LIMIT 100"
    rows = await restate.sql(newest)
    steps = f"SELECT index, entry_type, name FROM sys_journal WHERE id = '{rows[0]['id']}'" if rows else newest
    listed = statistics.median([await timed(restate.sql(newest)) for _ in range(5)]) * 1e3
    return {
        "list": listed,
        "steps": statistics.median([await timed(restate.sql(steps)) for _ in range(5)]) * 1e3,
        "bytes": size,
    }


if __name__ == "__main__":
    both = (seq, fan, many, answer, wait, go_on, crash, recover, history)
    run_cell({work.__name__: cell(work) for work in both})
