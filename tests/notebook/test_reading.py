"""A session reads its notebook's file as nbformat would, and quickly."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from wfkernel.errors import DefinitionError
from wfkernel.notebook import places
from wfkernel.plan.reading import read_cells

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_cells_are_those_nbformat_reads(notebook):
    def told(cells):
        return [(c["id"], c["cell_type"], c["source"], c["metadata"]) for c in cells]

    assert told(read_cells(notebook)) == told(nbformat.read(notebook, as_version=4).cells)


def test_a_source_may_be_one_text_or_its_lines(tmp_path):
    cells = [
        {"cell_type": "code", "source": ["a = 1\n", "a"], "metadata": {}},
        {"cell_type": "code", "source": "b = 2\nb", "metadata": {}},
    ]
    (tmp_path / "nb.ipynb").write_text(json.dumps({"nbformat": 4, "nbformat_minor": 2, "cells": cells}))
    assert [cell["source"] for cell in read_cells(tmp_path / "nb.ipynb")] == ["a = 1\na", "b = 2\nb"]


def test_a_notebook_of_format_3_is_read_too(tmp_path):
    old = nbformat.v3.new_notebook(
        worksheets=[
            nbformat.v3.new_worksheet(
                cells=[nbformat.v3.new_code_cell("x = 1"), nbformat.v3.new_text_cell("markdown", "text")]
            )
        ]
    )
    (tmp_path / "old.ipynb").write_text(nbformat.v3.writes_json(old))
    assert [(c["cell_type"], c["source"]) for c in read_cells(tmp_path / "old.ipynb")] == [
        ("code", "x = 1"),
        ("markdown", "text"),
    ]


@pytest.mark.parametrize(
    "text", ["", '{"nbformat": 4, "cells": [', "[]", "{}", '{"nbformat": 4}', '{"nbformat": 4, "cells": [1]}']
)
def test_half_a_notebook_is_a_value_error(tmp_path, text):
    (tmp_path / "nb.ipynb").write_text(text)
    with pytest.raises(ValueError, match=r"is no notebook|line 1 column"):
        read_cells(tmp_path / "nb.ipynb")
    with pytest.raises(DefinitionError, match=r"cannot read the notebook .*nb\.ipynb: [^\n]+$"):
        places.read_cells(str(tmp_path / "nb.ipynb"))


def test_the_first_step_of_a_saved_notebook_waits_for_no_slow_import(kernel, tmp_path):
    cells = [nbformat.v4.new_markdown_cell("What this notebook is about"), nbformat.v4.new_code_cell("%%step a\nx = 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "analysis.ipynb")
    k = kernel()
    assert k.run("%%step a\nx = 1").status == "ok"
    k.run("import threading; [t.join() for t in threading.enumerate() if t.name == 'wfkernel-prose']")
    imported = k.value("{'pandas', 'pyarrow', 'jsonschema', 'nbformat', 'papermill'} & set(__import__('sys').modules)")
    assert imported == "set()"
