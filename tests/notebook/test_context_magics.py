"""`%context` and `%%wfsql` in a real kernel, and the prose of notebooks that runs leave behind."""

from __future__ import annotations

import nbformat
import pytest

from tests.notebook.conftest import Kernel
from wfkernel.notebook.headless import run_notebook
from wfkernel.notebook.prose import cell_doc
from wfkernel.store.store import Store

LOAD = """%%step load
# Read the departures of all airports in New York City.
# Cancelled ones have no delay.
delays = {'carrier': 'United Airlines', 'minutes': 12}"""
FAIL = "%%step train\nraise ValueError('the solver did not converge')"


@pytest.fixture
def ran(kernel) -> Kernel:
    """A kernel in which one step succeeded and one failed."""
    running: Kernel = kernel()
    assert running.run(LOAD).status == "ok"
    assert running.run(FAIL).status == "error"
    return running


def test_a_step_cells_comments_output_and_error_are_found(ran):
    found = ran.run("%context search planes leaving New York -k 1")
    assert found.status == "ok"
    assert "doc · step load · analysis" in found.text
    assert "Cancelled ones have no delay." in found.text
    assert "carrier: United Airlines" in ran.run("%context search airline carrier --kind output").text
    assert (
        "ValueError: the solver did not converge" in ran.run("%context search why didn't the solver converge -k 1").text
    )


def test_a_condition_in_sql_chooses_among_the_texts(ran):
    assert ran.run("import wfkernel; wfkernel.remember('the solver is gurobi', topic='tools')").status == "ok"
    found = ran.run("""%context search solver -k 9 --where "kind = 'note' AND meta->>'topic' = 'tools'" """).text
    assert "the solver is gurobi" in found
    assert "converge" not in found
    refused = ran.run('%context search solver --where "nosuch = 1"').text.strip()
    assert "the condition ( nosuch = 1 ) fails" in refused
    assert len(refused.splitlines()) == 1


def test_the_results_are_a_table_for_notebooks(ran):
    (shown,) = ran.run("%context search solver -k 1").outputs
    html = shown["content"]["data"]["text/html"]
    assert html.startswith("<table>")
    assert "the solver did not converge" in html


def test_what_search_returns_is_shown_as_a_table(ran):
    (shown,) = ran.run("import wfkernel; wfkernel.search('solver', 1)").outputs
    assert shown["content"]["data"]["text/html"].startswith("<table>")
    assert shown["content"]["data"]["text/plain"].startswith("1. error · step train · analysis · ")
    assert ran.run("wfkernel.search('solver', kind='nosuch')").text == "Nothing found."
    assert ran.value("[type(found).__name__ for found in wfkernel.search('solver', 1)]") == "['Found']"


def test_texts_are_shown_and_not_interpreted(ran):
    ran.run("import wfkernel; wfkernel.remember('the <script>alert(1)</script> of the solver', by='<b>Ines</b>')")
    (shown,) = ran.run("%context search script -k 1").outputs
    html = shown["content"]["data"]["text/html"]
    assert "the &lt;script&gt;alert(1)&lt;/script&gt; of the solver" in html
    assert "by=&lt;b&gt;Ines&lt;/b&gt;" in html


def test_a_word_that_does_not_end_is_broken_where_the_notebook_does(ran):
    ran.run(f"import wfkernel; wfkernel.remember('{'x' * 900} the solver')")
    (shown,) = ran.run("%context search solver -k 9").outputs
    assert shown["content"]["data"]["text/html"].count("overflow-wrap:anywhere;max-height") >= 2


@pytest.mark.parametrize(
    "cell",
    [
        "%context search which airline?",
        "1 + 1\n%context search which airline??  ",
        "%%step look --always\n%context search which airline?",
        'if True:\n    %context search is it UA\'s "United" {n}?',
    ],
)
def test_a_question_may_end_as_questions_do(ran, cell):
    found = ran.run(cell)
    assert found.status == "ok", found.text
    assert "United Airlines" in found.text


def test_a_question_mark_alone_asks_for_help_and_other_magics_keep_their_lines(ran):
    assert "Nothing found" not in ran.run("%context?").text
    ran.run("%%writefile lines.txt\n%context search which airline?")
    assert ran.value("open('lines.txt').read()") == repr("%context search which airline?\n")
    ran.run("%context remember Why is the runway closed?")
    assert "Why is the runway closed?" in ran.run("%context search runway -k 1").text


def test_what_is_remembered_is_found_in_any_way(ran):
    assert ran.run("%context remember Don't trust the humidity sensor").text.strip() == "remembered"
    assert ran.run("import wfkernel; wfkernel.remember('gusts are in knots', topic='units')").status == "ok"
    assert ran.run("%%step note\nwfkernel.remember('the runway was closed in May')").status == "ok"
    assert "Don't trust the humidity sensor" in ran.run("%context search humidity -k 1").text
    assert "Nothing found" in ran.run("%context search humidity --session another").text
    assert ran.value("wfkernel.search('gusts', 1, where={'topic': 'units'})[0].text") == "'gusts are in knots'"
    assert ran.value("wfkernel.search('runway', 1)[0].step") == "'note'"
    # Outside steps too, a text belongs to the notebook's run.
    assert ran.value("wfkernel.search('gusts', 1)[0].run_id == wfkernel.search('runway', 1)[0].run_id") == "True"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%context", "expected `%context search WORDS"),
        ("%context find x", "expected `%context search WORDS"),
        ("%context search", "WORDS is missing"),
        ("%context search x -k many", "-k: 'many' is not a whole number"),
        ("%context remember", "takes a text with words in it"),
        ("%context search x --run nosuch", "there is no run 'nosuch'"),
    ],
)
def test_mistakes_are_one_line(kernel, line, message):
    result = kernel().run(line)
    assert result.error is not None
    assert message in result.text
    assert len(result.text.strip().splitlines()) == 1


def test_wfsql_returns_a_frame(ran):
    result = ran.run("%%wfsql\nSELECT step, status FROM steps ORDER BY step")
    assert result.status == "ok", result.text
    assert [line.split()[1:] for line in result.text.strip().splitlines()[1:]] == [
        ["load", "success"],
        ["train", "failed"],
    ]


def test_wfsql_binds_a_name_and_sees_texts(ran):
    assert ran.run("%%wfsql texts\nSELECT kind, text FROM context WHERE kind = 'error'").status == "ok"
    assert (
        ran.value("type(texts).__module__.split('.')[0], list(texts.columns), len(texts)")
        == "('pandas', ['kind', 'text'], 1)"
    )
    assert "solver" in ran.value("texts.text[0]")
    assert ran.value("str(_.dtypes['kind'])")


def test_wfsql_takes_values_and_frames_of_the_notebook(ran):
    ran.run("import pandas as pd; costs = pd.DataFrame({'step': ['load'], 'euros': [7]}); wanted = costs.step[0]")
    shown = ran.run("%%wfsql\nSELECT status, euros FROM steps JOIN costs USING (step) WHERE step = $wanted")
    assert shown.text.split()[-2:] == ["success", "7"]
    assert "the query asks for $nosuch: bind nosuch in the notebook" in ran.run("%%wfsql\nSELECT $nosuch").text


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("%%wfsql\nSELECT nosuch FROM runs", "the query failed: Binder Error"),
        ("%%wfsql\nSELEC 1", "the query failed: Parser Error"),
        ("%%wfsql SELECT 1\nSELECT 1", "'SELECT 1' is not a name"),
    ],
)
def test_a_bad_query_is_one_line(kernel, cell, message):
    result = kernel().run(cell)
    assert result.error is not None
    assert message in result.text
    assert len(result.text.strip().splitlines()) == 1


def test_the_help_names_the_views(kernel):
    assert "step_values" in kernel().value("get_ipython().find_cell_magic('wfsql').__doc__")


# -- prose -------------------------------------------------------------------------------------------------------------


def notebook(*cells: str) -> nbformat.NotebookNode:
    """Cells that begin with ``md:`` are markdown."""
    made = [
        nbformat.v4.new_markdown_cell(source[3:], id=f"cell-{n}") if source.startswith("md:")
        else nbformat.v4.new_code_cell(source, id=f"cell-{n}")
        for n, source in enumerate(cells)
    ]  # fmt: skip
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": {"name": "python3", "display_name": "Python"}})


def prose(store: Store) -> list[str]:
    return [text for (text,) in store.query("SELECT text FROM context WHERE kind = 'markdown' ORDER BY id")[1]]


def test_a_headless_run_leaves_the_notebooks_prose_behind(tmp_path, store):
    path = tmp_path / "report.ipynb"
    cells = [
        "md:# Tides\n\nThe gauge at the pier was replaced in spring.",
        "%%step a\nx = 1",
        "md:![plot](attachment:x.png)",
    ]
    nbformat.write(notebook(*cells), path)
    first = run_notebook(path, tmp_path / "out.ipynb", {}, progress=False)
    assert first.status == "success"
    (found,) = store.context.search("gauge replaced", 1, kind="markdown")
    assert (found.run_id, found.workflow, found.meta) == (first.run_id, "report", {"cell": 1})
    assert prose(store) == ["# Tides\n\nThe gauge at the pier was replaced in spring.", "plot"]
    nbformat.write(notebook("md:# Currents", *cells[1:2]), path)  # one cell changed, one is gone
    run_notebook(path, tmp_path / "out.ipynb", {}, progress=False)
    assert prose(store) == ["# Currents"]


def test_a_live_notebook_leaves_its_prose_behind(kernel, tmp_path):
    nbformat.write(notebook("md:Why the northern turbine stood still", LOAD), tmp_path / "analysis.ipynb")
    running = kernel()
    assert running.run(LOAD).status == "ok"
    for _ in range(100):  # it is kept in the background
        if "northern turbine" in running.run("%context search turbine --kind markdown").text:
            return
    raise AssertionError("the markdown was not found")


def test_no_prose_is_kept_with_context_off(tmp_path, store, monkeypatch):
    monkeypatch.setenv("WFKERNEL_CONTEXT", "0")
    path = tmp_path / "report.ipynb"
    nbformat.write(
        notebook("md:confidential remarks", "%%step a\n# confidential comment\nx = 'confidential value'"), path
    )
    assert run_notebook(path, tmp_path / "out.ipynb", {}, progress=False).status == "success"
    assert store.query("SELECT text FROM context")[1] == []


@pytest.mark.parametrize(
    ("body", "doc"),
    [
        ("# One.\n#   Two.\nx = 1\n# no", "One.\nTwo."),
        ("\n# after a blank line\nx = 1", "after a blank line"),
        ('"""What it\ndoes."""\nx = 1', "What it\ndoes."),
        ("x = 1  # not this", ""),
        ("", ""),
    ],
)
def test_the_doc_of_a_cell_is_what_it_begins_with(body, doc):
    assert cell_doc(body) == doc
