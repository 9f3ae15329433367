"""Which features work with which kernels and front ends: ``python -m tests.front_ends [--write]``.

Runs the tests that stand for a feature with each version of ipykernel and in each front end, and prints a table of what
passed; ``--write`` puts it into the README. Each version is unpacked into a folder that stands first on the import path, so
everything else is what is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.browser.conftest import REPOSITORY

VERSIONS: Final = ("6.31.0", "7.3.0", "7.4.0")
NEEDED_BY_OLDER: Final = ("nest_asyncio",)
MARK: Final = "front ends: python -m tests.front_ends --write"
END: Final = "<!-- end -->"


@dataclass(frozen=True)
class Proof:
    """The tests that stand for a feature: with the kernel alone, and with a browser in front of it. "" for none."""

    kernel: str = ""
    browser: str = ""

    def tests(self) -> list[tuple[str, str]]:
        """(folder of the test, test)."""
        return [(folder, test) for folder, test in (("notebook", self.kernel), ("browser", self.browser)) if test]


FEATURES: Final = {
    "Suspend, Cancel while a cell sleeps, loops or awaits": Proof(
        "test_stops.py::test_a_command_suspends_a_busy_step_in_one_line",
        "test_busy_cells.py::test_the_buttons_of_the_run_view_stop_a_busy_cell",
    ),
    "… with subshells in use": Proof(
        "test_stops.py::test_subshells_change_nothing",
        "test_busy_cells.py::test_the_buttons_of_the_run_view_stop_a_busy_cell",
    ),
    "… while workers execute a step": Proof(
        "test_stops.py::test_a_step_in_workers_is_suspended_too",
        "test_busy_cells.py::test_the_suspend_button_stops_workers",
    ),
    "… while a graph of steps runs": Proof(
        "test_stops.py::test_a_graph_run_stops_all_its_steps",
        "test_busy_cells.py::test_the_suspend_button_of_the_toolbar_stops_a_graph_of_steps",
    ),
    "Interrupt suspends, the step runs again": Proof(
        "test_stops.py::test_interrupt_suspends_and_the_step_runs_again_from_its_start",
        "test_busy_cells.py::test_the_square_button_suspends_and_the_step_runs_again",
    ),
    "a second Interrupt cancels": Proof(
        "test_stops.py::test_a_second_interrupt_cancels",
        "test_busy_cells.py::test_the_square_button_pressed_twice_cancels",
    ),
    "output, displays, figures from workers, text while they run": Proof(
        "test_output.py::test_a_workers_prints_displays_and_figures_are_the_cells",
        "test_busy_cells.py::test_workers_and_threads_write_under_their_cell_while_they_run",
    ),
    "threads of a step write under it, while other cells run": Proof(
        "test_output.py::test_a_thread_the_step_started_writes_under_the_step_while_another_cell_runs",
        "test_busy_cells.py::test_workers_and_threads_write_under_their_cell_while_they_run",
    ),
    "steps in parallel write under their own cells": Proof(
        "test_output.py::test_steps_in_parallel_write_under_their_own_cells_and_keep_their_figures_apart",
        "test_labextension.py::test_a_graph_run_shows_each_step_under_its_own_cell",
    ),
    "restored steps show what they showed": Proof(
        "test_output.py::test_a_restored_step_shows_what_it_showed",
        "test_busy_cells.py::test_a_restored_step_shows_again_what_it_showed",
    ),
    "Suspend button in the toolbar": Proof(
        browser="test_labextension.py::test_the_toolbar_button_suspends_a_busy_cell"
    ),
    "list of runs: Suspend, Resume, Cancel": Proof(
        browser="test_labextension.py::test_the_panel_lists_runs_and_resumes_the_stopped_one"
    ),
    "… a click opens the run, at its present step": Proof(
        browser="test_labextension.py::test_a_workflow_beside_the_notebook_is_opened_at_its_present_step_and_stopped_from_the_list"
    ),
    "Resume opens the form": Proof(
        browser="test_labextension.py::test_answering_goes_to_the_form_and_canceling_ends_the_run"
    ),
    "forms: errors at their fields, then the cells below run": Proof(
        browser="test_runview.py::test_problems_stand_at_their_fields_and_the_rest_stays"
    ),
    "run view, from graph to traceback": Proof(
        browser="test_live_runs.py::test_a_run_is_followed_from_graph_to_traceback"
    ),
    "… after the page was reloaded": Proof(browser="test_live_runs.py::test_a_page_that_is_reloaded_shows_the_truth"),
    "… with 300 steps, 10,000 lines and the dark theme": Proof(
        browser="test_live_runs.py::test_three_hundred_steps_and_ten_thousand_lines_stay_light"
    ),
}
FRONT_ENDS: Final = ("JupyterLab", "Notebook 7")

Results = dict[str, list[bool]]
"""Name of a test, with its parameters -> whether it passed."""


def run_tests(tests: set[str], report: Path, path: Path) -> Results:
    """Run tests, each with all its parameters, with `path` first on the import path."""
    python_path = os.pathsep.join(filter(None, [str(path), str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder",
         "--timeout", "180", f"--junit-xml={report}", *sorted(tests)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": python_path}, check=False,
    )  # fmt: skip
    found: Results = {}
    for case in ET.parse(report).iter("testcase"):
        passed = case.find("failure") is None and case.find("error") is None
        found.setdefault(case.attrib["name"], []).append(passed)
    return found


def verdict(results: Results, test: str, front_end: str = "") -> str:
    """yes or no, or nothing where no test looked."""
    name = test.partition("::")[2]
    matching = [all(v) for case, v in results.items() if name and case.partition("[")[0] == name and front_end in case]
    return "" if not matching else "yes" if all(matching) else "no"


def unpack(version: str, folder: Path) -> Path:
    """Put this ipykernel, and what only older ones need, into a folder."""
    for requirement in (f"ipykernel=={version}", *NEEDED_BY_OLDER):
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), requirement],
            check=True,
        )
    return folder


def table() -> str:
    """The table, in Markdown: a kernel's column tells of it alone and in both front ends, a front end's of all kernels.

    A front end in which a feature works with some of them names these.
    """
    tests = {f"tests/{folder}/{test}" for proof in FEATURES.values() for folder, test in proof.tests()}
    with tempfile.TemporaryDirectory() as temporary:
        found = [
            run_tests(tests, Path(temporary) / f"{version}.xml", unpack(version, Path(temporary) / version))
            for version in VERSIONS
        ]
    heads = [*(f"ipykernel {version.rpartition('.')[0]}" for version in VERSIONS), *FRONT_ENDS]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for feature, proof in FEATURES.items():
        cells = []
        for results in found:
            seen = {verdict(results, proof.kernel), verdict(results, proof.browser)}
            cells.append("no" if "no" in seen else max(seen))
        for front_end in FRONT_ENDS:
            works = [
                v for v, one in zip(VERSIONS, found, strict=True) if verdict(one, proof.browser, front_end) == "yes"
            ]
            named = ", ".join(version.rpartition(".")[0] for version in works)
            cells.append("yes" if len(works) == len(VERSIONS) else f"with {named}" if works else "no")
        lines.append(f"| {feature} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_into_readme(mark: str, made: str) -> None:
    """Replace what stands in the README between the comment `mark` and the end that follows it."""
    readme = REPOSITORY / "README.md"
    before, start, rest = readme.read_text("utf-8").partition(f"<!-- {mark} -->")
    if not start:
        raise SystemExit(f"the README has no place for it: <!-- {mark} -->")
    readme.write_text(f"{before}{start}\n{made}\n{END}{rest.partition(END)[2]}", "utf-8")


def main() -> None:
    made = table()
    print(made)
    if "--write" in sys.argv:
        write_into_readme(MARK, made)


if __name__ == "__main__":
    main()
