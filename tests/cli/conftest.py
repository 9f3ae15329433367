"""One process that runs all commands of a module, and a store with a run of every kind that they share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]

JOBS = """
import os, time
from pydantic import BaseModel
from wfkernel import Workflow, step, suspend, write

class Order(BaseModel):
    rows: int

class Approval(BaseModel):
    approve: bool

@step
def load(order: Order) -> list[int]:
    write(f"loading {order.rows} rows")
    return list(range(order.rows))

@step
def total(rows: list[int]) -> int:
    return sum(rows)

@step
def check(n: int) -> int:
    if os.path.exists("broken"):
        raise ValueError("something is broken")
    return n

@step
def ask(n: int) -> bool:
    return suspend(Approval, message="go on?").approve

@step
def ask_the_boss(n: int) -> bool:
    return suspend(Approval, message="really?", label="boss").approve

@step
def wait(order: Order) -> Order:
    while not os.path.exists("go"):
        time.sleep(0.02)
    return order

orders = Workflow("orders", input=Order).then(load).then(total).then(check).commit()
asking = Workflow("asking", input=Order).then(load).then(total).then(ask).commit()
both = Workflow("both", input=Order).then(load).then(total).parallel(ask, ask_the_boss).commit()
slow = Workflow("slow", input=Order).then(wait).then(load).then(total).commit()
"""


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Wf:
    """``wf(*arguments)`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {"WFKERNEL_STORE": str(folder / "store.duckdb"), "WFKERNEL_KEY_FILE": str(folder / "key")}
        others = {name: value for name, value in os.environ.items() if not name.startswith("WFKERNEL_")}
        self._driver = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.driver"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=folder, env={**others, **self.variables, "PYTHONPATH": str(REPOSITORY), "IPYTHONDIR": str(folder / ".ipython")},
        )  # fmt: skip

    def __call__(self, *arguments: str) -> Done:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(arguments) + "\n")
        self._driver.stdin.flush()
        return Done(**json.loads(self._driver.stdout.readline()))

    def close(self) -> None:
        self._driver.communicate()


@pytest.fixture(scope="module")
def wf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wf]:
    made = Wf(tmp_path_factory.mktemp("wf"))
    (made.folder / "jobs.py").write_text(JOBS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(wf: Wf) -> Wf:
    """The runs ``small`` and ``large`` (success), ``bad`` (failed) and ``asks`` (suspended)."""
    assert wf("run", "jobs.py:orders", "-p", "rows=3", "--run-id", "small").status == 0
    assert wf("run", "jobs.py:orders", "--input", '{"rows": 9}', "--run-id", "large").status == 0
    (wf.folder / "broken").touch()
    assert wf("run", "jobs.py:orders", "-p", "rows=3", "--run-id", "bad").status == 1
    (wf.folder / "broken").unlink()
    assert wf("run", "jobs.py:asking", "-p", "rows=3", "--run-id", "asks").status == 75
    return wf
