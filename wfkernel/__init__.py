"""wfkernel: a notebook is a durable workflow.

In a notebook: ``%load_ext wfkernel``, then ``%%step NAME`` on the first line of a cell. Inside a step: `suspend`,
`progress`, `track`, `write`. On the command line: ``wf --help``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wfkernel.engine.agents import register_agent
    from wfkernel.engine.context import progress, suspend, track, write
    from wfkernel.engine.durable import workflow
    from wfkernel.engine.export import to_yaml
    from wfkernel.engine.failures import PermanentError, Tripwire
    from wfkernel.engine.files import load_workflow
    from wfkernel.engine.hooks import Cancel, Continue, Hooks, Modify, Replace, Retry, Skip
    from wfkernel.engine.limits import Limits
    from wfkernel.engine.migration import state_migration
    from wfkernel.engine.restarts import RestartPolicy, WorkerDied
    from wfkernel.engine.result import RunInfo, RunResult, StepResult
    from wfkernel.engine.run import Run
    from wfkernel.engine.sessions import Session
    from wfkernel.engine.signal import CancelSignal, cancel_signal
    from wfkernel.engine.state import RunState, StepState, fold
    from wfkernel.engine.wake import restart_interrupted, wake
    from wfkernel.engine.worker import register_worker
    from wfkernel.engine.workflow import Workflow
    from wfkernel.errors import (
        AnswerInvalid,
        DefinitionError,
        EmbedderError,
        PlanDrift,
        ResumeAlreadyClaimed,
        RunExists,
        RunNotFound,
        RunNotSuspended,
        RunSuspended,
        SettingsInvalid,
        StateMigrationError,
        StepWaiting,
        StoreCorrupt,
        StoreError,
        StoreLocked,
        StoreTooNew,
        ValueNotTrusted,
        ValueUnreadable,
        WorkflowError,
    )
    from wfkernel.plan.builder import clone_step, placed
    from wfkernel.plan.edit import edit_workflow
    from wfkernel.plan.load import WorkflowFileInvalid
    from wfkernel.plan.step import step
    from wfkernel.store.recall import remember, search
    from wfkernel.store.store import Store, open_store

__version__ = "0.1.0"

# Public names by the module they live in, imported on first use: `import wfkernel` must cost next to nothing.
_MODULES = {
    "engine.agents": ["register_agent"],
    "engine.context": ["progress", "suspend", "track", "write"],
    "engine.durable": ["workflow"],
    "engine.export": ["to_yaml"],
    "engine.failures": ["PermanentError", "Tripwire"],
    "engine.files": ["load_workflow"],
    "engine.hooks": ["Cancel", "Continue", "Hooks", "Modify", "Replace", "Retry", "Skip"],
    "engine.limits": ["Limits"],
    "engine.restarts": ["RestartPolicy", "WorkerDied"],
    "engine.migration": ["state_migration"],
    "engine.result": ["RunInfo", "RunResult", "StepResult"],
    "engine.run": ["Run"],
    "engine.sessions": ["Session"],
    "engine.signal": ["CancelSignal", "cancel_signal"],
    "engine.state": ["RunState", "StepState", "fold"],
    "engine.wake": ["restart_interrupted", "wake"],
    "engine.worker": ["register_worker"],
    "engine.workflow": ["Workflow"],
    "errors": [
        "AnswerInvalid",
        "DefinitionError",
        "EmbedderError",
        "PlanDrift",
        "ResumeAlreadyClaimed",
        "RunExists",
        "RunNotFound",
        "RunNotSuspended",
        "RunSuspended",
        "SettingsInvalid",
        "StateMigrationError",
        "StepWaiting",
        "StoreCorrupt",
        "StoreError",
        "StoreLocked",
        "StoreTooNew",
        "ValueNotTrusted",
        "ValueUnreadable",
        "WorkflowError",
    ],
    "plan.builder": ["clone_step", "placed"],
    "plan.edit": ["edit_workflow"],
    "plan.load": ["WorkflowFileInvalid"],
    "plan.step": ["step"],
    "store.recall": ["remember", "search"],
    "store.store": ["Store", "open_store"],
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AnswerInvalid",
    "Cancel",
    "CancelSignal",
    "Continue",
    "DefinitionError",
    "EmbedderError",
    "Hooks",
    "Limits",
    "Modify",
    "PermanentError",
    "PlanDrift",
    "Replace",
    "RestartPolicy",
    "ResumeAlreadyClaimed",
    "Retry",
    "Run",
    "RunExists",
    "RunInfo",
    "RunNotFound",
    "RunNotSuspended",
    "RunResult",
    "RunState",
    "RunSuspended",
    "Session",
    "SettingsInvalid",
    "Skip",
    "StateMigrationError",
    "StepResult",
    "StepState",
    "StepWaiting",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "StoreTooNew",
    "Tripwire",
    "ValueNotTrusted",
    "ValueUnreadable",
    "WorkerDied",
    "Workflow",
    "WorkflowError",
    "WorkflowFileInvalid",
    "__version__",
    "cancel_signal",
    "clone_step",
    "edit_workflow",
    "fold",
    "load_workflow",
    "open_store",
    "placed",
    "progress",
    "register_agent",
    "register_worker",
    "remember",
    "restart_interrupted",
    "search",
    "state_migration",
    "step",
    "suspend",
    "to_yaml",
    "track",
    "wake",
    "workflow",
    "write",
]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'wfkernel' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"wfkernel.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """What ``%load_ext wfkernel`` calls."""
    from wfkernel.notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """What ``%unload_ext wfkernel`` calls."""
    from wfkernel.notebook.extension import unload

    unload(shell)
