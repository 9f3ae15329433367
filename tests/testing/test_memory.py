"""The store in memory: everything is kept, and processes can be pretended."""

from __future__ import annotations

import pytest

from wfkernel.engine.events import Event
from wfkernel.errors import ResumeAlreadyClaimed, RunNotFound
from wfkernel.testing import MemoryLog, event_types


def started(log: MemoryLog, run_id: str = "r") -> None:
    log.append([Event(run_id, 1, 0.0, "run.start", payload={"status": "running", "owner": log.owner})])


def test_events_and_state_of_a_run():
    log = MemoryLog()
    started(log)
    log.append([Event("r", 2, 1.0, "run.suspended", payload={"status": "suspended"})])
    assert log.runs == ["r"]
    assert log.load("r").status == "suspended"
    assert event_types(log.events("r", after=1)) == ["run.suspended"]
    assert (log.exists("r"), log.exists("s")) == (True, False)


def test_an_unknown_run_is_told_with_the_known_ones():
    log = MemoryLog()
    started(log)
    with pytest.raises(RunNotFound, match=r"no run 'x' in this log\. It has r"):
        log.load("x")


def test_a_gap_in_the_numbers_is_an_error():
    log = MemoryLog()
    started(log)
    with pytest.raises(AssertionError, match="event 3 of run r after 1 events"):
        log.append([Event("r", 3, 0.0, "run.finish", payload={"status": "success"})])


def test_only_one_of_two_processes_gets_the_claim():
    first = MemoryLog()
    second = first.process("process 2")
    started(first)

    def resume(state):
        if state.owner != "process 1":
            raise ResumeAlreadyClaimed(f"taken by {state.owner}")
        return [("run.resume", "", {"status": "running"})]

    assert second.claim("r", resume).owner == "process 2"
    with pytest.raises(ResumeAlreadyClaimed, match="taken by process 2"):
        second.claim("r", resume)
    assert first.load("r").owner == "process 2"
    assert event_types(first.events("r")) == ["run.start", "run.resume"]


def test_processes_live_until_they_die():
    first = MemoryLog()
    second = first.process("process 2")
    assert second.is_alive("process 1")
    first.die()
    assert not second.is_alive("process 1")
    assert first.is_alive("process 2")


def test_what_a_power_cut_would_leave():
    log = MemoryLog()
    started(log)
    log.append([Event("r", 2, 0.0, "step.output", "a", payload={"text": "x"})], durable=False)
    assert event_types(log.durable_events("r")) == ["run.start"]
    log.append([Event("r", 3, 0.0, "run.finish", payload={"status": "success"})], durable=True)
    assert len(log.durable_events("r")) == 3
