"""Who did what, and when: the events that are somebody's deed (`wfkernel.engine.actor`), edits of steps, and what was done
to the store as a whole (`wfkernel.store.deeds`).

That a step was edited is seen when it is executed with other code than the last time in this run; whose edit it was is
taken to be whoever acted on the run last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine import events as ev
from wfkernel.store.deeds import noted_deeds
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    from wfkernel.store.store import Store

__all__ = ["Deed", "history"]

_WORDS: Final = {
    ev.RUN_START: "started",
    ev.RUN_ATTACH: "took over",
    ev.RUN_RESTART: "continued",
    ev.RUN_RESUME: "resumed",
    ev.RUN_CONTINUE: "continued",
    ev.RUN_PAUSED: "paused",
    ev.RUN_CANCEL: "canceled",
    ev.RUN_TRAVEL: "went back to",
    ev.RUN_ROLLBACK: "rolled back to",
    ev.RUN_DRIFT: "changed the definition of",
    ev.STEP_RESUMED: "answered",
}
_EDITED: Final = "edited"


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing somebody did. `at` is in seconds since the epoch; `actor` is USER@HOST, empty where nobody noted it.

    What was done to the store has no `run_id` and the `seq` 0.
    """

    run_id: str
    seq: int
    at: float
    actor: str
    via: str
    what: str
    step: str
    detail: str


def history(store: Store, run_id: str | None = None, *, limit: int = 50) -> list[Deed]:
    """The newest `limit` deeds, of one run or of all, oldest first."""
    with store.database.open() as connection:
        rows = execute(
            connection,
            """WITH told AS (
                SELECT run_id, seq, ts, type, path, payload,
                       (payload->>'$.code') <> lag(payload->>'$.code') OVER (
                           PARTITION BY run_id, path, type ORDER BY seq) AS edited
                FROM wf.events WHERE ($1 IS NULL OR run_id = $1) AND (type = 'step.start' OR list_contains($2, type)))
            SELECT * EXCLUDE (edited) FROM (
                SELECT * FROM told WHERE type <> 'step.start' OR edited ORDER BY ts DESC, seq DESC LIMIT $3)
            ORDER BY ts, seq""",
            [run_id, list(_WORDS), limit],
        ).fetchall()
    deeds: list[Deed] = []
    last: dict[str, tuple[str, str]] = {}
    for run, seq, ts, type_, path, text in rows:
        payload = json.loads(text) if text else {}
        if "actor" in payload:
            last[run] = payload["actor"], payload.get("via", "")
        who, via = last.get(run, ("", ""))
        step = path or str(payload.get("to", ""))
        deeds.append(Deed(run, seq, ts, who, via, _WORDS.get(type_, _EDITED), step, _detail(type_, payload)))
    if run_id is None:
        whole = [Deed("", 0, d["at"], d["actor"], d["via"], d["what"], "", d["detail"]) for d in noted_deeds(store)]
        deeds = sorted([*deeds, *whole], key=lambda deed: deed.at)[-limit:]
    return deeds


def _detail(type_: str, payload: dict[str, Any]) -> str:
    if type_ == ev.STEP_RESUMED:
        return json.dumps(payload.get("data"), ensure_ascii=False)
    if payload.get("restored_from"):
        return f"restored from {payload['restored_from']}, checkpoint {payload.get('checkpoint', '')}"
    return str(payload.get("reason") or payload.get("by") or payload.get("mode") or "")
