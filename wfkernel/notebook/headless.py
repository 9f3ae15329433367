"""Beginning, resuming and ending runs of a notebook without a front end; what `wf run` and `wf resume` do.

The process that starts the kernel brackets the run: it creates or claims it, hands it to the kernel, and says how it
ended, for only it sees cells that are not steps fail, and the kernel die.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.answers import answer_event
from wfkernel.engine.checkpointing import check_together, checkpoint_policy
from wfkernel.engine.durability import Durability
from wfkernel.engine.remember import context_flag
from wfkernel.engine.script import describe_error
from wfkernel.engine.state import ENGINE_MODES, RunState
from wfkernel.errors import (
    AnswerInvalid,
    DefinitionError,
    ResumeAlreadyClaimed,
    RunExists,
    RunNotSuspended,
    WorkflowError,
)
from wfkernel.notebook import places
from wfkernel.notebook.interrupts import INTERRUPT
from wfkernel.notebook.prose import keep_prose
from wfkernel.notebook.runs import new_run_id
from wfkernel.plan.inputs import check_parameters, inputs_in, parameter_from_text
from wfkernel.plan.reference import did_you_mean
from wfkernel.plan.schema import check_schema, example_answer

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = [
    "NotebookSuspended",
    "begin_run",
    "claim_resume",
    "end_run",
    "has_command",
    "resume_hint",
    "resume_hints",
    "resume_notebook",
    "retry_notebook",
    "run_notebook",
    "store_of",
    "typed_parameters",
]

KERNEL_EXIT_SECONDS: Final = 10.0


class NotebookSuspended(WorkflowError):
    """A headless run suspended: neither a success nor a failure. `state` is the run."""

    exit_code: Final = 75  # EX_TEMPFAIL of sysexits.h: try again later

    def __init__(self, state: RunState) -> None:
        self.state = state
        for step in state.suspended_steps[:1]:
            message = step.suspension.message if step.suspension else ""
            super().__init__(f"suspended at step '{step.path}': {message}\nanswer with: {resume_hint(state)}")
            return
        where = "".join(f" at step '{step.path}'" for step in state.stopped_steps[:1])
        super().__init__(f"suspended{where} by {INTERRUPT}\ncontinue with: {resume_hint(state)}")


def resume_hint(state: RunState) -> str:
    """The command that continues the run: of several suspended steps, the one that answers the first."""
    return resume_hints(state)[0]


def resume_hints(state: RunState) -> list[str]:
    """The commands that continue the run: one, or one for each suspended step.

    A workflow that code made for itself no command knows: then it is said what that code does.
    """
    if not has_command(state):
        return [f"create_run('{state.run_id}'), in the code that has the workflow '{state.workflow}'"]
    command, waiting = f"wf resume {state.run_id}", state.suspended_steps
    hints = []
    for step in waiting:
        assert step.suspension is not None
        label = next(iter(step.suspension.labels), "")
        which = (
            f" --label {shlex.quote(label)}" if label else f" --step {shlex.quote(step.path)}" if waiting[1:] else ""
        )
        hints.append(f"{command}{which} --data '{json.dumps(example_answer(step.suspension.schema))}'")
    return hints or [command]


def has_command(state: RunState) -> bool:
    """Whether there is a command that can go on with the run: it is a notebook's, or its workflow is in a file."""
    return state.mode not in ENGINE_MODES or bool(state.source)


# -- the run's bracket -------------------------------------------------------------------------------------------------


def begin_run(
    store: Store, nb: Any, source: str, output: str | None, run: RunState | str | None, told: Mapping[str, str]
) -> RunState:
    """The run that executing notebook `nb` writes: `run` if this process has claimed it, a new one called `run`, or, without
    one, the unfinished run the notebook is the output of, or a new one. `told`: its durability and checkpoints.

    Raises `RunExists` where there is a run called `run`.
    """
    if run is None:
        run = _unfinished(store, nb)
    if isinstance(run, RunState):
        return run
    payload = {
        "status": "running",
        "workflow": places.stem(source) if source else "notebook",
        "notebook": places.absolute(source) if source else "",
        "output": places.absolute(output) if output else "",
        "mode": "headless",
        "params": _json_parameters(nb.metadata.get("papermill", {}).get("parameters", {})),
        "cwd": os.getcwd(),
        **told,
        **context_flag(),
    }

    def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
        if state.seq:
            raise RunExists(state.run_id, state.status)
        return [(ev.RUN_START, "", payload)]

    state = store.claim(run or new_run_id(), decide, new=True)
    if source and not places.is_remote(source):
        keep_prose(store, Path(source).absolute(), nb.cells, state.run_id)
    return state


def _unfinished(store: Store, nb: Any) -> RunState | None:
    """The unfinished run a notebook is the output of, claimed."""
    noted = nb.metadata.get("papermill", {}).get("wfkernel", {}).get("run_id")
    if noted and store.exists(noted) and store.load(noted).status != "success":
        return claim_resume(store, noted, None, unanswered=True)
    return None


def end_run(store: Store, run_id: str, failure: BaseException | None, *, suspended: bool) -> RunState:
    """Say how the run ended, after its kernel has gone."""
    from nbclient.exceptions import CellExecutionError

    deadline = time.monotonic() + KERNEL_EXIT_SECONDS
    state = store.load(run_id)
    while state.owner != store.owner and store.is_alive(state.owner) and time.monotonic() < deadline:
        time.sleep(0.02)
    if suspended:
        return store.claim(run_id, _noted_as_suspended)

    def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
        if failure is None:
            return [(ev.RUN_FINISH, "", {"status": "success"})]
        if state.status == "failed":  # the step that failed said so itself
            return []
        error = describe_error(failure)
        if isinstance(failure, CellExecutionError):  # it carries the kernel's exception
            error |= {"type": failure.ename, "message": failure.evalue or failure.ename}
        return [(ev.RUN_FINISH, "", {"status": "failed", "error": error})]

    return store.claim(run_id, decide)


def _noted_as_suspended(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
    """Ctrl-C came while no cell ran, or a cell that is no step: the kernel has noted nothing."""
    stopped = (ev.RUN_SUSPENDED, "", {"status": "suspended", "paths": [], "by": INTERRUPT})
    return [stopped] if state.status == "running" else []


# -- resume ------------------------------------------------------------------------------------------------------------


def claim_resume(
    store: Store, run_id: str, data: Any, *, unanswered: bool = False, step: str | None = None, output: str = ""
) -> RunState:
    """Take up an unfinished run: answer its suspension, or try again after a failure or a crash.

    Args:
        data: the answer for a suspended step; None when there is none.
        unanswered: accept a suspended run without an answer (its notebook will suspend again).
        step: which step to answer, where several are suspended.
        output: the output notebook of a run that has none yet.

    Raises:
        RunNotSuspended: the run is finished. ResumeAlreadyClaimed: another process has it. AnswerInvalid: the answer
        does not fit; the run stays suspended.
    """

    written = {"output": output} if output else {}

    def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
        if state.status in ("success", "canceled"):
            raise RunNotSuspended(f"run {run_id} is finished ({state.status}): there is nothing to resume")
        if state.owner != store.owner and store.is_alive(state.owner):
            if state.mode == "interactive":
                raise ResumeAlreadyClaimed(
                    f"run {run_id} is open in a notebook ({state.notebook or state.owner}): continue it there, with the form or "
                    "%workflow resume"
                )
            raise ResumeAlreadyClaimed(f"run {run_id} is running in another process ({state.owner})")
        waiting = state.suspended_steps
        if not waiting:
            if data is not None:
                raise RunNotSuspended(f"run {run_id} is {state.status}, not suspended: resume it without --data")
            return [(ev.RUN_RESTART, "", {"status": "running", "reason": f"resumed after {state.status}", **written})]
        if data is None:
            if unanswered:
                return [(ev.RUN_RESUME, "", {"status": "running", "by": "papermill"})]
            raise RunNotSuspended(f"run {run_id} waits for an answer to step '{waiting[0].path}': {resume_hint(state)}")
        target = _suspended_step(state, step)
        assert target.suspension is not None
        problems = check_schema(target.suspension.schema, data)
        if problems:
            raise AnswerInvalid(target.path, problems)
        answer = answer_event(target.suspension.index, data, "wf resume", target.suspension.schema)
        resumed = {"status": "running", "by": "wf resume", **written}
        return [(ev.STEP_RESUMED, target.path, answer), (ev.RUN_RESUME, "", resumed)]

    return store.claim(run_id, decide)


def _suspended_step(state: RunState, wanted: str | None) -> Any:
    waiting = state.suspended_steps
    names = ", ".join(s.path for s in waiting)
    if wanted is None and len(waiting) > 1:
        raise RunNotSuspended(f"several steps are suspended ({names}): say which one with --step")
    for step in waiting:
        if wanted is None or step.answers_to(wanted):
            return step
    raise RunNotSuspended(f"step '{wanted}' is not suspended; suspended: {names}")


# -- whole notebooks ---------------------------------------------------------------------------------------------------


def store_of(notebook: str) -> Store:
    """The store that runs of a notebook are kept in, wherever the notebook lies."""
    from wfkernel.store.store import open_store

    return open_store(near=places.folder(notebook) if notebook else None)


def typed_parameters(notebook: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Parameters typed on a command line, as values of the types the notebook declares.

    Raises `DefinitionError` for a notebook that cannot be read and for a parameter it cannot be given.
    """
    declared = inputs_in(places.read_notebook(notebook).cells)
    known = {one.name: one for one in declared}
    parameters = {name: parameter_from_text(text, known.get(name)) for name, text in texts.items()}
    check_parameters(notebook, declared, parameters)
    return parameters


def run_notebook(
    notebook: str | Path, output: str | Path | None, parameters: dict[str, Any], *, progress: bool,
    store: Store | None = None, durability: Durability | None = None, checkpoints: str | None = None, run_id: str | None = None,
) -> RunState:  # fmt: skip
    """Run a notebook headless as a new run. Returns the run's state, also when it suspended or failed.

    The output of an unfinished run goes on with that run, unless `run_id` is given.

    Args:
        notebook, output: files, or any path papermill can read and write; parameters fill ``{name}`` in `output`.
        durability, checkpoints: how the run is kept, see `wfkernel.engine.durability` and `wfkernel.engine.checkpointing`.
        run_id: what the run is called; default: a new name.

    Raises `DefinitionError` for a notebook or parameter that cannot work and `RunExists`, before anything runs.
    """
    from wfkernel.settings import settings

    notebook = os.fspath(notebook)
    nb = places.read_notebook(notebook)
    check_parameters(notebook, inputs_in(nb.cells), parameters)
    told = {} if durability is None else {"durability": str(durability)}
    if checkpoints is not None:
        told["checkpoints"] = str(checkpoint_policy(checkpoints))
    check_together(durability or settings().durability, checkpoint_policy(checkpoints or settings().checkpoints))
    kept = store or store_of(notebook)
    if run_id is not None and kept.exists(run_id):
        raise RunExists(run_id, kept.load(run_id).status)
    run = run_id or _unfinished(kept, nb) or new_run_id()
    filled = _filled(None if output is None else os.fspath(output), parameters)
    target = filled or places.beside(notebook, f"{places.stem(notebook)}-{_id_of(run)}.ipynb")
    return _execute(kept, notebook, target, parameters, progress=progress, run=run, told=told)


def _id_of(run: RunState | str) -> str:
    return run if isinstance(run, str) else run.run_id


def resume_notebook(store: Store, run_id: str, data: Any, *, step: str | None, progress: bool) -> RunState:
    """Continue a run in this process, into its own output notebook. Raises as `claim_resume` does.

    One that was begun in a notebook gets an output notebook beside it; the notebook itself stays as it is.
    """
    known = store.load(run_id)
    there = [path for path in (known.notebook, known.output) if places.is_remote(path) or Path(path).is_file()]
    if not there:
        raise DefinitionError(f"neither the notebook {known.notebook} nor its output {known.output} is there any more")
    beside = places.beside(known.notebook, f"{places.stem(known.notebook)}-{run_id}.ipynb") if not known.output else ""
    state = claim_resume(store, run_id, data, step=step, output=beside)
    cwd = state.cwd or str(places.folder(there[0]) or "")
    return _execute(store, there[0], state.output, state.params, progress=progress, run=state, cwd=cwd or None)


def retry_notebook(store: Store, run_id: str, step: str | None, *, progress: bool) -> RunState:
    """Continue a run as `resume_notebook` does; with `step`, that step and those after it are executed once more."""
    if step is not None:

        def decide(state: RunState) -> list[tuple[str, str, dict[str, Any]]]:
            if state.owner != store.owner and store.is_alive(state.owner):
                raise ResumeAlreadyClaimed(f"run {run_id} is written by another process ({state.owner})")
            order = list(state.steps)
            dropped = order[order.index(step) :] if step in order else []
            return [(ev.RUN_TRAVEL, "", {"status": "failed", "to": step, "dropped": dropped})]

        store.claim(run_id, decide)
    return resume_notebook(store, run_id, None, step=None, progress=progress)


def _execute(
    store: Store, source: str, target: str, parameters: dict[str, Any], *, progress: bool, run: RunState | str,
    cwd: str | None = None, told: Mapping[str, str] | None = None,
) -> RunState:  # fmt: skip
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    kernel = _kernel_of(source)
    if not places.is_remote(target):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            source, target, parameters=parameters, engine_name="wfkernel", progress_bar=progress, cwd=cwd,
            wfkernel_run=run, wfkernel_store=store, wfkernel_told=told or {}, **kernel,
        )  # fmt: skip
    except NotebookSuspended as suspended:
        return suspended.state
    except (PapermillExecutionError, DeadKernelError):
        pass  # the run says what failed
    return store.load(_id_of(run))


def _kernel_of(notebook: str) -> dict[str, str]:
    """What papermill is to be told of a notebook's kernel: all of it, for a notebook need not say any of it.

    Raises `DefinitionError` for a kernel that is not installed.
    """
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    metadata = places.read_metadata(notebook)
    spec, language = metadata.get("kernelspec") or {}, metadata.get("language_info") or {}
    name = spec.get("name") or "python3"
    try:
        installed = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        hint = did_you_mean(name, sorted(KernelSpecManager().find_kernel_specs()))
        raise DefinitionError(f"{notebook} wants the kernel '{name}', which is not installed here{hint}") from None
    return {"kernel_name": name, "language": language.get("name") or spec.get("language") or installed.language}


def _filled(output: str | None, parameters: dict[str, Any]) -> str | None:
    """The output's path with ``{name}`` replaced by the parameter, as papermill does."""
    from papermill.exceptions import PapermillMissingParameterException
    from papermill.parameterize import add_builtin_parameters, parameterize_path

    try:
        filled: str | None = parameterize_path(output, add_builtin_parameters(parameters))
    except PapermillMissingParameterException as error:
        raise DefinitionError(f"output {output}: {error}; given: {', '.join(parameters) or 'none'}") from None
    return filled


def _json_parameters(parameters: Any) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    return dict(to_jsonable_python(dict(parameters), fallback=str))
