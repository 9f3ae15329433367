"""``%load_ext wfkernel``: makes ``%%step`` cells steps and adds ``%workflow``, ``%context`` and ``%%wfsql``."""

from __future__ import annotations

import builtins
import os
from typing import TYPE_CHECKING, Any

from wfkernel.engine.actor import act_through
from wfkernel.notebook import control
from wfkernel.notebook.circles import draw_circles
from wfkernel.notebook.completion import completion_matcher
from wfkernel.notebook.context_magics import ContextMagics, keep_questions, render_found_html, render_found_text
from wfkernel.notebook.home import bring_threads_home
from wfkernel.notebook.magics import WorkflowMagics
from wfkernel.notebook.runs import RUN_VARIABLE
from wfkernel.notebook.session import Session
from wfkernel.notebook.shown import take_down
from wfkernel.notebook.transform import BRIDGE, StepTransformer, mark_step
from wfkernel.store.recall import work_in

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wfkernel.engine.result import RunResult
    from wfkernel.engine.run import Run
    from wfkernel.plan.builder import Definition
    from wfkernel.store.context import Results

__all__ = ["load", "unload"]

_loaded: dict[int, tuple[Session, StepTransformer, Any]] = {}


def load(shell: InteractiveShell) -> None:
    """Connect a session to `shell`. Loading twice changes nothing."""
    if id(shell) in _loaded:
        return
    act_through("notebook")
    session = Session(shell)
    matcher = completion_matcher(session)
    transformer = StepTransformer(session.prepare)
    shell.input_transformers_cleanup.extend([mark_step, keep_questions])
    shell.ast_transformers.append(transformer)
    shell.events.register("pre_run_cell", session.pre_run_cell)
    shell.events.register("post_run_cell", session.post_run_cell)
    shell.events.register("post_run_cell", draw_circles)
    shell.register_magics(WorkflowMagics(shell, session), ContextMagics(shell, session))
    _show_runs(shell, session)
    work_in(lambda: (session.store, session.run.run_id if session.has_run else None))
    setattr(builtins, BRIDGE, session.active)
    shell.Completer.custom_matchers.append(matcher)
    control.listen(session)
    take_down(shell)
    bring_threads_home()
    _quiet_shutdown(shell)
    _loaded[id(shell)] = session, transformer, matcher


def _quiet_shutdown(shell: InteractiveShell) -> None:
    """Keep the kernel of a headless run from calling its own shutdown an error on the terminal: whoever shuts a kernel
    down interrupts it first, and one that has just suspended may not be done with its last message."""
    kernel = getattr(shell, "kernel", None)
    if kernel is not None and RUN_VARIABLE in os.environ:
        kernel.log.addFilter(lambda record: "KeyboardInterrupt caught" not in str(record.msg))


def _show_runs(shell: InteractiveShell, session: Session) -> None:
    """Displaying a `Run` shows it live, a workflow its picture, a result a table of its steps, a search what was found."""

    def show(run: Run) -> None:
        from wfkernel.notebook.live import show_engine_run

        show_engine_run(session, run)

    def picture(workflow: Definition) -> str:
        from wfkernel.plan.chart import chart_of_plan
        from wfkernel.plan.picture import svg

        return svg(chart_of_plan(workflow)) if workflow.nodes else ""

    def table(result: RunResult) -> str:
        from wfkernel.notebook.resultview import render_result_html

        return render_result_html(result)

    def found(results: Results, printer: Any, cycle: bool) -> None:
        printer.text(render_found_text(results))

    if (formatter := shell.display_formatter) is not None:
        formatter.ipython_display_formatter.for_type_by_name("wfkernel.engine.run", "Run", show)
        formatter.formatters["image/svg+xml"].for_type_by_name("wfkernel.plan.builder", "Definition", picture)
        formatter.formatters["text/html"].for_type_by_name("wfkernel.engine.result", "RunResult", table)
        formatter.formatters["text/html"].for_type_by_name("wfkernel.store.context", "Results", render_found_html)
        formatter.formatters["text/plain"].for_type_by_name("wfkernel.store.context", "Results", found)


def unload(shell: InteractiveShell) -> None:
    """Undo `load`; what is in the store stays."""
    session, transformer, matcher = _loaded.pop(id(shell))
    for transform in (mark_step, keep_questions):
        shell.input_transformers_cleanup.remove(transform)
    shell.ast_transformers.remove(transformer)
    shell.events.unregister("pre_run_cell", session.pre_run_cell)
    shell.events.unregister("post_run_cell", session.post_run_cell)
    shell.events.unregister("post_run_cell", draw_circles)
    work_in(None)
    shell.Completer.custom_matchers.remove(matcher)
    control.deaf(session)
    delattr(builtins, BRIDGE)
