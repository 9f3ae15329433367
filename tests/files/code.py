"""Code that the workflow files of these tests name by its address."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from wfkernel import step


class Order(BaseModel):
    id: int
    total: float


class Answer(BaseModel):
    approve: bool


class State(BaseModel):
    seen: int = 0


class Flaky(Exception):
    pass


def load(month: int) -> dict[str, Any]:
    return {"rows": [1, 2, 3], "month": month}


@step(retries=1, timeout=30)
def double(x: int) -> int:
    return 2 * x


def total(rows: list[float], scale: float = 1.0) -> float:
    return sum(rows) * scale


def boom() -> None:
    raise ValueError("out of paper")


def increase(x: int) -> int:
    return x + 1


def undo(value: Any) -> None:
    return None


def is_small(value: int) -> bool:
    return value < 5


def is_flaky(error: BaseException) -> bool:
    return isinstance(error, Flaky)


def half_a_second(value: Any) -> str:
    return "500ms"


class Reviewer:
    """An agent that is an object."""

    async def run(self, task: str, inputs: Any) -> str:
        return f"reviewed {inputs!r}: {task}"


reviewer = Reviewer()


def writer(task: str) -> str:
    return f"wrote: {task}"
