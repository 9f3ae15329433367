"""The step of a workflow that runs a whole notebook headless, in a process of its own.

The notebook's run is one like any other: in the workflow's store, named after the workflow's run and the step, with an
executed notebook of its own. Which run that is, is noted among the step's events. So whatever ends the step before its end
(a failure, a crash, a cancellation) leaves a run that the next execution of the step goes on with, unless it is given other
parameters; a step that had ended well and is executed once more begins anew. A notebook that outlived the workflow's
process is waited for. Where the notebook suspends, the step suspends with its question, and the answer to the step is the
answer to the notebook. The step's output is what the notebook's steps bound: ``{name: value}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from wfkernel.engine import events as ev
from wfkernel.engine.failures import PermanentError
from wfkernel.engine.shell import as_text
from wfkernel.engine.step_run import StepRun
from wfkernel.engine.values import reveal
from wfkernel.errors import WorkflowError
from wfkernel.notebook import places
from wfkernel.store.store import Store

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState

__all__ = ["NotebookFailed", "RunNotebook"]

GRACE_SECONDS: Final = 15.0
"""How long a notebook that is to end has for suspending its run."""
LOOKS_EVERY: Final = 0.5
NOTE: Final = "notebook"
"""What the event that names the notebook's run is called."""


class NotebookFailed(WorkflowError):
    """The notebook of a step did not run to its end."""


@dataclass(frozen=True)
class RunNotebook:
    """The function of a `notebook` step. `folder` is where relative paths begin."""

    folder: str
    notebook: str

    @property
    def __wf_notebook__(self) -> str:
        return self.notebook

    @property
    def __wf_code__(self) -> Any:
        cells = places.read_cells(str(Path(self.folder, self.notebook)))
        return ("notebook", *(cell["source"] for cell in cells if cell["cell_type"] == "code"))

    async def __call__(self, parameters: Any, ctx: StepRun) -> dict[str, Any]:
        if not isinstance(parameters, Mapping):
            raise PermanentError(f"the parameters of {self.notebook} are a mapping (under `with:`), not {parameters!r}")
        store = ctx.core.recorder.codec
        if not isinstance(store, Store):
            raise PermanentError(
                f"{self.notebook} runs in a process of its own, which needs a store: Workflow(store=...)"
            )
        texts = {name: as_text(value) for name, value in parameters.items()}
        run = _NotebookRun(self, store, ctx, await asyncio.to_thread(_left_by_earlier, store, ctx, texts))
        return await run.to_its_end(texts)


class _NotebookRun:
    """The notebook's run, as one execution of the step goes through it."""

    def __init__(self, step: RunNotebook, store: Store, ctx: StepRun, left: dict[str, Any] | None) -> None:
        self._step, self._store, self._ctx = step, store, ctx
        self._left = left
        safe = "".join(c if c.isalnum() else "-" for c in ctx.path)
        self.run_id: str = left["run"] if left else f"{ctx.run_id}-{safe}-{secrets.token_hex(3)}"
        self._handed: int = left["answers"] if left else 0
        """How many answers to the step the notebook has had."""

    async def to_its_end(self, texts: dict[str, str]) -> dict[str, Any]:
        store, notebook = self._store, self._step.notebook
        if self._left is not None:
            while await asyncio.to_thread(_at_work, store, self.run_id):
                await asyncio.sleep(LOOKS_EVERY)
        if not store.exists(self.run_id):
            await self._note(texts)
            source = str(Path(self._step.folder, notebook).absolute())
            output = places.beside(source, f"{places.stem(source)}-{self.run_id}.ipynb")
            self._ctx.write(f"{notebook} is run {self.run_id}, executed into {output}")
            told = [part for name, text in texts.items() for part in ("-p", f"{name}={text}")]
            await self._wf("run", source, "-o", output, "--run-id", self.run_id, *told)
        else:
            await self._go_on()
        while (state := await asyncio.to_thread(store.load, self.run_id)).suspended_steps:
            await self._answer(state, texts)
        if state.status != "success":
            raise NotebookFailed(f"{notebook}: {_why(state)} (wf show {self.run_id})")
        return await asyncio.to_thread(_values, store, self.run_id)

    async def _go_on(self) -> None:
        """Take up what an earlier execution of the step left."""
        state = await asyncio.to_thread(self._store.load, self.run_id)
        self._handed = max(self._handed, sum(len(step.answers) for step in state.steps.values()))
        for _ in self._ctx.core.state.step(self._ctx.path).answers[: self._handed]:
            self._ctx.suspend()  # answered, and the notebook has had it
        if state.status != "success" and not state.suspended_steps:
            await self._wf("resume", self.run_id)

    async def _answer(self, state: RunState, texts: dict[str, str]) -> None:
        step = state.suspended_steps[0]
        asked = step.suspension
        assert asked is not None
        given = self._ctx.suspend(asked.schema, asked.message, payload=asked.payload)
        await self._wf("resume", self.run_id, "--step", step.path, "--data", json.dumps(given))
        self._handed += 1
        await self._note(texts)

    async def _note(self, texts: dict[str, str]) -> None:
        """Write down, among the step's events, which run is the notebook's."""
        note = {"type": NOTE, "run": self.run_id, "with": texts, "answers": self._handed}
        recorder = self._ctx.core.recorder
        await recorder.record(ev.STEP_CUSTOM, {"type": NOTE, "data": note}, self._ctx.path, self._ctx.attempt)

    async def _wf(self, *arguments: str) -> None:
        """Run a `wf` command to its end. Raises `PermanentError` if it could not do anything with the run."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "wfkernel", *arguments, "--store", str(self._store.path), "--json",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            cwd=self._step.folder, start_new_session=True,
        )  # fmt: skip
        try:
            _, said = await process.communicate()
        finally:
            await _end(process)
        if process.returncode == 2:  # a mistake: nothing was run
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise PermanentError(last.removeprefix("wf: "))


def _left_by_earlier(store: Store, ctx: StepRun, texts: dict[str, str]) -> dict[str, Any] | None:
    """The last note of executions of this step that did not end well and were given the same; None if there is none."""
    for event in reversed(store.events(ctx.run_id)):
        if event.type == ev.RUN_START:
            return None
        if event.path != ctx.path:
            continue
        if event.type == ev.STEP_RESULT and event.payload["status"] == "success":
            return None
        if event.type == ev.STEP_CUSTOM and event.payload["type"] == NOTE:
            note: dict[str, Any] = reveal(event.payload["data"], store)
            return note if note["with"] == texts else None
    return None


def _at_work(store: Store, run_id: str) -> bool:
    """Whether a process that an earlier execution of the step started, and that outlived it, still executes the run."""
    if store.exists(run_id) and store.is_alive(store.load(run_id).owner):
        return True
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return any("wfkernel" in command and run_id in command and {"run", "resume"} & {*command} for command in commands)


def _values(store: Store, run_id: str) -> dict[str, Any]:
    from wfkernel.store.replay import replay

    return replay(store, run_id).names


def _why(state: RunState) -> str:
    error = state.error or {}
    said = f"{error.get('type', '')}: {error.get('message', '')}".strip(": ")
    return said or f"its run is {state.status}"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Have what still runs suspend its run; whatever does not is ended."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
