"""What ``wf run`` is given: a notebook, or a workflow: ``FILE.py:NAME``, ``MODULE:NAME``, or a workflow file (YAML, JSON)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from wfkernel.errors import DefinitionError, WorkflowError

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState
    from wfkernel.plan.builder import Definition
    from wfkernel.store.store import Store

__all__ = [
    "ImportOption",
    "import_modules",
    "is_workflow",
    "load_module",
    "load_plan",
    "load_workflow",
    "workflow_of",
    "workflows_in",
]

ImportOption = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import a module (or .py file) first: one that registers agents."),
]

_FILES: Final = (".yaml", ".yml", ".json")


def is_workflow(target: str) -> bool:
    """Whether `target` names a workflow; a notebook otherwise. Raises `DefinitionError` for a file of Python alone."""
    if target.endswith(_FILES):
        return True
    if target.endswith(".py") and Path(target).is_file():
        known = ", ".join(f"{target}:{name}" for name in workflows_in(load_module(target))) or "it defines none"
        raise DefinitionError(f"{target} is a file of Python: say which workflow of it ({known})")
    module, colon, name = target.rpartition(":")
    return bool(colon) and name.isidentifier() and (module.endswith(".py") or _is_dotted(module))


def load_workflow(target: str, store: Store | None, imports: Sequence[str] = ()) -> Any:
    """The `Workflow` or durable function that `target` names; one without a store of its own gets this one.

    `imports` are imported before. Raises `DefinitionError` or, for a workflow file, `WorkflowFileInvalid`.
    """
    import_modules(imports)
    if target.endswith(_FILES):
        from wfkernel.engine.files import load_workflow as load_file

        if not Path(target).is_file():
            raise DefinitionError(f"there is no file {target}")
        workflow = load_file(target, store=store)
        workflow.imports = [str(Path(name).resolve()) if name.endswith(".py") else name for name in imports]
        return workflow
    module, _, name = target.rpartition(":")
    loaded = load_module(module)
    known = workflows_in(loaded)
    if name not in known:
        has = f"It has {', '.join(known)}." if known else "It defines none."
        raise DefinitionError(f"{module} has no workflow '{name}'. {has}")
    found = known[name]
    if found.options.store is None and store is not None:
        found.options.store = found.options.codec = store
    # With its whole path: the run may be resumed from another folder.
    found.source = f"{Path(module).absolute() if module.endswith('.py') else module}:{name}"
    return found


def workflow_of(state: RunState, store: Store, imports: Sequence[str] = ()) -> Any:
    """The workflow a stored run is one of; `imports` take the place of what was imported for it when it began.

    Raises `DefinitionError` where nobody can know.
    """
    if not state.source:
        raise DefinitionError(
            f"run {state.run_id} was started by code of its own (workflow '{state.workflow}'): go on with it there, with "
            f"create_run('{state.run_id}'), or start workflows with `wf run FILE.py:NAME`"
        )
    if state.source.endswith(_FILES) and not Path(state.source).is_file():
        raise DefinitionError(f"the workflow file {state.source} of run {state.run_id} is not there any more")
    return load_workflow(state.source, store, imports or state.imports)


def load_plan(target: str, imports: Sequence[str] = ()) -> Definition:
    """The plan that `target` names. Raises `DefinitionError` also for what has none: notebooks, durable functions."""
    from wfkernel.plan.builder import Definition

    if not is_workflow(target):
        raise DefinitionError(f"{target} is no workflow: name a workflow file, FILE.py:NAME or MODULE:NAME")
    found = load_workflow(target, None, imports)
    if not isinstance(found, Definition):
        raise DefinitionError(
            f"{target} is a durable function: its flow is its code, there is no plan to draw or write"
        )
    return found


def import_modules(names: Sequence[str]) -> None:
    """Import modules for what they register. Raises `DefinitionError`."""
    from wfkernel.plan.reference import load_file

    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    for name in names:
        if name.endswith(".py"):
            load_file(Path(name).resolve())
            continue
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise DefinitionError(f"--import {name}: {error}") from None


def workflows_in(module: ModuleType) -> dict[str, Any]:
    """The workflows a module defines, by name."""
    from wfkernel.engine.durable import DurableFunction
    from wfkernel.engine.workflow import Workflow

    return {name: value for name, value in vars(module).items() if isinstance(value, Workflow | DurableFunction)}


def load_module(module: str) -> ModuleType:
    """Import a module, or execute a ``.py`` file as one. Raises `DefinitionError`, which says where it failed."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    try:
        if not module.endswith(".py"):
            return importlib.import_module(module)
        path = Path(module).absolute()
        if not path.is_file():
            raise DefinitionError(f"there is no file {module}")
        known = sys.modules.get(path.stem)
        if known is not None and getattr(known, "__file__", None) == str(path):
            return known  # its classes are those that values unpickled meanwhile are of
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        loaded.__wf_file__ = str(path)  # type: ignore[attr-defined]  # an address in a workflow file names the file
        sys.modules.setdefault(path.stem, loaded)  # what it defines can be found again by name, as by a worker process
        sys.path.insert(0, str(path.parent))
        spec.loader.exec_module(loaded)
        return loaded
    except WorkflowError:
        raise
    except Exception as error:
        where = f"{place}: " if (place := _place_in_users_code(error)) else ""
        raise DefinitionError(f"cannot import {module}: {where}{type(error).__name__}: {error}") from None


def _place_in_users_code(error: Exception) -> str:
    """``FILE:LINE`` of the user's code that raised."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    return f"{users[-1].filename}:{users[-1].lineno}" if users else ""


def _is_dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))
