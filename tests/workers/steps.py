"""Steps the worker tests execute, and the step they belong to. In a module, as in a user's package."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from wfkernel import progress, suspend, write
from wfkernel.engine.answers import validate_answer
from wfkernel.engine.context import current_step
from wfkernel.engine.signal import CancelSignal, cancel_signal
from wfkernel.errors import AnswerInvalid, RunSuspended


class Done:
    """Awaited or not, there is nothing to wait for."""

    def __await__(self) -> Any:
        return iter(())


class RecordingStep:
    """A running step that notes what it is told, and gives the answers it has as the engine would."""

    def __init__(self, path: str = "step", answers: list[Any] | None = None) -> None:
        self.path = path
        self.answers = answers or []
        self.told: list[tuple[Any, ...]] = []
        self._asked = 0

    def __reduce__(self) -> Any:
        return current_step, ()  # as an argument it is, elsewhere, the step that runs there

    @property
    def writer(self) -> RecordingStep:
        return self

    run_id = "the-run"

    def custom(self, event: dict[str, Any]) -> Any:
        self.told.append(("custom", event))
        return Done()

    def set_state(self, changes: dict[str, Any]) -> None:
        self.told.append(("set_state", changes))

    def suspend(self, model: Any = None, message: str = "", *, payload: Any = None) -> Any:
        return self.answer(model, message, payload)

    def write(self, text: str, shown: dict[str, Any] | None = None) -> None:
        self.told.append(("write", text))

    def progress(self, done: float, total: float | None, label: str) -> None:
        self.told.append(("progress", done, total, label))

    def answer(self, model: type[BaseModel] | None, message: str, payload: Any, label: Any = ()) -> Any:
        self.told.append(("answer", model, message, payload))
        index = self._asked
        self._asked += 1
        if index < len(self.answers):
            try:
                return validate_answer(self.path, model, self.answers[index])
            except AnswerInvalid as refused:
                message = f"{message} ({refused})"
        raise RunSuspended("the-run", self.path, message)


class Decision(BaseModel):
    approve: bool
    note: str = ""


class CustomError(Exception):
    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("it holds a lock")
        import threading

        self.lock = threading.Lock()


def add(a: int, b: int = 1) -> int:
    return a + b


async def add_slowly(a: int, b: int = 1) -> int:
    await asyncio.sleep(0.01)
    return a + b


def talk(times: int) -> str:
    for n in range(times):
        write("line", n)
        progress(n + 1, times, "talking")
    return "said"


async def talk_async(times: int) -> str:
    for n in range(times):
        write("line", n)
        await asyncio.sleep(0)
    return "said"


def print_all() -> None:
    print("to stdout: äöü ✓")
    write("between")
    print("to stderr", file=sys.stderr)
    print("no newline", end="")


def print_past_python() -> None:
    os.write(1, b"from C\n")
    subprocess.run(["echo", "from a program"], check=True)


def ask_twice() -> tuple[Decision, Any]:
    first = suspend(Decision, "really?", payload={"rows": 3})
    second = suspend(None, "how many?")
    return first, second


def ask_and_survive() -> str:
    try:
        suspend(None, "sure?")
    except RunSuspended:
        return "went on"
    return "answered"


def fail(kind: str) -> None:
    if kind == "plain":
        raise KeyError("who")
    if kind == "custom":
        raise CustomError(7, text="custom")
    if kind == "unpicklable":
        raise Unpicklable
    if kind == "stop":
        raise StopIteration("enough")
    if kind == "exit":
        sys.exit(4)
    if kind == "chain":
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("outer") from error
    error = RuntimeError("noted")
    error.add_note("look here")
    raise error


def die(how: str, said: str = "") -> None:
    if said:
        print(said, flush=True)
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        import faulthandler

        faulthandler._sigsegv()
    os.kill(os.getpid(), signal.Signals[how])


def die_until(counter: str, times: int) -> str:
    path = Path(counter)
    died = int(path.read_text()) if path.exists() else 0
    if died < times:
        path.write_text(str(died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return f"alive after {died}"


def note_and_wait(notes: str, go: str) -> str:
    with open(notes, "a") as file:
        file.write("ran\n")
    while not Path(go).exists():
        time.sleep(0.01)
    return "done"


def wait_for_signal(begun: str) -> str:
    Path(begun).touch()
    heard = cancel_signal().wait_blocking(60)
    return f"{heard}: {cancel_signal().reason}"


async def await_signal(begun: str, given: CancelSignal) -> str:
    Path(begun).touch()
    await given.wait()
    return f"{given.is_set()}: {given.reason}"


def never_listen(begun: str, cleaned: str = "") -> None:
    try:
        Path(begun).write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)
    finally:
        if cleaned:
            Path(cleaned).touch()


def never_end(begun: str) -> None:
    while True:
        try:
            never_listen(begun)
        except BaseException:
            continue


def start_a_program(begun: str) -> None:
    program = subprocess.Popen(["sleep", "300"])
    Path(begun).write_text(f"{os.getpid()} {program.pid}")
    program.wait()


def where() -> tuple[str, str | None, int]:
    return os.getcwd(), os.environ.get("A_VARIABLE_OF_THE_CELL"), os.getpid()


def yield_some() -> Any:
    yield 1
    yield 2


async def use_context(rows: int, ctx: Any) -> tuple[str, str, Any]:
    ctx.write("by ctx")
    await ctx.writer.custom({"type": "mine", "rows": rows})
    ctx.set_state({"rows": rows})
    ctx.progress(1, 2, "half")
    return ctx.path, ctx.run_id, ctx.suspend(None, "sure?")


def look_around(ctx: Any) -> None:
    ctx.step_result("other")
