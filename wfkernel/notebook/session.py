"""One kernel's notebook session: which run it writes, which steps it knows, and what a step cell has to do next.

The session answers one question for every ``%%step`` cell that is about to execute: report a mistake, say what the step
waits for, restore its values, or run it. Everything that takes place is written through `ScriptRun`.
"""

from __future__ import annotations

import ast
import itertools
import os
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wfkernel.engine import events as ev
from wfkernel.engine.answers import validate_answer
from wfkernel.engine.events import Event
from wfkernel.engine.script import Inputs, ScriptRun, StepRun
from wfkernel.engine.state import StepState
from wfkernel.errors import DefinitionError, RunNotSuspended, RunStopped, StepWaiting, ValueUnreadable
from wfkernel.notebook import frontend
from wfkernel.notebook.cellgraph import CellGraphs
from wfkernel.notebook.cellrun import CellExecution, CellFailure, CellRestore, CellSkip
from wfkernel.notebook.commands import Command, Commands, Reply
from wfkernel.notebook.dispatch import DispatchedCell
from wfkernel.notebook.home import Home
from wfkernel.notebook.namespace import Namespace
from wfkernel.notebook.prose import cell_doc, keep_prose
from wfkernel.notebook.runs import RUN_VARIABLE, NotebookRuns
from wfkernel.notebook.stalemarks import StaleMarks
from wfkernel.notebook.stepline import Refresher, StepLine
from wfkernel.notebook.stops import Stops
from wfkernel.notebook.transform import call, is_valid, wrap
from wfkernel.plan.cell import CellStep, make_step, split_cell
from wfkernel.plan.graph import Circular
from wfkernel.plan.outline import Outline, outline_of
from wfkernel.plan.reading import read_cells
from wfkernel.store.codecs import decode_names
from wfkernel.store.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from wfkernel.notebook.live import LiveView

__all__ = ["Session"]

Records = dict[str, tuple[str, dict[str, Any]]]
"""name -> (the step that saved it, the record of the value)."""


@dataclass(slots=True)
class KnownCell:
    """A step cell this kernel has seen."""

    step: CellStep
    file: str
    """The name under which IPython keeps the cell's source for tracebacks."""
    cell_id: str | None
    run: StepRun | None = None
    doc: str = ""
    seen: float = field(default_factory=time.time)
    """When the cell was executed: a file saved later may hold a newer definition."""
    home: Home | None = None
    """Where its output belongs; None for a cell that has not been executed in this kernel."""


class Session:
    """The notebook session of one kernel."""

    def __init__(self, shell: InteractiveShell, store: Store | None = None) -> None:
        self.shell = shell
        self.path = frontend.notebook_path(shell)
        self.store = store or open_store(near=self.path.parent if self.path else None)
        self.namespace = Namespace(shell.user_ns)
        self.refresher = Refresher()
        self.cells: dict[str, KnownCell] = {}
        self.active: dict[int, Any] = {}
        """What transformed cells find under ``__wfkernel__``."""
        self.watchers: tuple[Callable[[Event], None], ...] = ()
        """Who is told of every event of the run."""
        self.views: dict[str, LiveView] = {}
        self.runs = NotebookRuns(self.store, self.path, self._noted, self._commanded)
        self.graphs = CellGraphs(self)
        self.stops = Stops(self)
        self.commands = Commands(self)
        self.controlled = False
        """Whether the kernel's control channel hears commands (`wfkernel.notebook.control`)."""
        self.stale = StaleMarks(self)
        self._numbers = itertools.count(1)
        self._outline: tuple[float, Outline] | None = None
        self._info: Any = None

    def _commanded(self, command: Command) -> Reply:
        """Another process has a command for our run."""
        return self.commands.do(command, str(command.get("by") or "another process"))

    def _noted(self, event: Event) -> None:
        for watch in self.watchers:
            watch(event)
        self.refresher.changed()

    def keep_view(self, view: LiveView) -> None:
        """Follow a run in `view` until something else takes its place in the notebook."""
        self.drop_view(view.parent, view.focus)
        self.views[cell_key(view.parent, view.focus)] = view

    def close_view(self, view_id: str) -> None:
        """Nobody looks at this view any more."""
        for key, view in list(self.views.items()):
            if view.widget.view_id == view_id:
                del self.views[key]
                view.close()

    def view(self, view_id: str | None) -> LiveView | None:
        """The view of that id, if it is still followed."""
        return next((view for view in list(self.views.values()) if view.widget.view_id == view_id), None)

    def drop_view(self, parent: dict[str, Any], focus: str) -> None:
        """The cell of the request `parent` shows something else now, for the step `focus` or the whole run."""
        replaced = self.views.get(cell_key(parent, focus))
        if replaced is not None and replaced.parent.get("msg_id") != parent.get("msg_id"):
            del self.views[cell_key(parent, focus)]
            replaced.close()

    # -- the run -----------------------------------------------------------------------------------------------------

    @property
    def run(self) -> ScriptRun:
        """The run this kernel writes: taken up from an earlier kernel of the same notebook, or a new one."""
        return self.runs.current

    @property
    def has_run(self) -> bool:
        return self.runs.begun

    def check_finished(self) -> None:
        """End the run when every step it has is finished."""
        if self.ends_with():
            self.run.finish("success")

    def ends_with(self, path: str = "") -> bool:
        """Whether the run, which goes on, has to be ended once the step `path` is finished: all the others are."""
        state = self.run.state
        # A headless run is ended by who started it: cells after the last step belong to it too.
        if RUN_VARIABLE in os.environ or state.status == "success":
            return False
        names = (step.name for step in self.steps() if step.name != path)
        return all(state.step(name).status in ("success", "skipped") for name in names)

    # -- what is known of the notebook -------------------------------------------------------------------------------

    def outline(self) -> Outline | None:
        """The notebook file's outline, read again when the file changed; None where there is no file."""
        if self.path is None:
            return None
        try:
            changed = self.path.stat().st_mtime
        except OSError:
            return None
        if self._outline is None or self._outline[0] != changed:
            try:
                cells = read_cells(self.path)
            except (OSError, ValueError):  # being written just now: the next step looks again
                return self._outline[1] if self._outline else None
            self._outline = (changed, outline_of(cells))
            self._keep_prose(cells)
        return self._outline[1]

    def _keep_prose(self, cells: list[dict[str, Any]]) -> None:
        """Keep the notebook's markdown in the store, in the background: a step does not wait for the database."""
        assert self.path is not None
        run_id = self.run.run_id if self.has_run else None
        threading.Thread(
            target=keep_prose, args=(self.store, self.path, cells, run_id), name="wfkernel-prose", daemon=True
        ).start()

    def steps(self) -> list[CellStep]:
        """The steps known, in the notebook's order; of the cell executed and the file saved, the later one counts."""
        known = self.outline()
        listed = [self._newest(step) for step in known.steps] if known else []
        names = {step.name for step in listed}
        return listed + [cell.step for name, cell in list(self.cells.items()) if name not in names]

    def _newest(self, saved: CellStep) -> CellStep:
        cell = self.cells.get(saved.name)
        if cell is None:
            return saved
        edited = self._outline is not None and self._outline[0] > cell.seen and saved.code != cell.step.code
        # A headless run executes the notebook as it was when the run began.
        return saved if edited and RUN_VARIABLE not in os.environ else cell.step

    def pre_run_cell(self, info: Any) -> None:
        """IPython hook: remember the cell that is about to run, and give a plain cell what steps could not save."""
        from wfkernel.plan.cell import split_cell

        self.stops.interrupts.begin_cell()
        self._info = info
        source = getattr(info, "raw_cell", None) or ""
        if split_cell(source) is None:
            self._provide_for_plain_cell(source)

    def post_run_cell(self, result: Any) -> None:
        """IPython hook: a plain cell may have changed values of steps in place."""
        from wfkernel.plan.analyse import analyse
        from wfkernel.plan.cell import split_cell, to_python

        self.stops.after_cell(self.stops.interrupts.end_cell(), getattr(result, "error_in_exec", None))
        self.namespace.forget_rebound()
        source = getattr(getattr(result, "info", None), "raw_cell", None) or ""
        if split_cell(source) is None:
            try:
                names = analyse(ast.parse(to_python(source)))
            except (SyntaxError, DefinitionError):
                return
            self.namespace.touched(names.stores | names.mutates)
        self.stale.refresh()

    # -- a step cell -------------------------------------------------------------------------------------------------

    def prepare(self, line: str, body: ast.Module) -> ast.Module:
        """What to execute for a step cell. Called once per execution, with the cell's own line numbers in `body`."""
        begun = time.perf_counter()
        if not is_valid(body):
            return body  # let Python report it
        try:
            if (stopped := self.stops.interrupts.pending()) is not None:
                raise stopped
            step = make_step(line, body)
            self._register(step)
            return self._decide(step, begun)
        except (Exception, StepWaiting, KeyboardInterrupt, RunStopped) as error:
            cause = self.stops.interrupts.cause_of(error)
            self.stops.note(cause)
            return self._instead(CellFailure(cause), "report")

    def _instead(self, runner: Any, method: str) -> ast.Module:
        return call(self._activate(runner), method)

    def _activate(self, runner: Any) -> int:
        number = next(self._numbers)
        self.active.clear()  # only the cell that runs talks to us
        self.active[number] = runner
        return number

    def _register(self, step: CellStep) -> None:
        cell_id = getattr(self._info, "cell_id", None) or None
        other = self.cells.get(step.name)
        if other is not None and cell_id and other.cell_id and other.cell_id != cell_id:
            if other.cell_id not in frontend.deleted_cells(self.shell):
                raise DefinitionError(
                    f"there are two steps named '{step.name}', in two cells: rename one (if you renamed the other just "
                    "now, run that cell first)"
                )
        if cell_id:
            for name in [n for n, c in self.cells.items() if c.cell_id == cell_id and n != step.name]:
                del self.cells[name]
        raw = getattr(self._info, "raw_cell", "") or ""
        file = self.shell.compile.get_code_name(raw, raw, self.shell.execution_count)
        parts = split_cell(raw)
        doc = cell_doc(parts[1]) if parts else ""
        self.cells[step.name] = KnownCell(step, file, cell_id, other.run if other else None, doc, home=Home(self.shell))

    def _decide(self, step: CellStep, begun: float) -> ast.Module:
        """What to execute for a registered step: its restore, or its body."""
        inputs, values = self._resolve(step)
        line = StepLine(self, step.name)
        self.stale.follow(step.name, line)
        if values is not None:
            return self._instead(CellRestore(self, step, values, line, begun), "restore")
        run = self._begin(step, inputs)
        if not self._holds(step):
            return self._instead(CellSkip(self, run, line), "skip")
        if step.options.worker is not None or step.options.foreach is not None:
            return self._instead(DispatchedCell(self, step, inputs, run, line), "execute")
        execution = CellExecution(self, step, run, line)
        return wrap(step.body, self._activate(execution), self.shell.ast_node_interactivity)

    async def run_in_graph(self, step: CellStep) -> None:
        """Do what the step's cell would do, with its body executed by a worker. For the engine's loop."""
        known = self.cells.get(step.name)
        home = known.home if known is not None else None
        if known is None or known.step.code != step.code:  # it stands in the file and was not executed as a cell
            cell_id = known.cell_id if known else None
            self.cells[step.name] = KnownCell(step, f"<step {step.name}>", cell_id, home=home)
        with home.entered() if home is not None and home.takes_output() else nullcontext():
            await self._run_in_graph(step)

    async def _run_in_graph(self, step: CellStep) -> None:
        begun = time.perf_counter()
        inputs, values = self._resolve(step)
        line = StepLine(self, step.name)
        if values is not None:
            CellRestore(self, step, values, line, begun).restore()
            return
        run = self._begin(step, inputs)
        if not self._holds(step):
            CellSkip(self, run, line).skip()
            return
        await DispatchedCell(self, step, inputs, run, line).run_async()

    def _resolve(self, step: CellStep) -> tuple[Inputs, dict[str, Any] | None]:
        """The step's inputs, and its values if its finished result holds; otherwise all it reads is put in place.

        Raises `StepWaiting` or `DefinitionError` when something it reads cannot be there.
        """
        run = self.run
        steps = self.steps()
        self.plan_run(steps)
        stored = self._missing(step, steps)
        inputs, superseded = self._inputs(step, stored, steps)
        if not step.options.always and run.decide(step.name, step.code, inputs) == "restore":
            done = run.state.step(step.name).done
            assert done is not None
            try:
                return inputs, self.decode(done["outputs"], step.name)
            except ValueUnreadable as error:
                run.emit(ev.STEP_OUTPUT, {"text": f"not restored, running again: {error}"}, step.name)
        for name, (source, record) in {**stored, **superseded}.items():
            self._fetch(name, source, record)
        return inputs, None

    def plan_run(self, steps: list[CellStep]) -> None:
        """Tell the run which steps there are."""
        self.run.plan([{"path": s.name, "reads": sorted(s.names.reads), "binds": sorted(s.names.binds)} for s in steps])

    def fetch_inputs(self, step: CellStep) -> Inputs:
        """Put everything the step reads in place; returns what it is."""
        steps = self.steps()
        stored = self._missing(step, steps)
        inputs, superseded = self._inputs(step, stored, steps)
        for name, (source, record) in {**stored, **superseded}.items():
            self._fetch(name, source, record)
        return inputs

    def _begin(self, step: CellStep, inputs: Inputs) -> StepRun:
        known = self.cells[step.name]
        run = self.run.begin(step.name, step.code, inputs, step.names.reads, step.names.binds, known.doc)
        known.run = run
        return run

    def _holds(self, step: CellStep) -> bool:
        """Whether the step's ``--when`` holds."""
        return step.options.when is None or bool(eval(step.options.when, self.shell.user_ns))

    def _inputs(self, step: CellStep, stored: Records, steps: list[CellStep]) -> tuple[Inputs, Records]:
        """The digest and origin of everything the step reads, and which values must be put back before it runs.

        A step reads what the steps above it bound. When the namespace holds a later version of a name (the step itself
        ran before and changed it, or a step further down did), the version from above counts, so that running a cell
        twice gives the same result twice.
        """
        order = {s.name: position for position, s in enumerate(steps)}
        here = order.get(step.name, len(order))
        inputs: Inputs = {}
        superseded: Records = {}
        for name in sorted(step.names.reads):
            if name in stored:
                source, record = stored[name]
                inputs[name] = {"digest": record["digest"], "from": source}
                continue
            if name not in self.namespace:
                continue
            producer = self.namespace.producer(name)
            if producer and order.get(producer, -1) >= here:
                above = [p for p, position in order.items() if position < here]
                earlier = self._latest_record(name, above)
                if earlier is not None:
                    superseded[name] = earlier
                    inputs[name] = {"digest": earlier[1]["digest"], "from": earlier[0]}
                    continue
                done = self.run.state.step(step.name).done
                if producer == step.name and done is not None and name in done["inputs"]:
                    inputs[name] = done["inputs"][name]  # from a plain cell; this step's own change does not count
                    continue
            binding = self.namespace.binding(name)
            inputs[name] = {"digest": binding.digest, "from": binding.producer}
        return inputs, superseded

    def _latest_record(self, name: str, steps: list[str]) -> tuple[str, dict[str, Any]] | None:
        """The saved value of `name` by the last of `steps` that finished and bound it."""
        for path in reversed(steps):
            done = self.run.state.step(path).done
            for record in done["outputs"] if done else ():
                if record["name"] == name and not record.get("why"):
                    return path, record
        return None

    # -- names that are not there ------------------------------------------------------------------------------------

    def _missing(self, step: CellStep, steps: list[CellStep]) -> Records:
        """The saved values, of finished steps above, of what the step reads and the namespace lacks.

        Raises `StepWaiting` naming the steps it has to wait for, or `DefinitionError` for a name nothing binds.
        """
        stored: Records = {}
        missing = [name for name in sorted(step.names.reads) if name not in self.namespace]
        if not missing:
            return stored
        waits: list[str] = []
        known = self.outline()
        place = next((i for i, s in enumerate(steps) if s.name == step.name), len(steps))
        for name in missing:
            binders = [s for s in steps[:place] if name in s.names.binds or name in s.names.stores]
            if not binders and (later := [s for s in steps[place + 1 :] if name in s.names.binds]):
                self._refuse_later(step, name, later[0], steps)
            if binders:
                binder = binders[-1]
                state = self.run.state.step(binder.name)
                if state.status != "success" or state.done is None or state.done["code"] != binder.code:
                    waits.append(f"step '{binder.name}' ({_status_for_people(state)}), which binds '{name}'")
                    continue
                # Without a record the step binds the name only sometimes, and not this time.
                record = next((r for r in state.done["outputs"] if r["name"] == name), None)
                if record is not None:
                    stored[name] = binder.name, record
            elif name in step.names.needs:
                if known and name in known.plain:
                    cell = known.plain[name][0] + 1
                    waits.append(f"cell {cell}, which binds '{name}' and has not run in this kernel")
                elif not (known and known.opaque):
                    raise DefinitionError(
                        f"step '{step.name}' reads '{name}', which no step or cell defines: define it above, or list "
                        "what the step reads with --in"
                    )
        if waits:
            raise StepWaiting(step.name, list(dict.fromkeys(waits)))
        return stored

    @staticmethod
    def _refuse_later(step: CellStep, name: str, later: CellStep, steps: list[CellStep]) -> None:
        from wfkernel.plan.outline import find_cycle, unordered_needs

        needs = unordered_needs(steps)
        if cycle := find_cycle(needs, step.name):
            raise DefinitionError(f"the steps need each other: {' -> '.join(cycle)}", Circular(needs, (tuple(cycle),)))
        if name in step.names.needs:
            raise DefinitionError(
                f"step '{step.name}' reads '{name}', which is bound only further down, by {later.label}: move that cell up"
            )

    def _fetch(self, name: str, source: str, record: dict[str, Any]) -> None:
        """Put the value of `name` from the finished step `source` in place; execute that step if it was not saved."""
        if record.get("why"):
            if name not in self.namespace:  # an earlier name of the same step may have brought it back
                self._run_again(source, name, record["why"])
            return
        values = self.decode([record], source)
        self.namespace.bind(name, values[name], source, record["digest"])

    def decode(self, records: list[dict[str, Any]], path: str) -> dict[str, Any]:
        """The values behind records of step `path`; functions among them look names up in the user's namespace."""
        return decode_names(records, self.store.blobs, namespace=self.namespace.values, step=path)

    def _run_again(self, path: str, name: str, why: str) -> None:
        """Execute a finished step once more because its value of `name` could not be saved."""
        cell = self.cells.get(path)
        if cell is None or cell.step.names.uses_await:
            raise StepWaiting(
                name, [f"step '{path}': its value of '{name}' could not be saved ({why}). Run its cell with --always"]
            )
        self.execute(path)

    def execute(self, path: str) -> None:
        """Execute a step this kernel has seen, here and now, whatever its state. For bodies without ``await``."""
        cell = self.cells[path]
        inputs = self.fetch_inputs(cell.step)
        cell.run = self.run.begin(path, cell.step.code, inputs, cell.step.names.reads, cell.step.names.binds, cell.doc)
        if cell.step.options.worker is not None or cell.step.options.foreach is not None:
            DispatchedCell(self, cell.step, inputs, cell.run, StepLine(self, path)).execute()
            return
        execution = CellExecution(self, cell.step, cell.run, StepLine(self, path))
        number = next(self._numbers)
        self.active[number] = execution
        module = wrap(cell.step.body, number, "last_expr")
        exec(compile(module, cell.file, "exec", dont_inherit=True), self.shell.user_ns)

    def execute_shown(self, path: str) -> None:
        """`execute`, with an error shown the way IPython shows the error of a cell."""
        try:
            self.execute(path)
        except BaseException:
            self.shell.showtraceback()

    def _provide_for_plain_cell(self, source: str) -> None:
        """Before a plain cell runs: execute steps again whose unsaved values it reads."""
        from wfkernel.plan.analyse import analyse
        from wfkernel.plan.cell import to_python

        if not self.has_run:
            return
        unsaved = {
            record["name"]: (state.path, record["why"])
            for state in self.run.state.steps.values()
            if state.restored and state.done
            for record in state.done["outputs"]
            if record.get("why") and record["name"] not in self.namespace
        }
        if not unsaved:
            return
        try:
            names = analyse(ast.parse(to_python(source)))
        except (SyntaxError, DefinitionError):
            return
        for name in sorted(names.reads & unsaved.keys()):
            if name not in self.namespace:
                self._run_again(unsaved[name][0], name, unsaved[name][1])

    # -- suspend and resume ------------------------------------------------------------------------------------------

    def suspended(self, path: str | None = None) -> StepState:
        """The suspended step, which must be given when there are several. Raises `RunNotSuspended`."""
        state = self.run.state
        waiting = state.suspended_steps
        if not waiting:
            raise RunNotSuspended(
                f"run {state.run_id} is not suspended, it is {state.status}: there is nothing to resume"
            )
        if path is None:
            if len(waiting) > 1:
                names = ", ".join(s.path for s in waiting)
                raise RunNotSuspended(f"several steps are suspended ({names}): say which one")
            return waiting[0]
        found = next((s for s in waiting if s.answers_to(path)), None)
        if found is None:
            raise RunNotSuspended(f"step '{path}' is not suspended; suspended: {', '.join(s.path for s in waiting)}")
        return found

    def resume(self, data: Any, path: str | None = None, by: str = "notebook") -> str:
        """Give the suspended step its answer; it runs when its cell runs next. Returns the step's name.

        Raises `AnswerInvalid` (the run stays suspended) or `RunNotSuspended`.
        """
        from wfkernel.errors import AnswerInvalid
        from wfkernel.plan.schema import check_schema

        step = self.suspended(path)
        assert step.suspension is not None
        known = self.cells.get(step.path)
        try:
            if known is not None and known.run is not None and known.run.model is not None:
                validate_answer(step.path, known.run.model, data)
            else:
                problems = check_schema(step.suspension.schema, data)
                if problems:
                    raise AnswerInvalid(step.path, problems)
        except AnswerInvalid as error:
            self.run.refuse(step.path, error.problems)
            raise
        self.run.answer(step.path, data, by)
        return step.path

    def show_form(self, path: str) -> None:
        """Show the resume form of a suspended step beneath its cell, where somebody can use it."""
        if frontend.is_live(self.shell):
            from wfkernel.notebook.live import show_form

            show_form(self, path)


def cell_key(parent: dict[str, Any], focus: str) -> str:
    """Which cell sent the request `parent`, and which step of it is meant."""
    return f"{(parent.get('metadata') or {}).get('cellId') or parent.get('msg_id')} {focus}"


def _status_for_people(state: StepState) -> str:
    if state.suspension is not None:
        return f"suspended: {state.suspension.message}" if state.suspension.message else "suspended"
    return {"success": "its code changed", "pending": "not run yet", "skipped": "skipped by its --when"}.get(
        state.status, state.status
    )
