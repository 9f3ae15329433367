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
from pathlib import Path
from typing import Final

from tests.browser.conftest import REPOSITORY

VERSIONS: Final = ("6.31.0", "7.3.0", "7.4.0")
NEEDED_BY_OLDER: Final = ("nest_asyncio",)
START: Final = "<!-- front ends: python -m tests.front_ends --write -->"
END: Final = "<!-- end -->"

IN_KERNELS: Final = {
    "Suspend, Cancel while a cell sleeps, loops or awaits": ("test_stops", "test_a_command_suspends_a_busy_step"),
    "… with subshells in use": ("test_stops", "test_subshells_change_nothing"),
    "… while workers execute a step": ("test_stops", "test_a_step_in_workers_is_suspended_too"),
    "… while a graph of steps runs": ("test_stops", "test_a_graph_run_stops_all_its_steps"),
    "Interrupt suspends, the step runs again": ("test_stops", "test_interrupt_suspends"),
    "a second Interrupt cancels": ("test_stops", "test_a_second_interrupt_cancels"),
    "output, displays, figures from workers": ("test_output", "test_a_workers_prints_displays_and_figures"),
    "text of a worker process while it runs": ("test_output", "test_text_of_a_worker_process_arrives"),
    "steps in parallel write under their own cells": ("test_output", "test_steps_in_parallel_write_under"),
    "threads of a step write under it, while other cells run": ("test_output", "test_a_thread_the_step_started"),
    "restored steps show what they showed": ("test_output", "test_a_restored_step_shows_what_it_showed"),
}
IN_BROWSERS: Final = {
    "Suspend button in the toolbar": ("test_labextension", "test_the_toolbar_button_suspends_a_busy_cell"),
    "a graph run shows each step under its own cell": (
        "test_labextension",
        "test_a_graph_run_shows_each_step_under_its_own_cell",
    ),
    "list of runs, Resume, Cancel": ("test_labextension", "test_the_panel_lists_runs_and_resumes"),
    "Resume opens the form": ("test_labextension", "test_answering_goes_to_the_form"),
}
FRONT_ENDS: Final = ("JupyterLab", "Notebook 7")

Results = dict[str, list[bool]]
"""Name of a test, with its parameters -> whether it passed."""


def run_tests(folder: str, modules: set[str], report: Path, path: Path | None = None) -> Results:
    """Run test modules of `folder`, with `path` first on the import path."""
    files = [str(REPOSITORY / "tests" / folder / f"{module}.py") for module in sorted(modules)]
    python_path = os.pathsep.join(filter(None, [str(path or ""), str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--timeout", "60", f"--junit-xml={report}", *files],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": python_path}, check=False,
    )  # fmt: skip
    found: Results = {}
    for case in ET.parse(report).iter("testcase"):
        passed = case.find("failure") is None and case.find("error") is None
        found.setdefault(case.attrib["name"], []).append(passed)
    return found


def verdict(results: Results, test: str, front_end: str = "") -> str:
    """yes, no, or nothing where no test looked."""
    matching = [all(v) for name, v in results.items() if name.startswith(test)]
    if front_end:
        named = [all(v) for name, v in results.items() if name.startswith(test) and front_end in name]
        matching = named or (matching if front_end == FRONT_ENDS[0] else [])
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
    """The table, in Markdown."""
    rows = {feature: [""] * (len(VERSIONS) + len(FRONT_ENDS)) for feature in (*IN_KERNELS, *IN_BROWSERS)}
    with tempfile.TemporaryDirectory() as temporary:
        for column, version in enumerate(VERSIONS):
            folder = unpack(version, Path(temporary) / version)
            modules = {module for module, _ in IN_KERNELS.values()}
            results = run_tests("notebook", modules, Path(temporary) / f"{version}.xml", folder)
            for feature, (_, test) in IN_KERNELS.items():
                rows[feature][column] = verdict(results, test)
        results = run_tests("browser", {module for module, _ in IN_BROWSERS.values()}, Path(temporary) / "browser.xml")
        for column, front_end in enumerate(FRONT_ENDS, len(VERSIONS)):
            for feature, (_, test) in IN_BROWSERS.items():
                rows[feature][column] = verdict(results, test, front_end)
    heads = [*(f"ipykernel {version.rpartition('.')[0]}" for version in VERSIONS), *FRONT_ENDS]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    return "\n".join(lines + [f"| {feature} | {' | '.join(cells)} |" for feature, cells in rows.items()])


def main() -> None:
    made = table()
    print(made)
    if "--write" in sys.argv:
        readme = REPOSITORY / "README.md"
        text = readme.read_text("utf-8")
        before, after = text.partition(START)[0], text.partition(END)[2]
        readme.write_text(f"{before}{START}\n{made}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
