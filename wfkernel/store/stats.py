"""How workflows and their steps do over all runs of a store: how often, how long, how often not.

Computed from the projections of the events each time it is asked for, so there is no counter that could be wrong. A step
counts once a run, with its last execution in it; calls and items of one step (``fetch#2``, ``each[3]``) count each. Durations
are those of executions that succeeded, also of a step that was restored later in its run; a failed one says nothing about how
long it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wfkernel.store.sql import execute

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["Stats", "stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """A step of a workflow or, where `step` is empty, its whole runs. Durations in seconds, None where nothing succeeded."""

    workflow: str
    step: str
    count: int
    succeeded: int
    failed: int
    repeats: int
    """Executions beyond the first: retries of failed attempts, and repetitions after an answer or an interruption."""
    mean: float | None
    median: float | None
    p95: float | None
    longest: float | None


_NAME: Final = "CASE WHEN workflow <> '' THEN workflow ELSE regexp_replace(notebook, '^.*/|\\.ipynb$', '', 'g') END"
_FIGURES: Final = """count(*), count_if(status = 'success'), count_if(status = 'failed'), sum(greatest(times - 1, 0))::BIGINT,
    avg(took), quantile_cont(took, 0.5), quantile_cont(took, 0.95), max(took)"""
_SQL: Final = f"""
WITH named AS (SELECT *, {_NAME} AS name FROM wf.runs WHERE status <> 'pending'),
     chosen AS (SELECT * FROM named WHERE $1 IS NULL OR name = $1),
     done AS (
         SELECT name, '' AS step, status, 1 AS times, CASE WHEN status = 'success' AND ended >= started THEN ended - started END AS took, started
         FROM chosen
         UNION ALL
         SELECT r.name, regexp_replace(regexp_replace(s.path, '#\\d+', '', 'g'), '\\[\\d+\\]', '[]', 'g'), s.status, s.executions,
                CASE WHEN s.status = 'success' THEN s.duration END, s.started
         FROM wf.steps s JOIN chosen r USING (run_id) WHERE s.executions > 0)
SELECT name, step, {_FIGURES} FROM done GROUP BY name, step
ORDER BY name, step <> '', max(started), step
"""


def stats(store: Store, workflow: str | None = None) -> list[Stats]:
    """The figures of every workflow, or of one; each workflow's own come before its steps'."""
    with store.database.open() as connection:
        return [Stats(*row) for row in execute(connection, _SQL, [workflow]).fetchall()]
