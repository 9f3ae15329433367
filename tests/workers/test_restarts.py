"""After a death: how often, how soon, and when no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers import steps
from tests.workers.steps import RecordingStep
from wfkernel.engine.restarts import RestartPolicy, WorkerDied, run_with_restarts
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call
from wfkernel.errors import DefinitionError
from wfkernel.testing import FakeClock


def crash(processes, file, times, policy, signal=None):
    """A step that dies `times` times and then works; gives its result or error, and what `on_death` was told."""
    told = []
    clock = FakeClock()

    async def scenario():
        call = Call(steps.die_until, (file("deaths"), times), path="crash")
        return await clock.drive(
            run_with_restarts(
                processes,
                call,
                RecordingStep("crash"),
                signal or CancelSignal(),
                policy,
                clock=clock,
                on_death=lambda error, delay: told.append((error.signal, delay)),
            )
        )

    try:
        return asyncio.run(scenario()), told
    except WorkerDied as error:
        return error, told


def test_a_step_whose_process_dies_twice_is_restarted_with_growing_delays(processes, file):
    result, told = crash(processes, file, 2, RestartPolicy(max_restarts=3, delay=10, backoff=3))
    assert result == "alive after 2"
    assert told == [("SIGKILL", 10), ("SIGKILL", 30)]


def test_beyond_the_limit_the_death_is_final(processes, file):
    error, told = crash(processes, file, 2, RestartPolicy(max_restarts=1, delay=10))
    assert isinstance(error, WorkerDied)
    assert told == [("SIGKILL", 10), ("SIGKILL", None)]
    assert Path(file("deaths")).read_text() == "2"


def test_without_restarts_the_first_death_is_final(processes, file):
    error, told = crash(processes, file, 1, RestartPolicy(max_restarts=0))
    assert isinstance(error, WorkerDied)
    assert told == [("SIGKILL", None)]


def test_a_set_signal_ends_the_wait_for_a_restart(processes, file):
    signal = CancelSignal()

    async def scenario():
        call = Call(steps.die_until, (file("deaths"), 5), path="crash")
        policy = RestartPolicy(delay=3600)
        await run_with_restarts(
            processes, call, RecordingStep(), signal, policy, on_death=lambda error, delay: signal.set()
        )

    with pytest.raises(WorkerDied):
        asyncio.run(scenario())


def test_deaths_long_ago_do_not_count():
    policy = RestartPolicy(max_restarts=1, within=60, delay=1)
    assert policy.delay_after([0.0, 1000.0], 1000.0) == 1
    assert policy.delay_after([950.0, 1000.0], 1000.0) is None


@given(st.integers(0, 6), st.floats(0, 100), st.floats(1, 4), st.integers(1, 10))
def test_the_delays_grow_by_the_backoff_up_to_the_limit(max_restarts, delay, backoff, deaths):
    policy = RestartPolicy(max_restarts=max_restarts, within=1e9, delay=delay, backoff=backoff)
    found = policy.delay_after([float(n) for n in range(deaths)], float(deaths))
    if deaths > max_restarts:
        assert found is None
    else:
        assert found == pytest.approx(delay * backoff ** (deaths - 1))


@pytest.mark.parametrize("wrong", [{"max_restarts": -1}, {"within": 0}, {"delay": -1}, {"backoff": 0.5}])
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(DefinitionError, match=f"{next(iter(wrong))}="):
        RestartPolicy(**wrong)
