"""Checkpoints where people work: ``%workflow checkpoint``, ``checkpoints`` and ``restore``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import CheckpointNotFound, DefinitionError

if TYPE_CHECKING:
    from wfkernel.notebook.session import Session

__all__ = ["checkpoint_rows", "restore_checkpoint"]

_ROWS: Final = """
SELECT c.checkpoint_id, c.label, c.run_id, coalesce(arg_max(e.step, e.seq), '') AS "after step", c.made_by AS made,
       strftime(c.created_at, '%Y-%m-%d %H:%M:%S') AS "at (UTC)"
FROM checkpoints c JOIN runs r USING (run_id)
LEFT JOIN events e ON e.run_id = c.run_id AND e.seq <= c.seq AND e.type = 'step.result'
WHERE r.notebook = $notebook AND r.mode = 'interactive' GROUP BY ALL ORDER BY max(c.created_at), max(c.seq)
"""


def checkpoint_rows(session: Session) -> list[dict[str, Any]]:
    """The checkpoints that can be restored in the session's notebook, oldest first."""
    session.runs.settle()
    return session.store.records(_ROWS, {"notebook": str(session.path or "")})


def restore_checkpoint(session: Session, name: str, *, drift: bool = False) -> str:
    """Make a run that goes on from a checkpoint the one this kernel writes. Returns what to tell about it.

    Raises `CheckpointNotFound` also for one of another notebook, and `CheckpointDrift` for one of other code.
    """
    session.runs.settle()
    store = session.store
    found = store.checkpoints.find(name)
    state = store.checkpoints.state(found)
    if state.mode != "interactive" or state.notebook != str(session.path or ""):
        whose = f"a headless run of {state.notebook}" if state.mode == "headless" else state.notebook
        raise CheckpointNotFound(
            f"checkpoint {found.checkpoint_id} is not of this notebook, but of {whose or f'workflow {state.workflow!r}'}: "
            f"wf checkpoint restore {found.checkpoint_id}"
        )
    if session.has_run and any(step.status == "running" for step in session.run.state.steps.values()):
        raise DefinitionError("a step is executing: suspend the run first")
    code = {step.name: step.code for step in session.steps()}
    restored = store.checkpoints.restore(found, code=code, drift=drift)
    session.runs.take_up(restored.run_id)
    session.stale.refresh()
    done = [step.path for step in restored.steps.values() if step.done is not None]
    rest = [name for name in code if name not in done]
    does = [f"{what} {', '.join(names)}" for what, names in (("restores", done), ("executes", rest)) if names]
    return f"run {restored.run_id} goes on from checkpoint {found.checkpoint_id}. Run All {' and '.join(does)}"
