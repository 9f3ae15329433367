"""SIGKILL at any moment: no finished step is executed again, none of its values is lost.

Real kernels, really killed: at each step boundary of the demo notebook in turn, and inside each step.
"""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

FLIGHTS = Path(__file__).parents[2] / "notebooks" / "flights.ipynb"
ANSWERS = '{"approve": {"approve": true}}'


def flight_cells() -> list[str]:
    """The demo notebook's code cells, each step noting that its body was executed."""
    cells = []
    for cell in nbformat.read(FLIGHTS, as_version=4).cells:
        if cell.cell_type != "code" or "load_ext" in cell.source:
            continue
        first, newline, body = cell.source.partition("\n")
        if first.startswith("%%step"):
            name = first.split()[1]
            body = f"open('ran', 'a').write('{name} '); open('inside-{name}', 'a').close()\n{body}"
        cells.append(first + newline + body)
    return cells


def step_name(source: str) -> str | None:
    return source.split()[1] if source.startswith("%%step") else None


STEPS = [name for name in map(step_name, flight_cells()) if name]

# What every step bound, as digests: equal digests are equal contents.
FINAL = (
    "sorted((r[0], r[1], r[2]) for r in __import__('wfkernel').open_store()"
    '.query("SELECT step, name, digest FROM step_values WHERE why_not_saved IS NULL")[1])'
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    from tests.notebook.conftest import Kernel

    folder = tmp_path_factory.mktemp("undisturbed")
    store = str(folder / "store.duckdb")
    k = Kernel(folder, WFKERNEL_ANSWERS=ANSWERS, WFKERNEL_STORE=store, WFKERNEL_KEY_FILE=str(folder / "key"))
    try:
        for cell in flight_cells():
            result = k.run(cell, timeout=120)
            assert result.status == "ok", result.text
        assert (folder / "ran").read_text().split() == STEPS
        return list(ast.literal_eval(k.value(FINAL)))
    finally:
        k.close()


def run_all(k) -> None:
    for cell in flight_cells():
        result = k.run(cell, timeout=120)
        assert result.status == "ok", result.text


def test_killed_at_every_step_boundary_in_turn(kernel, tmp_path, undisturbed):
    """One run, killed after every single step: each step is executed once, the values are those of a calm run."""
    for stop in STEPS:
        k = kernel(WFKERNEL_ANSWERS=ANSWERS)
        for cell in flight_cells():
            result = k.run(cell, timeout=120)
            assert result.status == "ok", result.text
            if step_name(cell) == stop:
                break
        k.kill()
    k = kernel(WFKERNEL_ANSWERS=ANSWERS)
    run_all(k)
    assert (tmp_path / "ran").read_text().split() == STEPS
    assert ast.literal_eval(k.value(FINAL)) == undisturbed


def test_killed_inside_every_step_in_turn(kernel, tmp_path, undisturbed):
    """One run, killed while each step's body runs: only that step is executed a second time."""
    for stop in STEPS:
        k = kernel(WFKERNEL_ANSWERS=ANSWERS)
        for cell in flight_cells():
            if step_name(cell) != stop:
                result = k.run(cell, timeout=120)
                assert result.status == "ok", result.text
                continue
            (tmp_path / f"inside-{stop}").unlink(missing_ok=True)
            first, _, body = cell.partition("\n")
            mark, _, rest = body.partition("\n")
            k.send(f"{first}\n{mark}\nimport time; time.sleep(60)\n{rest}")
            while not (tmp_path / f"inside-{stop}").exists():
                pass
            break
        k.kill()
    k = kernel(WFKERNEL_ANSWERS=ANSWERS)
    run_all(k)
    ran = (tmp_path / "ran").read_text().split()
    assert [name for i, name in enumerate(ran) if i == 0 or ran[i - 1] != name] == STEPS
    assert all(ran.count(name) == 2 for name in STEPS)
    assert ast.literal_eval(k.value(FINAL)) == undisturbed
