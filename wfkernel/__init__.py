"""wfkernel: a notebook is a durable workflow.

In a notebook: ``%load_ext wfkernel``, then ``%%step NAME`` on the first line of a cell. Inside a step: `suspend`,
`progress`, `track`, `write`. On the command line: ``wf --help``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wfkernel.engine.context import progress, suspend, track, write
    from wfkernel.engine.state import RunState, StepState, fold
    from wfkernel.errors import (
        AnswerInvalid,
        DefinitionError,
        EmbedderError,
        ResumeAlreadyClaimed,
        RunNotFound,
        RunNotSuspended,
        RunSuspended,
        StepWaiting,
        StoreCorrupt,
        StoreError,
        StoreLocked,
        StoreTooNew,
        ValueNotTrusted,
        ValueUnreadable,
        WorkflowError,
    )
    from wfkernel.store.recall import remember, search
    from wfkernel.store.store import Store, open_store

__version__ = "0.1.0"

# Public names and where they live, imported on first use: `import wfkernel` must cost next to nothing.
_PUBLIC = {
    "progress": "engine.context", "suspend": "engine.context", "track": "engine.context", "write": "engine.context",
    "RunState": "engine.state", "StepState": "engine.state", "fold": "engine.state",
    "Store": "store.store", "open_store": "store.store",
    "remember": "store.recall", "search": "store.recall",
    **dict.fromkeys(
        ["AnswerInvalid", "DefinitionError", "EmbedderError", "ResumeAlreadyClaimed", "RunNotFound", "RunNotSuspended", "RunSuspended",
         "StepWaiting", "StoreCorrupt", "StoreError", "StoreLocked", "StoreTooNew", "ValueNotTrusted",
         "ValueUnreadable", "WorkflowError"],
        "errors",
    ),
}  # fmt: skip

__all__ = [
    "AnswerInvalid",
    "DefinitionError",
    "EmbedderError",
    "ResumeAlreadyClaimed",
    "RunNotFound",
    "RunNotSuspended",
    "RunState",
    "RunSuspended",
    "StepState",
    "StepWaiting",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "StoreTooNew",
    "ValueNotTrusted",
    "ValueUnreadable",
    "WorkflowError",
    "__version__",
    "fold",
    "open_store",
    "progress",
    "remember",
    "search",
    "suspend",
    "track",
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
