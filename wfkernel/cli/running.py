"""``wf run``, ``start``, ``resume``, ``retry``, ``restart``, ``wake``: make runs go.

What runs is a notebook, or a workflow: one defined in Python or in a workflow file. `wfkernel.cli.targets` tells them apart; notebooks are executed by papermill in a kernel, workflows by the engine in this process.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfkernel.cli.complete import complete_step, complete_waiting
from wfkernel.cli.report import exit_as
from wfkernel.cli.shared import (
    FAILED,
    USAGE,
    JsonOption,
    RunArgument,
    StoreOption,
    family,
    opened,
    parameters_of,
    print_json,
    print_table,
    quick_jsonschema,
    watched,
)
from wfkernel.cli.targets import ImportOption, is_workflow, load_module, load_workflow, workflow_of, workflows_in
from wfkernel.engine.failures import InputInvalid
from wfkernel.errors import AnswerInvalid, DefinitionError

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState, StepState
    from wfkernel.plan.shape import Shape
    from wfkernel.store.store import Store

commands = family()

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="A notebook (a file, or a path papermill reads: s3://, https://), or a workflow: FILE.py:NAME, "
        "MODULE:NAME or a workflow file (NAME.wf.yaml, JSON).",
        show_default=False,
    ),
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter, or a field of the workflow's input."),
]
InputOption = Annotated[str | None, typer.Option("--input", metavar="JSON", help="The workflow's input.")]
OutputOption = Annotated[
    str | None, typer.Option("-o", "--output", help="The executed notebook; {NAME} stands for a parameter's value.")
]
DurabilityOption = Annotated[
    str | None, typer.Option(help="A finished step survives: fsync a power cut, write kill -9, exit nothing.")
]
CheckpointsOption = Annotated[
    str | None, typer.Option(metavar="WHEN", help="'every step', '10 steps', '5m', '10 steps, keep 3', 'manual'.")
]
StepOption = Annotated[
    str | None, typer.Option(help="Which step, where there are several.", autocompletion=complete_step)
]


@commands.command()
def run(
    target: TargetArgument,
    parameter: ParameterOption = None,
    input: InputOption = None,
    output: OutputOption = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="What the run is called; no run may be called so yet.")
    ] = None,
    durability: DurabilityOption = None,
    checkpoints: CheckpointsOption = None,
    imports: ImportOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook or a workflow as a new run, until it ends, suspends or fails."""
    from wfkernel.engine.durability import checked_durability

    kept, how = _store_for(target, store), checked_durability(durability)
    if is_workflow(target):
        from wfkernel.cli.executing import begin
        from wfkernel.notebook.runs import new_run_id

        workflow = load_workflow(target, kept, imports or ())
        value, run_id = _input(workflow, parameter, input), run_id or new_run_id()
        state = begin(workflow, value, run_id, how, checkpoints, progress=watched(as_json))
    else:
        from wfkernel.notebook.headless import run_notebook, typed_parameters

        quick_jsonschema()

        if input is not None:
            raise DefinitionError("--input is for workflows; the parameters of a notebook are given with -p NAME=VALUE")
        parameters = typed_parameters(target, parameters_of(parameter or []))
        state = run_notebook(
            target, output, parameters, progress=watched(as_json), store=kept, run_id=run_id, durability=how,
            checkpoints=checkpoints,
        )  # fmt: skip
    exit_as(state, kept, as_json)


@commands.command()
def start(
    target: TargetArgument,
    parameter: ParameterOption = None,
    input: InputOption = None,
    output: OutputOption = None,
    durability: DurabilityOption = None,
    checkpoints: CheckpointsOption = None,
    imports: ImportOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run in the background: print the run's id at once and come back. `wf logs` shows what it prints."""
    from wfkernel.cli.background import begun, log_of, spawn
    from wfkernel.notebook.runs import new_run_id

    kept = _store_for(target, store)
    if is_workflow(target):
        workflow = load_workflow(target, kept, imports or ())  # what is wrong with it is told here, not in a log
        _input(workflow, parameter, input)
    else:
        from wfkernel.notebook.headless import typed_parameters

        quick_jsonschema()

        typed_parameters(target, parameters_of(parameter or []))
    run_id = new_run_id()
    options = [("--input", input), ("--output", output), ("--store", str(kept.path)), ("--run-id", run_id)]
    options += [("--durability", durability), ("--checkpoints", checkpoints)]
    arguments = [part for option, value in options if value is not None for part in (option, value)]
    arguments += [part for pair in parameter or [] for part in ("-p", pair)]
    arguments += [part for module in imports or [] for part in ("--import", module)]
    process = spawn(kept, run_id, ["run", target, *arguments])
    if not as_json:
        typer.echo(run_id)
    if not begun(kept, run_id, process):
        log = log_of(kept, run_id)
        typer.echo(f"wf: it ended before it began. {log} says:\n{log.read_text(errors='replace')[-2000:]}", err=True)
        raise typer.Exit(FAILED)
    if as_json:
        print_json({"run_id": run_id, "pid": process.pid, "log": str(log_of(kept, run_id))})


@commands.command()
def resume(
    run: RunArgument,
    data: Annotated[str | None, typer.Option(help="The answer for the suspended step, as JSON.")] = None,
    step: Annotated[
        str | None,
        typer.Option(
            "--step",
            "--label",
            help="Which step, where there are several: its path, or a label it suspended with.",
            autocompletion=complete_waiting,
        ),
    ] = None,
    imports: ImportOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a suspended, paused, failed or interrupted run; finished steps are not executed again."""
    kept = opened(store)
    run_id = kept.find(run)
    answer, known = _json("--data", data), kept.load(run_id)
    asking = None if data is not None or as_json else _asking_somebody(known, step)
    if asking is not None:
        from wfkernel.cli.asking import ask_again, ask_for_answer

        answer = ask_for_answer(asking)
    while True:
        try:
            if _is_engine_run(known):
                from wfkernel.cli.executing import go_on

                answered = data is not None or asking is not None
                state = go_on(kept, known, answer, answered, step, imports or (), progress=watched(as_json))
            else:
                from wfkernel.notebook.headless import resume_notebook

                quick_jsonschema()

                state = resume_notebook(kept, run_id, answer, step=step, progress=watched(as_json))
        except (AnswerInvalid, InputInvalid) as error:
            if asking is not None:
                answer = ask_again(asking, answer, error.problems)
                continue
            if isinstance(error, InputInvalid):
                raise
            typer.echo(f"wf: the answer for step '{error.step}' was refused, run {run_id} stays suspended:", err=True)
            for path, message in error.problems:
                typer.echo(f"  {path or 'answer'}: {message}", err=True)
            raise typer.Exit(USAGE) from None
        exit_as(state, kept, as_json)


@commands.command()
def retry(
    run: RunArgument = "latest",
    step: StepOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a failed run again from the step that failed, or from --step on; what comes before it is kept."""
    kept = opened(store)
    known = kept.load(kept.find(run))
    if step is not None and step not in known.steps:
        raise DefinitionError(f"run {known.run_id} has no step '{step}'. It has {', '.join(known.steps) or 'none'}.")
    if step is None and known.status not in ("failed", "tripwire", "canceled"):
        raise DefinitionError(
            f"run {known.run_id} is {known.status}, it did not fail: name the step to go back to with --step"
        )
    if _is_engine_run(known):
        from wfkernel.cli.executing import try_again

        exit_as(try_again(kept, known, step, progress=watched(as_json)), kept, as_json)
    from wfkernel.notebook.headless import retry_notebook

    quick_jsonschema()

    exit_as(retry_notebook(kept, known.run_id, step, progress=watched(as_json)), kept, as_json)


@commands.command()
def restart(run: RunArgument = "latest", store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Run the same notebook or workflow with the same input once more, from its beginning, as a new run."""
    from wfkernel.notebook.runs import new_run_id

    kept = opened(store)
    known = kept.load(kept.find(run))
    if _is_engine_run(known):
        from wfkernel.cli.executing import begin
        from wfkernel.engine.values import reveal

        workflow = workflow_of(known, kept)
        value = reveal(known.input, kept)
        exit_as(begin(workflow, value, new_run_id(), progress=watched(as_json)), kept, as_json)
    from wfkernel.notebook.headless import run_notebook

    quick_jsonschema()

    exit_as(run_notebook(known.notebook, None, known.params, progress=watched(as_json), store=kept), kept, as_json)


@commands.command()
def wake(
    modules: Annotated[
        list[str], typer.Argument(help="What defines the workflows: modules, .py files or workflow files.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Take up the sleeping runs whose time has come. For cron, a systemd timer, or a person."""
    from wfkernel.engine.loop import run_sync
    from wfkernel.engine.wake import wake as wake_runs

    by_store: dict[Any, list[Any]] = {}
    for module in modules:
        for workflow in _stored_workflows(module):
            by_store.setdefault(workflow.options.store, []).append(workflow)
    results = [result for store, found in by_store.items() for result in run_sync(wake_runs(store, found))]
    if as_json:
        print_json([{"run_id": result.run_id, "status": result.status} for result in results])
    elif results:
        print_table(["run", "status"], [(result.run_id, result.status) for result in results])
    else:
        typer.echo("no run had to be woken")


def _stored_workflows(module: str) -> list[Any]:
    """The workflows with a store that a module or file defines. Raises `DefinitionError` when it has none."""
    if not module.endswith(".py") and is_workflow(module):
        return [load_workflow(module, _store_for(module, None))]
    stored = [workflow for workflow in workflows_in(load_module(module)).values() if workflow.options.store is not None]
    if not stored:
        raise DefinitionError(f"{module} defines no workflow with a store: nothing of it can sleep between processes")
    return stored


def _asking_somebody(state: RunState, step: str | None) -> StepState | None:
    """The suspended step to ask about, where somebody sits at the terminal."""
    waiting = [one for one in state.suspended_steps if step is None or one.answers_to(step)]
    return waiting[0] if len(waiting) == 1 and sys.stdin.isatty() and sys.stdout.isatty() else None


def _is_engine_run(state: RunState) -> bool:
    from wfkernel.engine.state import ENGINE_MODES

    return state.mode in ENGINE_MODES


def _store_for(target: str, path: Any) -> Store:
    from wfkernel.notebook.headless import store_of
    from wfkernel.store.store import open_store

    return open_store(path) if path is not None or is_workflow(target) else store_of(target)


def _input(workflow: Any, parameter: list[str] | None, text: str | None) -> Any:
    """The input of a workflow: the JSON of --input, with the fields given by -p."""
    from wfkernel.plan.reference import did_you_mean

    shape = workflow.input_shape
    value = _typed(text, shape) if text is not None and _fits(text, shape) else _json("--input", text)
    declared = _declared(workflow)
    known = shape.fields() if shape is not None else {}
    fields = {}
    for name, said in parameters_of(parameter or []).items():
        if declared is not None and name not in declared:
            raise DefinitionError(f"-p {name}: {workflow.id} has no input '{name}'{did_you_mean(name, declared)}")
        fields[name] = said if (declared or {}).get(name) == "string" else _typed(said, _shape_of(known.get(name)))
    if not fields:
        return value
    if value is not None and not isinstance(value, dict):
        raise DefinitionError("-p sets fields of the input: --input has to be a JSON object then, or be left out")
    return {**(value or {}), **fields}


def _declared(workflow: Any) -> dict[str, Any] | None:
    """The inputs a workflow file declares, with their types; None for other workflows, which may take anything."""
    from wfkernel.plan.declared import inputs_of

    declared = inputs_of(getattr(workflow, "input", None))
    return None if declared is None else {n: t.get("type") if isinstance(t, dict) else t for n, t in declared.items()}


def _typed(text: str, shape: Shape | None) -> Any:
    """A value typed on a command line: JSON if that fits the type, otherwise the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if shape is not None and not _fits(value, shape) and _fits(text, shape) else value


def _fits(value: Any, shape: Shape | None) -> bool:
    from wfkernel.plan.shape import Misfit

    if shape is None or shape.accepts_anything:
        return False
    try:
        shape.check(value)
    except Misfit:
        return False
    return True


def _shape_of(field: Any) -> Shape | None:
    """The type of a field of a model or of a `TypedDict`."""
    from wfkernel.plan.shape import Shape

    return None if field is None else Shape(getattr(field, "annotation", field))


def _json(option: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise DefinitionError(f"{option} is not JSON: {error}. Example: {option} '{{\"approve\": true}}'") from None
