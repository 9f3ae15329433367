"""Reading and claiming while four other processes write: the file opened in bursts, and through a server.

    python -m tests.benchmarks.many_processes

Each of the others writes a run after the other, a step every 10 ms, with fdatasync. This process asks, every 50 ms, for
the newest 20 runs, and takes a run over (reads its state and adds an event, as `wf resume` does).

*In bursts* is what wfkernel does (`wfkernel.store.database`): whoever has something to do opens the file, takes in all
journals, and lets go when another waits. *Through Quack* is the other way, DuckDB's own server: one process keeps the file
open, moves all journals every 50 ms and serves SQL on loopback; the rest only write journals and ask it. It needs
``pip install duckdb-extension-quack duckdb-extension-httpfs`` in the version of DuckDB, and is left out otherwise.
What a server answers is up to 50 ms old here; what a burst reads is all that was written.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.latencies import quantiles
from tests.benchmarks.store_steps import new_script, new_store, step_through

WRITERS = 4
SAMPLES = 60
PORT = 19494
EXTENSIONS = ("httpfs", "quack")


def write(folder: str, mode: str) -> None:
    """A run after the other until the file `stop` is there."""
    store = new_store(folder)
    if mode == "served":
        store.database.notify = lambda size: None  # the server moves this journal
    number = 0
    while True:
        run = new_script(store, f"w{os.getpid()}-{number}", "fsync")
        number += 1
        for n in range(50):
            step_through(run, n, 1)
            time.sleep(0.01)
            if (Path(folder) / "stop").exists():
                os._exit(0)
        run.finish("success")


def serve(folder: str, token: str) -> None:
    store = new_store(folder)
    with store.database.open() as connection:
        load_extensions(connection)
        connection.execute(f"CALL quack_serve('quack:localhost:{PORT}', token => '{token}')")
    while not (Path(folder) / "stop").exists():
        with store.database.open():
            pass  # everything journaled is in the tables
        time.sleep(0.05)
    os._exit(0)


def load_extensions(connection: Any) -> None:
    import duckdb

    for name in EXTENSIONS:
        package = importlib.util.find_spec(f"duckdb_extension_{name}")
        if package is None or package.origin is None:
            raise ImportError(f"duckdb-extension-{name} is not installed")
        file = Path(package.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        connection.execute(f"LOAD '{file}'")


@contextlib.contextmanager
def others(folder: str, mode: str) -> Iterator[None]:
    """The other processes, from when each has written something until the block ends."""
    command = [sys.executable, "-m", "tests.benchmarks.many_processes"]
    processes = [subprocess.Popen([*command, "write", folder, mode]) for _ in range(WRITERS)]
    try:
        time.sleep(3)
        yield
    finally:
        (Path(folder) / "stop").touch()
        for process in processes:
            process.wait(30)


def report(what: str, read: Callable[[], Any], claim: Callable[[str], Any]) -> None:
    reading, claiming = [], []
    for n in range(SAMPLES):
        for times, action in ((reading, read), (claiming, lambda n=n: claim(f"claimed{n}"))):
            time.sleep(0.05)
            begun = time.perf_counter()
            action()
            times.append(time.perf_counter() - begun)
    for verb, times in (("read", reading), ("claim", claiming)):
        median, high = quantiles(times)
        print(f"{what}: {verb:5} {median:6.1f} ms median, {high:6.1f} ms p95", flush=True)


def prepared(folder: str) -> Any:
    """A store with the runs that will be claimed."""
    store = new_store(folder)
    for n in range(SAMPLES):
        step_through(new_script(store, f"claimed{n}", "write"), 0, 20)
    store.close()
    return new_store(folder)


def in_bursts() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = prepared(folder)
        with others(folder, "bursts"):
            report(
                "in bursts    ",
                lambda: store.runs(limit=20),
                lambda run: store.claim(run, lambda state: [("run.attach", "", {"status": "running"})]),
            )
        store.close()


def through_quack() -> None:
    import duckdb

    from wfkernel.engine.events import Event
    from wfkernel.engine.state import fold

    client = duckdb.connect()
    begun = time.perf_counter()
    load_extensions(client)
    print(f"loading Quack: {(time.perf_counter() - begun) * 1e3:.0f} ms in every process")
    token = secrets.token_hex(16)
    client.execute(f"CREATE SECRET (TYPE quack, TOKEN '{token}')")

    def ask(sql: str) -> list[tuple[Any, ...]]:
        quoted = sql.replace("'", "''")
        return client.execute(f"FROM quack_query('quack:localhost:{PORT}', '{quoted}')").fetchall()

    def claim(run: str) -> None:
        import json

        rows = ask(
            f"SELECT run_id, seq, ts, type, path, attempt, payload FROM wf.events WHERE run_id = '{run}' ORDER BY seq"
        )
        state = fold(Event(*row[:6], json.loads(row[6])) for row in rows)
        ask(
            f"INSERT INTO wf.events SELECT '{run}', {state.seq + 1}, {time.time()}, 'run.attach', '', 0, '{{}}', 0 "
            f"WHERE (SELECT max(seq) FROM wf.events WHERE run_id = '{run}') = {state.seq}"
        )

    with tempfile.TemporaryDirectory() as folder:
        prepared(folder).close()
        server = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.many_processes", "serve", folder, token])
        with others(folder, "served"):
            while True:
                with contextlib.suppress(duckdb.IOException):  # it is not there yet
                    ask("SELECT 1")
                    break
                time.sleep(0.1)
            report("through Quack", lambda: ask("SELECT * FROM runs LIMIT 20"), claim)
        server.wait(30)


def main() -> None:
    in_bursts()
    try:
        through_quack()
    except ImportError as missing:
        print(f"through Quack: not measured, {missing}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2], sys.argv[3])
    elif sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], sys.argv[3])
    else:
        main()
