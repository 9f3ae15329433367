"""The views of the store, for people: `runs`, `steps`, `attempts`, `events`, `step_values`, `context`, `checkpoints`.

They stay stable when the tables behind them change. Times are UTC.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RUN_COLUMNS", "VIEWS"]

RUN_COLUMNS: Final = """run_id, workflow, notebook, output AS output_notebook, mode, status, params AS parameters,
           wf.utc(started) AS started_at, wf.utc(updated) AS updated_at, wf.utc(ended) AS ended_at,
           round(greatest(coalesce(ended, updated) - started, 0), 3) AS seconds, error->>'$.message' AS error"""
"""The columns of the view `runs`, of the table ``wf.runs``. Clocks are set back: no time is below 0."""

VIEWS: Final = f"""
CREATE OR REPLACE VIEW main.runs AS SELECT {RUN_COLUMNS} FROM wf.runs ORDER BY started DESC;
CREATE OR REPLACE VIEW main.steps AS
    SELECT run_id, path AS step, status, executions, restored, attempt AS last_attempt,
           wf.utc(started) AS started_at, wf.utc(ended) AS ended_at, round(duration, 4) AS seconds,
           error->>'$.message' AS error, message AS waits_for_answer
    FROM wf.steps ORDER BY run_id, position, started;
CREATE OR REPLACE VIEW main.attempts AS
    SELECT s.run_id, s.path AS step, s.attempt, wf.utc(s.ts) AS started_at, wf.utc(e.ts) AS ended_at,
           round(greatest(e.ts - s.ts, 0), 4) AS seconds,
           CASE e.type WHEN 'step.result' THEN e.payload->>'$.status' WHEN 'step.retry' THEN 'failed'
                       WHEN 'step.suspended' THEN 'suspended' ELSE 'interrupted' END AS outcome,
           e.payload->>'$.error.message' AS error
    FROM wf.events s
    LEFT JOIN wf.events e ON e.run_id = s.run_id AND e.path = s.path AND e.seq = (
        SELECT min(n.seq) FROM wf.events n
        WHERE n.run_id = s.run_id AND n.path = s.path AND n.seq > s.seq
          AND n.type IN ('step.result', 'step.retry', 'step.suspended', 'step.start'))
    WHERE s.type = 'step.start' ORDER BY s.run_id, s.seq;
CREATE OR REPLACE VIEW main.events AS
    SELECT run_id, seq, wf.utc(ts) AS happened_at, type, path AS step, attempt, payload FROM wf.events
    ORDER BY run_id, seq;
CREATE OR REPLACE VIEW main.step_values AS
    SELECT run_id, path AS step, name, type, codec, size AS bytes, digest, why_not_saved FROM wf."values"
    UNION ALL  -- numbers and short texts stand in the event itself
    SELECT run_id, path, 'output', CASE json_type(payload, '$.output') WHEN 'VARCHAR' THEN 'str' WHEN 'DOUBLE' THEN 'float'
               WHEN 'BOOLEAN' THEN 'bool' WHEN 'NULL' THEN 'NoneType' ELSE 'int' END,
           'json', length((payload->'output')::VARCHAR), NULL, NULL
    FROM wf.events e JOIN wf.steps s USING (run_id, path)
    WHERE e.type = 'step.result' AND s.status = 'success' AND s.ended = e.ts
      AND json_exists(payload, '$.output') AND NOT json_exists(payload, '$.outputs')
    ORDER BY run_id, step, name;
CREATE OR REPLACE VIEW main.context AS
    SELECT c.kind, c.text, c.run_id, c.path AS step, r.workflow, r.notebook, c.session, c.meta,
           wf.utc(c.noted) AS noted_at, c.digest, c.id
    FROM wf.context c LEFT JOIN wf.runs r USING (run_id) ORDER BY c.noted DESC, c.id;
CREATE OR REPLACE VIEW main.checkpoints AS
    SELECT checkpoint_id, run_id, seq, label, made_by, wf.utc(created) AS created_at, length(state) AS bytes
    FROM wf.checkpoints ORDER BY run_id, seq;
"""
