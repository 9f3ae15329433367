"""Assertions on events: what they accept, and what they say when they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfkernel.engine.events import Event
from wfkernel.testing import assert_events, event_lines, event_types, expect


def events(*lines: str, **payload: object) -> list[Event]:
    return [
        Event("run", seq, float(seq), *line.split(maxsplit=1), payload=payload) for seq, line in enumerate(lines, 1)
    ]


RUN = events(
    "run.start", "step.start a", "step.output a", "step.result a", "step.start b", "step.result b", "run.finish"
)


def test_types_of_all_events_of_one_step_and_of_the_run():
    assert event_types(RUN)[:3] == ["run.start", "step.start", "step.output"]
    assert event_types(RUN, "b") == ["step.start", "step.result"]
    assert event_types(RUN, "") == ["run.start", "run.finish"]


def test_events_match_their_own_lines():
    assert_events(RUN, event_lines(RUN))


@pytest.mark.parametrize(
    "expected",
    [
        ["run.start", ..., "run.finish"],
        [...],
        [..., "step.result a", "step.start b", ...],
        ["run.start", "step.start a", ..., "step.result b", "run.finish", ...],
        [..., "step.start a", ..., "step.start b", ..., "run.finish"],
    ],
)
def test_an_ellipsis_stands_for_any_number_of_events(expected):
    assert_events(RUN, expected)


@pytest.mark.parametrize(
    "expected",
    [
        [],
        ["run.start"],
        [..., "step.result b", ..., "step.result a", ...],
        [..., "step.start a", "step.result a", ...],
        [..., "step.start", ...],
    ],
)
def test_other_orders_missing_events_and_other_paths_do_not_match(expected):
    with pytest.raises(AssertionError, match="the events differ"):
        assert_events(RUN, expected)


def test_types_that_do_not_matter_can_be_left_out():
    assert_events(RUN, [..., "step.start a", "step.result a", ...], ignore={"step.output"})


def test_payloads_are_compared_where_they_are_expected():
    failed = events("step.result a", status="failed", duration=0.1)
    assert_events(failed, [expect("step.result", "a", status="failed")])
    with pytest.raises(AssertionError) as caught:
        assert_events(failed, [expect("step.result", "a", status="success")])
    assert "- step.result a status='success'\n+ step.result a status='failed'" in str(caught.value)
    with pytest.raises(AssertionError):
        assert_events(failed, [expect("step.result", "a", output=None)])


def test_a_failure_shows_the_difference_as_a_diff():
    with pytest.raises(AssertionError) as caught:
        assert_events(RUN, [line for line in event_lines(RUN) if line != "step.output a"])
    assert str(caught.value).splitlines() == [
        "the events differ (- expected, + happened):",
        "  run.start",
        "  step.start a",
        "+ step.output a",
        "  step.result a",
        "  step.start b",
        "  step.result b",
        "  run.finish",
    ]


@given(st.lists(st.sampled_from(["x.a", "x.b", "x.c"]), max_size=12), st.data())
def test_leaving_events_out_for_an_ellipsis_always_matches(types, data):
    kept = [
        part
        for type_ in types
        for part in ([type_] if data.draw(st.booleans()) else [...] * data.draw(st.integers(1, 2)))
    ]
    assert_events(events(*types), kept)
