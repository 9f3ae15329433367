"""The papermill engine ``wfkernel``: a notebook run headless is a run like any other.

papermill executes the cells; the kernel's own session (`wfkernel.notebook.session`) restores finished steps and records
what happens. This engine adds what papermill lacks: the run begins and ends in the store, suspension is a third outcome
beside success and failure, the outputs of steps that were only restored are kept, and the output notebook says at its
top how to go on. Cells that never ran stay *pending* (papermill itself would mark them completed).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager
from papermill.log import logger
from papermill.utils import merge_kwargs, remove_args

from wfkernel.engine.state import RunState
from wfkernel.errors import DefinitionError, WorkflowError
from wfkernel.notebook.ctrlc import relayed
from wfkernel.notebook.frontend import NOTEBOOK_VARIABLE
from wfkernel.notebook.headless import NotebookSuspended, begin_run, end_run, resume_hint, store_of
from wfkernel.notebook.places import is_remote, read_notebook
from wfkernel.notebook.runs import PARENT_VARIABLE, RUN_VARIABLE
from wfkernel.plan.cell import split_cell
from wfkernel.plan.inputs import check_parameters, inputs_in
from wfkernel.plan.outline import outline_of
from wfkernel.store.store import Store

__all__ = ["WorkflowEngine"]

SUSPENDED: Final = "suspended"
RESTORED: Final = "restored"
STATUS_TAG: Final = "wfkernel-status"
LOAD_EXTENSION: Final = "%load_ext wfkernel"


class _Manager(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's manager, but the progress bar names the step, and a cell that never ran is not completed."""

    def get_cell_description(self, cell: Any, escape_str: str = "papermill_description=") -> str | None:
        described: str | None = super().get_cell_description(cell, escape_str)
        return described or _step_name(cell) or "cell"

    def notebook_complete(self, **kwargs: Any) -> None:
        never_ran = [c for c in self.nb.cells if c.metadata.papermill["status"] == self.PENDING]
        super().notebook_complete(**kwargs)
        for cell in never_ran:
            cell.metadata.papermill["status"] = self.PENDING
        self.save()


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """Runs the cells; keeps earlier outputs of restored steps; stops at a suspension without calling it an error."""

    def __init__(self, nb_man: _Manager, earlier: dict[str, list[Any]], **kwargs: Any) -> None:
        super().__init__(nb_man, **kwargs)
        self._earlier = earlier
        self.suspended = False
        self.failure: CellExecutionError | None = None
        self._start_options: dict[str, Any] = {}

    def start_new_kernel(self, **kwargs: Any) -> None:
        self._start_options = kwargs
        super().start_new_kernel(**kwargs)

    def start_new_kernel_client(self) -> Any:
        """Connect to the kernel. One that does not answer is replaced once: nothing was executed in it yet.

        The ports a kernel is to use are chosen before it takes them; now and then another process is quicker.
        """
        try:
            return super().start_new_kernel_client()
        except RuntimeError as error:
            logger.warning("%s: another one is started", error)
            self.km = self.create_kernel_manager()
            super().start_new_kernel(**self._start_options)
            return super().start_new_kernel_client()

    def papermill_execute_cells(self) -> None:
        if not any(LOAD_EXTENSION in cell.source for cell in self.nb.cells):
            self.wait_for_reply(self.kc.execute(LOAD_EXTENSION, silent=True))
        with relayed(self.km) as ctrl_c:
            for index, cell in enumerate(self.nb.cells):
                if ctrl_c.pressed:  # between two cells the kernel does not hear it
                    self.suspended = True
                if self.suspended or self.failure:
                    break
                self._execute(index, cell)

    def _execute(self, index: int, cell: Any) -> None:
        outcome = None
        try:
            self.nb_man.cell_start(cell, index)
            self.execute_cell(cell, index)
            if _is_restored(cell):
                outcome = RESTORED
                cell.outputs = self._earlier.get(_step_name(cell) or "", cell.outputs)
        except CellExecutionError as error:
            if error.ename in ("RunSuspended", "RunStopped"):
                outcome, self.suspended = SUSPENDED, True
                cell.outputs = [o for o in cell.outputs if o.output_type != "error"]
            else:
                self.failure = error
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
        finally:
            self.nb_man.cell_complete(cell, cell_index=index)
            if outcome:
                cell.metadata.papermill["status"] = outcome
                self.nb_man.save()


class WorkflowEngine(NBClientEngine):  # type: ignore[misc]
    """``papermill in.ipynb out.ipynb --engine wfkernel``. Registered at the entry point ``papermill.engine``."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        *,
        input_path: str | None = None,
        wfkernel_run: RunState | str | None = None,
        wfkernel_store: Store | None = None,
        wfkernel_told: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Execute `nb` as a run; raises `NotebookSuspended` when it suspends.

        Args:
            wfkernel_store: where the run is kept; by default what `find_store_path` finds for the notebook.
            wfkernel_run: a run that is already claimed (`wf resume`), or the id of the new run. Without it the run noted
                in the notebook is continued if it is not finished, or a new one begins.
            wfkernel_told: the durability and the checkpoints of a new run.
        """
        _drop_status_cell(nb)
        source = str(input_path) if input_path else ""
        _refuse_mistakes(nb, source)
        store = wfkernel_store or store_of(source)
        state = begin_run(store, nb, source, output_path, wfkernel_run, wfkernel_told or {})
        nb.metadata.papermill["wfkernel"] = {"run_id": state.run_id, "store": str(store.path)}
        earlier = _earlier_outputs((output_path, source), state.run_id)
        manager = _Manager(nb, output_path=output_path, progress_bar=progress_bar, log_output=log_output,
                           autosave_cell_every=autosave_cell_every)  # fmt: skip
        manager.notebook_start()
        error: BaseException | None = None
        client = None
        try:
            client = cls._client(manager, kernel_name, earlier, log_output=log_output, **kwargs)
            client.execute(env=_kernel_environment(store, state, source))
        except DeadKernelError as dead:
            error = WorkflowError("the kernel died")
            raise dead
        except BaseException as unexpected:  # Ctrl-C among them: a run cut short has not succeeded
            error = unexpected
            raise
        finally:
            manager.cleanup_pbar()
            manager.notebook_complete()
            failure = error or (client.failure if client else None)
            state = end_run(store, state.run_id, failure, suspended=bool(client and client.suspended))
            nb.metadata.papermill["wfkernel"]["status"] = state.status
            _add_status_cell(nb, state)
            manager.save()
        if state.status == "suspended":
            _raise_suspended(state)
        return nb

    @staticmethod
    def _client(
        manager: _Manager, kernel_name: str, earlier: dict[str, list[Any]], *, log_output: bool,
        stdout_file: Any = None, stderr_file: Any = None, start_timeout: int = 60,
        execution_timeout: int | None = None, **kwargs: Any,
    ) -> _Client:  # fmt: skip
        # The same settings papermill's own engine passes on.
        options = merge_kwargs(
            remove_args(["timeout", "startup_timeout", "input_path"], **kwargs),
            timeout=execution_timeout or kwargs.get("timeout"),
            startup_timeout=start_timeout,
            kernel_name=kernel_name,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            # The kernel writes its warnings (about TCP, about debuggers) to the user's terminal.
            extra_arguments=["--log-level=ERROR"],
        )
        return _Client(manager, earlier, **options)


def _kernel_environment(store: Store, state: RunState, source: str) -> dict[str, str]:
    return {
        **os.environ,
        "WFKERNEL_STORE": str(store.path),
        RUN_VARIABLE: state.run_id,
        PARENT_VARIABLE: store.owner,
        NOTEBOOK_VARIABLE: str(Path(source).absolute()) if source and not is_remote(source) else "",
    }


def _refuse_mistakes(nb: Any, source: str) -> None:
    """Raise before anything runs when the notebook's steps, or the parameters given, cannot work."""
    problems = outline_of(nb.cells).problems
    given = nb.metadata.get("papermill", {}).get("parameters", {})
    try:
        check_parameters(source or "the notebook", inputs_in(nb.cells), given)
    except DefinitionError as error:
        problems.append(str(error))
    if problems:
        message = "\n".join(problems)
        import click

        if click.get_current_context(silent=True) is not None:  # papermill's command line: no traceback, exit 2
            raise click.UsageError(message)
        raise DefinitionError(message)


def _raise_suspended(state: RunState) -> None:
    import click

    suspended = NotebookSuspended(state)
    if click.get_current_context(silent=True) is not None:
        click.echo(str(suspended), err=True)
        raise SystemExit(NotebookSuspended.exit_code)
    raise suspended


def _step_name(cell: Any) -> str | None:
    parts = split_cell(cell.source) if cell.cell_type == "code" else None
    return parts[0].split()[0] if parts and parts[0].split() else None


def _is_restored(cell: Any) -> bool:
    return any(o.get("metadata", {}).get("wfkernel", {}).get("restored") for o in cell.get("outputs", ()))


def _earlier_outputs(paths: tuple[str | None, ...], run_id: str) -> dict[str, list[Any]]:
    """step -> its outputs in the notebook an earlier part of the run wrote, if one of `paths` is that notebook."""
    done = ("completed", RESTORED)
    for path in paths:
        if not path:
            continue
        try:
            earlier = read_notebook(path)
        except DefinitionError:  # an output that is not there yet
            continue
        if earlier.metadata.get("papermill", {}).get("wfkernel", {}).get("run_id") == run_id:
            return {
                name: copy.deepcopy(cell.outputs)
                for cell in earlier.cells
                if (name := _step_name(cell)) and cell.metadata.get("papermill", {}).get("status") in done
            }
    return {}


def _drop_status_cell(nb: Any) -> None:
    nb.cells = [cell for cell in nb.cells if STATUS_TAG not in cell.metadata.get("tags", [])]


def _add_status_cell(nb: Any, state: RunState) -> None:
    """Say at the top of an unfinished notebook what happened and how to go on."""
    if state.status == "success":
        return
    command = resume_hint(state)
    if state.status == "canceled":
        text = "**Canceled.** Finished steps are kept; run the notebook again to begin anew."
    elif state.status == "suspended" and not state.suspended_steps:
        where = "".join(f" at step `{step.path}`" for step in state.stopped_steps[:1])
        text = (
            f"**Suspended**{where} by Ctrl-C\n\nContinue; finished steps are not executed again:\n\n```\n{command}\n```"
        )
    elif state.status == "suspended":
        step = state.suspended_steps[0]
        assert step.suspension is not None
        text = (
            f"**Suspended** at step `{step.path}`: {step.suspension.message}\n\nAnswer it to continue; finished steps are "
            f"not executed again:\n\n```\n{command}\n```"
        )
    else:
        error = state.error or {}
        where = f" in step `{error['step']}`" if error.get("step") else ""
        text = (
            f"**Failed**{where}: {error.get('message', '')}\n\nMend the cause and continue; finished steps are not "
            f"executed again:\n\n```\n{command}\n```"
        )
    cell = nbformat.v4.new_markdown_cell(text)
    cell.metadata["tags"] = [STATUS_TAG]
    cell.metadata["papermill"] = {}
    nb.cells.insert(0, cell)
