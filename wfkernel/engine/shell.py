"""The step that runs a command: a program and its arguments, or a line for the shell.

Values never become code: a line for the shell holds no expressions, it reads them from its environment. What the command
prints is the step's output as it comes; a cancellation or a timeout ends the command and everything it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wfkernel.errors import WorkflowError

__all__ = ["CommandFailed", "RunCommand"]

LINE_BYTES: Final = 1_000_000
"""How long a line of a command may be."""
KEPT_BYTES: Final = 10_000_000
"""How much of what it prints is kept in the step's output: the end of it."""
GRACE_SECONDS: Final = 2.0


class CommandFailed(WorkflowError):
    """A command ended with another exit status than 0."""


@dataclass(frozen=True)
class RunCommand:
    """The function of a `run` step. `folder` is where relative folders begin."""

    folder: str
    cwd: str = ""

    @property
    def __wf_code__(self) -> Any:
        return ("run", self.cwd)

    async def __call__(
        self, run: str | Sequence[Any], env: Mapping[str, Any] | None = None, ctx: Any = None
    ) -> dict[str, Any]:
        environment = {**os.environ, **{name: as_text(value) for name, value in (env or {}).items()}}
        options: dict[str, Any] = {
            "cwd": os.path.join(self.folder, self.cwd) or None, "env": environment, "limit": LINE_BYTES,
            "stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT,
            "start_new_session": True,
        }  # fmt: skip
        try:
            if isinstance(run, str):
                process = await asyncio.create_subprocess_shell(run, **options)
            else:
                process = await asyncio.create_subprocess_exec(*map(as_text, run), **options)
        except OSError as error:
            shown = run if isinstance(run, str) else run[0]
            raise CommandFailed(f"'{shown}' cannot be run: {error.strerror}") from None
        try:
            printed = await _printed(process, ctx)
            status = await process.wait()
        finally:
            await _end(process)
        if status:
            last = printed.rstrip().rpartition("\n")[2]
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise CommandFailed(f"the command ended with {how}" + (f": {last}" if last else ""))
        return {"stdout": printed, "exit_code": status}


async def _printed(process: asyncio.subprocess.Process, ctx: Any) -> str:
    assert process.stdout is not None
    kept, size = [], 0
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # longer than the limit: what was read of it is dropped
            continue
        if not line:
            break
        text = line.decode("utf-8", "replace")
        kept.append(text)
        size += len(line)
        while size > KEPT_BYTES and len(kept) > 1:
            size -= len(kept.pop(0).encode())
        if ctx is not None:
            ctx.write(text.rstrip("\n"))
    return "".join(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Make sure that nothing of the command goes on."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
        except TimeoutError:
            continue
        return


def as_text(value: Any) -> str:
    """A value as an argument or environment variable: texts as they are, the rest as JSON."""
    if isinstance(value, str):
        return value
    from pydantic_core import to_jsonable_python

    return json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)
