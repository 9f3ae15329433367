"""For testing workflows: time that passes at once, events to assert on, a store in memory, deaths on demand.

from wfkernel.testing import assert_events, run_workflow

def test_approval_is_asked_for_and_the_report_waits_until_monday():
    trial = run_workflow(report, {"rows": 3}, answers={"approve": {"approve": True}})
    assert trial.result.status == "success"
    assert trial.clock.slept == [3 * 86400]
    assert_events(trial.events, ["run.start", ..., "step.suspended approve", ..., "run.finish"])
"""

from __future__ import annotations

from wfkernel.testing.clock import FakeClock
from wfkernel.testing.crash import CrashingStore, CrashPoint, crash_at, run_until_crash
from wfkernel.testing.events import assert_events, event_lines, event_types, expect
from wfkernel.testing.memory import MemoryLog
from wfkernel.testing.trial import Trial, run_workflow, try_workflow

__all__ = [
    "CrashPoint",
    "CrashingStore",
    "FakeClock",
    "MemoryLog",
    "Trial",
    "assert_events",
    "crash_at",
    "event_lines",
    "event_types",
    "expect",
    "run_until_crash",
    "run_workflow",
    "try_workflow",
]
