"""The magics: ``%%step`` (help, completion, and for tools that call it as a function) and ``%workflow``."""

from __future__ import annotations

import ast
import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.display import display

from wfkernel.engine.files import load_workflow
from wfkernel.errors import DefinitionError, RunNotFound, StoreError
from wfkernel.notebook import frontend
from wfkernel.notebook.checkpointing import checkpoint_rows, restore_checkpoint
from wfkernel.notebook.exporting import export_notebook, write_export
from wfkernel.notebook.rundiff import render_comparison_html, render_comparison_text
from wfkernel.notebook.runlist import render_runs_html, render_runs_text, table_html, table_text
from wfkernel.notebook.view import render_html, render_text, view_of
from wfkernel.notebook.workflow_line import workflow_help, workflow_parser
from wfkernel.plan.cell import step_parser, to_python
from wfkernel.plan.chart import chart_of_plan
from wfkernel.plan.diagram import mermaid
from wfkernel.plan.picture import svg
from wfkernel.store.compare import compare_runs
from wfkernel.store.replay import replay
from wfkernel.store.store import open_store

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wfkernel.notebook.session import Session
    from wfkernel.plan.builder import Definition

__all__ = ["WorkflowMagics"]


@magics_class
class WorkflowMagics(Magics):
    """The magics of one session."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self._session = session

    @cell_magic
    def step(self, line: str, cell: str) -> None:
        # The ordinary way to run a step is the input transformer; this one serves exported scripts and other tools,
        # and carries the help.
        body = ast.parse("\n" + to_python(cell))
        module = self._session.prepare(line, body)
        exec(compile(module, f"<step {line.split()[0] if line.split() else ''}>", "exec"), self.shell.user_ns)

    step.__doc__ = (
        "Make this cell a durable step.\n\nThe cell runs as it always does. The names it binds are checkpointed when it "
        "ends; run again with the same code and\ninputs, they are restored and the cell is not executed. An object the "
        "cell changes in place\n(df['x'] = ...) counts as bound.\n\n" + step_parser().format_help()
    )

    @line_magic
    def workflow(self, line: str) -> Any:
        try:
            arguments = workflow_parser().parse_args(shlex.split(line))
        except ValueError as error:
            raise DefinitionError(f"%workflow {line}: {error}") from None
        match arguments.action:
            case "new":
                self._session.runs.new()
                print("new run: every step will be executed")
            case "list":
                rows = self._session.store.runs()
                self._display(render_runs_html(rows), render_runs_text(rows))
            case "run":
                self._run(arguments.name, arguments.stale)
            case "graph":
                self._graph(arguments.name, arguments.mermaid)
            case "diff":
                self._diff(arguments.before, arguments.after)
            case "export":
                self._export(arguments.file)
            case "replay":
                self._replay(arguments.run, arguments.to, arguments.store)
            case "resume":
                self._resume(arguments.data, arguments.step)
            case "checkpoint":
                run_id = self._session.run.run_id
                self._session.runs.settle()
                made = self._session.store.checkpoint(run_id, arguments.label)
                print(f"checkpoint {made.label or made.checkpoint_id} of run {run_id}")
            case "checkpoints":
                rows = checkpoint_rows(self._session)
                self._display(table_html(rows, "No checkpoints yet."), table_text(rows, "No checkpoints yet."))
            case "restore":
                print(restore_checkpoint(self._session, arguments.checkpoint, drift=arguments.allow_drift))
            case "set":
                durability, checkpoints = self._session.runs.configure(arguments.durability, arguments.checkpoints)
                print(f"durability {durability}, checkpoints {checkpoints}")
            case _:
                self._show(getattr(arguments, "run", None))

    workflow.__doc__ = workflow_help()

    @cell_magic("workflow")  # type: ignore[arg-type]
    def compose(self, line: str, cell: str) -> None:
        """Compose steps of this notebook: ``%%workflow NAME``, then an expression in the builder's words.

        %%workflow nightly
        then(load).parallel(clean, weather).then(join)

        Shows the graph. `%workflow run NAME` runs it, and so does the Run button.
        """
        name = line.strip()
        if not name.isidentifier():
            raise DefinitionError(f"%%workflow: expected one name, not '{name}'. Usage: %%workflow NAME")
        _draw(self._session.graphs.compose(name, cell))
        if frontend.is_live(self.shell):
            from wfkernel.notebook.live import show_run_button

            show_run_button(self._session, name)

    def _run(self, name: str | None, stale: bool) -> None:
        graphs = self._session.graphs
        if name and stale:
            raise DefinitionError("%workflow run: --stale runs steps of the notebook; leave the workflow's name out")
        graph = graphs.stale() if stale else graphs.find(name)
        if graph is None:
            print("nothing is stale")
        else:
            graphs.run(graph)

    def _graph(self, name: str | None, as_text: bool) -> None:
        if name is None and (outline := self._session.outline()):
            outline.check_circles()
        if name is not None and name.endswith((".yaml", ".yml", ".json")):
            workflow: Definition = load_workflow(name)
        else:
            workflow = self._session.graphs.find(name)
        if as_text:
            print(mermaid(workflow))
        else:
            _draw(workflow)

    def _diff(self, before: str, after: str) -> None:
        store = self._session.store
        compared = compare_runs(store.load(store.find(before)), store.load(store.find(after)))
        self._display(render_comparison_html(compared), render_comparison_text(compared))

    def _export(self, file: str | None) -> None:
        path = self._session.path
        if path is None or not path.is_file():
            raise DefinitionError(
                "%workflow export reads the notebook's file, which is not known here: save the notebook"
            )
        if file is None:
            print(export_notebook(str(path)))
        else:
            write_export(str(path), Path(file))
            print(f"wrote {file}")

    def _replay(self, run: str, step: str | None, file: str | None) -> None:
        if file is not None and not Path(file).is_file():
            raise StoreError(f"there is no store {file}")
        store = self._session.store if file is None else open_store(file)
        found = replay(store, store.find(run), step)
        self._session.namespace.values.update(found.names)
        print(f"run {found.run_id}: {', '.join(found.names) or 'nothing to load'}")
        for name, why in found.missing.items():
            print(f"{name} is not there: {why}")

    def _tell_stale(self) -> None:
        stale = self._session.stale.find()
        for path, reason in stale.items():
            print(f"stale: step '{path}': {reason}")
        if stale:
            print("`%workflow run --stale` runs these steps")

    def _show(self, run: str | None) -> None:
        session = self._session
        if run is None and not session.has_run and not frontend.notebook_path(self.shell):
            raise RunNotFound("no step has run yet, so there is no current run. `%workflow list` lists earlier ones.")
        current = run is None or (session.has_run and session.store.find(run) == session.run.run_id)
        if frontend.is_live(self.shell):
            from wfkernel.notebook.live import show_run

            show_run(session, None if current else session.store.find(run or ""))
            self._tell_stale()
            return
        state = session.run.state if current else session.store.load(session.store.find(run or ""))
        view = view_of(state, now=time.time())
        self._display(render_html(view), render_text(view))
        if current:
            self._tell_stale()

    def _resume(self, data: str | None, step: str | None) -> None:
        session = self._session
        stopped = session.run.state.stopped_steps
        if data is None and stopped and step in (None, *(each.path for each in stopped)):
            self._go_on(step or stopped[0].path)
            return
        if data is None:
            session.show_form(session.suspended(step).path)
            return
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise DefinitionError(
                f"%workflow resume --data is not JSON: {error}. Example: --data '{{\"approve\": true}}'"
            ) from None
        self._go_on(session.resume(answer, step, by="%workflow resume"))

    def _go_on(self, path: str) -> None:
        known = self._session.cells.get(path)
        if known is None or known.step.names.uses_await:
            print(f"Run the cell of step '{path}' to continue.")
        else:
            self._session.execute(path)

    def _display(self, html: str, text: str) -> None:
        display({"text/html": html, "text/plain": text}, raw=True)


def _draw(workflow: Definition) -> None:
    """A picture of the workflow; where only text is shown, and for comparing outputs, as Mermaid."""
    display({"image/svg+xml": svg(chart_of_plan(workflow)), "text/plain": mermaid(workflow)}, raw=True)
