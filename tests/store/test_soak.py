"""The soak (`python -m tests.soak`) in a form that takes seconds."""

from __future__ import annotations

from pathlib import Path

from tests.soak.faults import full_disk, soak


def test_processes_are_killed_and_frozen_and_bytes_flip_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    report = soak(tmp_path, seconds=6, processes=3, flips=3, seed=20)
    assert report.kills >= 1
    assert report.flips == 3
    assert report.good, str(report)


def test_a_disk_fills_up_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    report = full_disk(tmp_path)
    assert report.good, str(report)
    if report.tried:  # else nobody here may mount a file system, and the test of the journal's size limit stands alone
        assert report.refused >= 1
        assert report.steps >= 1
