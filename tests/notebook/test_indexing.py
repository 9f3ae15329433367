"""Templates: found by what they are for, whether they ran or only lie in a folder."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from wfkernel.engine.files import load_workflow
from wfkernel.errors import DefinitionError
from wfkernel.notebook.headless import run_notebook
from wfkernel.notebook.indexing import index_files
from wfkernel.store.store import Store, open_store

NIGHTLY = (
    "description: Tidal heights of a harbour\ninputs: {harbour: string}\nsteps: [{id: greet, run: [echo, hello]}]\n"
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("WFKERNEL_STORE", str(tmp_path / "store.duckdb"))
    return open_store()


def write_notebook(path: Path, *, parameters: str = "month = 3") -> None:
    cells = [nbformat.v4.new_markdown_cell("# Snowfall by month"), nbformat.v4.new_code_cell("%%step a\nx = 1")]
    if parameters:
        cells.insert(1, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


def templates(store: Store, words: str) -> list[str]:
    found = store.context.search(words, 9, kind="template", mode="words")
    return [Path(one.meta["path"]).name for one in found]


def test_what_lies_in_a_folder_is_found_without_having_run(tmp_path: Path, store: Store) -> None:
    write_notebook(tmp_path / "snow.ipynb")
    write_notebook(tmp_path / "plain.ipynb", parameters="")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "tides.wf.yaml").write_text(NIGHTLY)
    (tmp_path / "settings.yaml").write_text("snow: deep")
    (tmp_path / ".venv").mkdir()
    write_notebook(tmp_path / ".venv" / "not_ours.ipynb")
    found = index_files(store, [tmp_path])
    assert [file.name for file in found.notebooks] == ["plain.ipynb", "snow.ipynb"]
    assert [file.name for file in found.templates] == ["snow.ipynb", "tides.wf.yaml"]
    assert templates(store, "snowfall month") == ["snow.ipynb"]
    assert templates(store, "tidal harbour") == ["tides.wf.yaml"]
    (prose,) = {one.text for one in store.context.search("snowfall", kind="markdown")}
    assert prose == "# Snowfall by month"


def test_what_is_gone_or_takes_no_inputs_any_more_is_forgotten(tmp_path: Path, store: Store) -> None:
    write_notebook(tmp_path / "snow.ipynb")
    write_notebook(tmp_path / "rain.ipynb")
    index_files(store, [tmp_path])
    assert sorted(templates(store, "snowfall")) == ["rain.ipynb", "snow.ipynb"]
    (tmp_path / "rain.ipynb").unlink()
    write_notebook(tmp_path / "snow.ipynb", parameters="")
    assert index_files(store, [tmp_path]).forgotten == [tmp_path / "rain.ipynb"]
    assert templates(store, "snowfall") == []
    assert len(store.context.search("snowfall", kind="markdown", mode="words")) == 1


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_kept(tmp_path: Path, store: Store) -> None:
    (tmp_path / "broken.wf.yaml").write_text("steps: [{id: a, rnu: x}]")
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    (tmp_path / "tides.wf.yaml").write_text(NIGHTLY)
    found = index_files(store, [tmp_path])
    assert found.templates == [tmp_path / "tides.wf.yaml"]
    assert [any(name in line for line in found.problems) for name in ("broken.wf.yaml:1", "torn.ipynb")] == [True, True]
    with pytest.raises(DefinitionError, match=r"notes.txt is not there: nothing in it can be made findable"):
        index_files(store, [Path("notes.txt")])


def test_a_notebook_that_runs_is_a_template_from_then_on(tmp_path: Path, store: Store) -> None:
    write_notebook(tmp_path / "snow.ipynb")
    assert run_notebook(tmp_path / "snow.ipynb", tmp_path / "out.ipynb", {}, progress=False).status == "success"
    assert templates(store, "snowfall") == ["snow.ipynb"]


def test_a_workflow_file_that_runs_is_a_template_from_then_on(tmp_path: Path, store: Store) -> None:
    (tmp_path / "tides.wf.yaml").write_text(NIGHTLY)
    flow = load_workflow(tmp_path / "tides.wf.yaml", store=store)
    assert [flow.run({"harbour": name}).status for name in ("Brest", "Kiel")] == ["success"] * 2
    assert templates(store, "tidal harbour") == ["tides.wf.yaml"]
    told = [event.payload for run in store.runs() for event in store.events(run["run_id"]) if event.type == "run.start"]
    assert sum("template" in payload for payload in told) == 1
