"""SIGKILL at any moment: no finished step is executed again, none of its values is lost.

Real kernels, really killed: one of a small notebook at each step boundary in turn and inside each step, and one of the demo
notebook, whose frames, models and pictures take seconds to make, at moments that lie far apart.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nbformat
import pytest

from tests.notebook.conftest import Kernel

ANSWERS = '{"approve": {"approve": true}}'
Death = tuple[Literal["after", "inside"], str]
"""When the kernel is killed: after a step has ended, or while its body runs."""


def noted(sources: list[str]) -> list[str]:
    """The cells, each step noting that its body was executed."""
    cells = []
    for source in sources:
        first, newline, body = source.partition("\n")
        if name := step_name(source):
            body = f"open('ran', 'a').write('{name} '); open('inside-{name}', 'a').close()\n{body}"
        cells.append(first + newline + body)
    return cells


def step_name(source: str) -> str | None:
    return source.split()[1] if source.startswith("%%step") else None


def steps(cells: list[str]) -> list[str]:
    return [name for name in map(step_name, cells) if name]


def code_cells(notebook: Path) -> list[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code" and "load_ext" not in cell.source]


FLIGHTS = noted(code_cells(Path(__file__).parents[2] / "notebooks" / "flights.ipynb"))

# Values of every kind that is stored in a way of its own, and one that a later step changes in place.
SMALL = noted(
    [
        "from fractions import Fraction\nfrom wfkernel import suspend, write",
        "wanted = 4",
        "%%step load\nrows = [{'n': n, 'city': 'Köln'} for n in range(wanted)]",
        "%%step fit --out model\nmodel = {Fraction(row['n'], 3): {row['city']} for row in rows}",
        "%%step picture\nwrite('drawing')\npicture = bytes(range(256)) * 500",
        "%%step array\nimport numpy as np\narray = np.arange(50_000.0).reshape(100, 500)",
        "len(picture)",
        "%%step grow --retries 2\nrows.append({'n': 99, 'city': 'Ulm'})",
        "%%step approve --out decision\ndecision = suspend(message=f'Publish {len(rows)} rows?')",
        "%%step publish\npublished = f\"{rows[-1]} {len(model)} {len(picture)} {array.sum()} {decision['approve']}\"",
    ]
)

# What every step bound, as digests: equal digests are equal contents.
FINAL = (
    "sorted((r[0], r[1], r[2]) for r in __import__('wfkernel').open_store()"
    '.query("SELECT step, name, digest FROM step_values WHERE why_not_saved IS NULL")[1])'
)


def run_all(k: Kernel, cells: list[str]) -> None:
    for cell in cells:
        result = k.run(cell, timeout=120)
        assert result.status == "ok", result.text


def undisturbed(folder: Path, cells: list[str]) -> list[tuple[str, str, str]]:
    """What the steps bind when nobody kills anything."""
    folder.mkdir()
    store = str(folder / "store.duckdb")
    k = Kernel(folder, WFKERNEL_ANSWERS=ANSWERS, WFKERNEL_STORE=store, WFKERNEL_KEY_FILE=str(folder / "key"))
    try:
        run_all(k, cells)
        assert ran(folder) == steps(cells)
        return list(ast.literal_eval(k.value(FINAL)))
    finally:
        k.close()


def ran(folder: Path) -> list[str]:
    return (folder / "ran").read_text().split()


def live(k: Kernel, folder: Path, cells: list[str], death: Death) -> None:
    """Run the cells until the kernel dies."""
    how, name = death
    position = next(n for n, cell in enumerate(cells) if step_name(cell) == name)
    run_all(k, cells[:position])
    if how == "after":
        run_all(k, [cells[position]])
    else:
        (folder / f"inside-{name}").unlink(missing_ok=True)
        first, mark, rest = cells[position].split("\n", 2)
        k.send(f"{first}\n{mark}\nimport time; time.sleep(600)\n{rest}")
        while not (folder / f"inside-{name}").exists():
            time.sleep(0.01)
    k.kill()


@pytest.mark.parametrize(
    ("cells", "deaths"),
    [
        pytest.param(SMALL, [("after", name) for name in steps(SMALL)], id="at every step boundary in turn"),
        pytest.param(SMALL, [("inside", name) for name in steps(SMALL)], id="inside every step in turn"),
        pytest.param(
            FLIGHTS,
            [("after", "load"), ("inside", "features"), ("after", "train"), ("inside", "publish")],
            id="the demo notebook here and there",
        ),
    ],
)
def test_a_run_that_is_killed_again_and_again(
    kernel: Callable[..., Kernel], tmp_path: Path, cells: list[str], deaths: list[Death]
) -> None:
    """Only steps that were killed while they ran are executed a second time; the values are those of a calm run."""
    expected = undisturbed(tmp_path / "undisturbed", cells)
    for death in deaths:
        live(kernel(WFKERNEL_ANSWERS=ANSWERS), tmp_path, cells, death)
    k = kernel(WFKERNEL_ANSWERS=ANSWERS)
    run_all(k, cells)

    killed_inside = [name for how, name in deaths if how == "inside"]
    assert ran(tmp_path) == [name for step in steps(cells) for name in [step] * (1 + killed_inside.count(step))]
    assert ast.literal_eval(k.value(FINAL)) == expected
