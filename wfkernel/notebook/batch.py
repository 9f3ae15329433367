"""One notebook, many parameter sets: ``wf batch nb.ipynb --grid params.yaml``.

Every set is a run of its own, in a process of its own (``wf run``), all in one store, so a kernel that dies takes nothing
with it and each run can be shown, resumed and compared like any other. There is no batch to keep: a batch *is* its output
folder. The output notebook is named after the parameters, the store knows which run wrote it, and so running the same
batch again continues what is not finished and leaves the rest alone.

A grid is YAML. A mapping means every combination of its lists; a list means one run per entry. ::

    month: [1, 2, 3]            - {month: 1, carrier: AA}
    carrier: [AA, UA]           - {month: 2}
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import DefinitionError
from wfkernel.notebook import places
from wfkernel.notebook.headless import resume_hint
from wfkernel.plan.inputs import check_parameters, inputs_in
from wfkernel.plan.outline import outline_of

if TYPE_CHECKING:
    from wfkernel.engine.state import RunState
    from wfkernel.store.store import Store

__all__ = ["BatchRun", "expand_grid", "read_grid", "run_batch"]

NAME_LENGTH: Final = 80
FINISHED: Final = ("success", "canceled", "tripwire")
"""Statuses a run does not leave any more."""


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One line of a batch's result. Times are seconds."""

    parameters: dict[str, Any]
    status: str
    """The run's status; ``interrupted`` where its process is gone, ``refused`` where it could not begin."""
    run_id: str
    output: str
    seconds: float | None
    executed: bool
    """Whether this call of the batch ran it; False: it was settled before, or is running elsewhere."""
    waits_for: str
    """The suspended step and what it asks."""
    error: str
    resume: str
    """The command that continues the run; "" where nothing is left to do."""


def read_grid(path: Path) -> list[dict[str, Any]]:
    """The parameter sets of a YAML file. Raises `DefinitionError` for anything that is not a grid."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except OSError as error:
        raise DefinitionError(f"cannot read the grid {path}: {error.strerror}") from None
    except YAMLError as error:
        raise DefinitionError(f"the grid {path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return expand_grid(document)
    except DefinitionError as error:
        raise DefinitionError(f"the grid {path}: {error}") from None


def expand_grid(document: Any) -> list[dict[str, Any]]:
    """The parameter sets a grid stands for, in its order: the last name varies fastest."""
    if isinstance(document, dict) and document:
        choices = [value if isinstance(value, list) else [value] for value in document.values()]
        sets = [dict(zip(document, chosen, strict=True)) for chosen in itertools.product(*choices)]
        if not sets:
            empty = next(name for name, chosen in zip(document, choices, strict=True) if not chosen)
            raise DefinitionError(f"'{empty}' is an empty list, so there is no combination to run")
    elif isinstance(document, list) and document and all(isinstance(entry, dict) for entry in document):
        sets = [dict(entry) for entry in document]
    else:
        raise DefinitionError("expected a mapping of lists, as `month: [1, 2]`, or a list of mappings, as `- month: 1`")
    for entry in sets:
        for name in entry:
            if not (isinstance(name, str) and name.isidentifier()):
                raise DefinitionError(f"{name!r} is not the name of a parameter")
    texts = [json.dumps(entry, sort_keys=True, default=str) for entry in sets]
    for index, text in enumerate(texts):
        if text in texts[:index]:
            raise DefinitionError(f"entries {texts.index(text) + 1} and {index + 1} are the same: {text}")
    return sets


def run_batch(
    notebook: str,
    sets: list[dict[str, Any]],
    folder: str,
    *,
    jobs: int,
    store: Store,
    fresh: bool = False,
    on_end: Callable[[BatchRun], None] | None = None,
) -> list[BatchRun]:
    """Run a notebook once per parameter set, `jobs` at a time; what is settled already is not run again.

    Args:
        folder: where the output notebooks go; the identity of the batch.
        fresh: begin every run anew.
        on_end: called, in the calling thread, as each run ends.

    Raises `DefinitionError` before anything runs for a notebook or a set of parameters that cannot work.
    """
    _refuse_mistakes(notebook, sets)
    outputs = [places.absolute(f"{folder.rstrip('/')}/{_output_name(notebook, entry)}") for entry in sets]
    earlier = {} if fresh else store.runs_into(outputs)
    results: dict[int, BatchRun] = {}
    waiting: dict[int, list[str]] = {}
    for index, (entry, output) in enumerate(zip(sets, outputs, strict=True)):
        state = store.load(earlier[output]) if output in earlier else None
        if state is None or state.params != entry:
            given = [
                part for name, value in entry.items() for part in ("-p", f"{name}={json.dumps(value, default=str)}")
            ]
            waiting[index] = ["run", notebook, "-o", output, *given]
        elif state.status in FINISHED or _asks(state) or (state.status == "running" and store.is_alive(state.owner)):
            results[index] = _result(entry, output, state, state.status, executed=False)
        else:
            waiting[index] = ["resume", state.run_id]
    pool = ThreadPoolExecutor(jobs)
    try:
        going = {pool.submit(_wf, command, store): index for index, command in waiting.items()}
        for done in as_completed(going):
            index = going[done]
            results[index] = _outcome(sets[index], outputs[index], done.result(), store)
            if on_end is not None:
                on_end(results[index])
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C reaches the processes by itself; those not begun do not begin
    return [results[index] for index in range(len(sets))]


def _refuse_mistakes(notebook: str, sets: list[dict[str, Any]]) -> None:
    nb = places.read_notebook(notebook)
    problems = outline_of(nb.cells).problems
    if problems:
        raise DefinitionError("\n".join(problems))
    declared = inputs_in(nb.cells)
    for index, entry in enumerate(sets, 1):
        try:
            check_parameters(notebook, declared, entry)
        except DefinitionError as error:
            raise DefinitionError(f"{error} (run {index} of {len(sets)})") from None


def _output_name(notebook: str, entry: dict[str, Any]) -> str:
    """A file name that says the parameters; with a digest where the name alone would not tell two sets apart."""
    said = ",".join(f"{name}={value}" for name, value in entry.items())
    name = re.sub(r"[^\w.=,+-]+", "_", said)
    if name != said or len(name) > NAME_LENGTH:
        digest = hashlib.sha256(json.dumps(entry, sort_keys=True, default=str).encode()).hexdigest()
        name = f"{name[:NAME_LENGTH]}-{digest[:8]}"
    return f"{places.stem(notebook)}-{name}.ipynb"


def _wf(arguments: list[str], store: Store) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wfkernel", *arguments, "--json"],
        env={**os.environ, "WFKERNEL_STORE": str(store.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def _outcome(
    entry: dict[str, Any], output: str, process: subprocess.CompletedProcess[str], store: Store
) -> BatchRun:  # fmt: skip
    known = store.runs_into([output]).get(output)
    if known is not None and (state := store.load(known)).params == entry:
        # The process that wrote it has just ended.
        status = "interrupted" if state.status == "running" else state.status
        return _result(entry, output, state, status, executed=True)
    said = process.stderr.strip().splitlines() or [f"exit status {process.returncode}"]
    return BatchRun(entry, "refused", "", output, None, True, "", said[-1].removeprefix("wf: "), "")


def _asks(state: RunState) -> list[str]:
    """The questions the run waits with; none where a person only stopped it, and it can go on by itself."""
    return [f"{step.path}: {step.suspension.message}" for step in state.suspended_steps if step.suspension]


def _result(entry: dict[str, Any], output: str, state: RunState, status: str, *, executed: bool) -> BatchRun:
    begun, ended = state.started_at, state.ended_at
    return BatchRun(
        parameters=entry,
        status=status,
        run_id=state.run_id,
        output=output,
        seconds=round(max(0.0, ended - begun), 3) if begun is not None and ended is not None else None,
        executed=executed,
        waits_for="; ".join(_asks(state)) if status == "suspended" else "",
        error=str((state.error or {}).get("message", "")),
        resume=resume_hint(state) if status not in (*FINISHED, "running") else "",
    )
