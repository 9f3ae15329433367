"""Cells as a graph: `%workflow run` and `%%workflow NAME`."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

STEPS = [
    "%%step load\nopen('ran', 'a').write('load ')\ndata = [1, 2, 3]",
    "%%step left\nopen('ran', 'a').write('side ')\nbarrier.wait()\nlow = min(data)",
    "%%step right\nopen('ran', 'a').write('side ')\nbarrier.wait()\nhigh = max(data)",
    "%%step join\nopen('ran', 'a').write('join ')\nspan = high - low",
]
BARRIER = "import threading\nclass Barrier:\n    pair = threading.Barrier(2, timeout=30)\n    def wait(self): return self.pair.wait()\n    def __reduce__(self): return (Barrier, ())\nbarrier = Barrier()"


@pytest.fixture
def notebook(tmp_path):
    import nbformat

    cells = [nbformat.v4.new_code_cell(source) for source in [BARRIER, *STEPS]]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "analysis.ipynb")


def test_independent_steps_run_at_the_same_time(kernel, notebook, tmp_path):
    k = kernel()
    k.run(BARRIER)
    result = k.run("%workflow run")
    assert result.status == "ok", result.text
    assert k.value("data, low, high, span") == "([1, 2, 3], 1, 3, 2)"
    assert (tmp_path / "ran").read_text().split() == ["load", "side", "side", "join"]


def test_what_a_graph_run_finished_run_all_restores(kernel, notebook, tmp_path):
    first = kernel()
    first.run(BARRIER)
    first.run("%workflow run")
    first.close()
    second = kernel()
    second.run(BARRIER)
    results = [second.run(cell) for cell in STEPS]
    assert [r.restored for r in results] == [True] * 4
    assert second.run("%workflow run").status == "ok"
    assert (tmp_path / "ran").read_text().split() == ["load", "side", "side", "join"]


def test_a_composition_runs_what_it_names_in_its_order(kernel, tmp_path):
    k = kernel()
    k.run("%%step a\nx = 1")
    k.run("%%step b\ny = x + 1")
    k.run("%%step c\nz = y + 1")
    k.run("%workflow new")
    shown = k.run("%%workflow both\nthen(a).then(b)")
    assert shown.status == "ok", shown.text
    assert "flowchart LR" in shown.text
    assert k.run("%workflow run both").status == "ok"
    statuses = k.value(
        "__import__('wfkernel').open_store().query(\"SELECT step, status FROM steps WHERE run_id = (SELECT run_id FROM runs ORDER BY started_at DESC LIMIT 1)\")[1]"
    )
    assert eval(statuses) == [("a", "success"), ("b", "success"), ("c", "pending")]


def test_a_branch_takes_the_arms_whose_condition_holds(kernel):
    k = kernel()
    k.run("big = True")
    k.run("%%step small_step --always\nsmall = 1")
    k.run("%%step big_step --always\nlarge = 1")
    k.run("del small, large")
    assert k.run("%%workflow pick\nbranch((lambda: big, big_step), (lambda: not big, small_step))").status == "ok"
    assert k.run("%workflow run pick").status == "ok"
    assert k.value("'large' in globals(), 'small' in globals()") == "(True, False)"


def test_a_suspended_step_suspends_the_graph_run_and_resumes(kernel):
    k = kernel()
    k.run("from wfkernel import suspend")
    for cell in ("%%step ask\nanswer = suspend(message='how many?')", "%%step use\ntwice = answer * 2"):
        k.run(cell)
    result = k.run("%workflow run")
    assert result.error[0] == "RunSuspended"
    k.run("%workflow resume --data 4")
    assert k.run("%workflow run").status == "ok", result.text
    assert k.value("twice") == "8"


def test_a_failing_step_is_shown_as_itself(kernel):
    k = kernel()
    k.run("%%step bad --when False\nx = 1 / 0")
    k.run("%workflow new")
    k.run("%%step bad\nx = 1 / 0")
    assert k.run("%workflow run").error[0] == "ZeroDivisionError"


def test_the_graph_is_drawn_from_what_steps_read(kernel):
    k = kernel()
    for source in ("%%step a\nx = 1", "%%step b\ny = x", "%%step c\nz = x", "%%step d\nw = y + z"):
        k.run(source)
    shown = k.run("%workflow graph").outputs[0]["content"]["data"]
    picture = ElementTree.fromstring(shown["image/svg+xml"])
    assert [box.text for box in picture.findall(".//{*}title")] == ["a", "b", "c", "d"]
    assert len(picture.findall("{*}path")) == 4
    arrows = [line.strip() for line in shown["text/plain"].splitlines() if "-->" in line]
    assert arrows == ["n1 --> n2", "n1 --> n3", "n2 --> n4", "n3 --> n4"]
    assert k.run("%workflow graph --mermaid").text.strip() == shown["text/plain"]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%workflow run nowhere", "there is no workflow 'nowhere'"),
        ("%%workflow two words\nthen(a)", "expected one name"),
        ("%%workflow w\nthen(missing)", "there is no step 'missing'; steps: a"),
        ("%%workflow w\nthen(a", "not an expression"),
        ("%%workflow w\n1 + 1", "expected steps composed with then"),
    ],
)
def test_mistakes_are_one_line(kernel, cell, words):
    k = kernel()
    k.run("%%step a\nx = 1")
    result = k.run(cell)
    assert result.error[0] == "DefinitionError"
    assert words in result.text


CIRCLE = """id: w
steps:
  - {id: a, run: [echo, x], needs: [b]}
  - {id: b, run: [echo, x], needs: [a]}
  - {id: c, run: [echo, x], needs: [b]}
"""


def red(result) -> list[str]:
    """The arrows drawn as part of a circle in the one picture of a result."""
    [shown] = [
        o["content"]["data"]["image/svg+xml"] for o in result.outputs if "image/svg+xml" in o["content"].get("data", {})
    ]
    return [title.text for title in ElementTree.fromstring(shown).findall(".//*[@class='circle']/{*}title")]


def test_steps_that_need_each_other_are_drawn_under_the_line_that_says_so(kernel, tmp_path):
    (tmp_path / "w.wf.yaml").write_text(CIRCLE)
    k = kernel()
    for name in "abc":
        k.run(f"%%step {name}\nvalue_of_{name} = 1")
    for source in (
        "%%workflow w\nadd(a, needs=[b]).add(b, needs=['a']).add(c, needs=[b])",
        "from wfkernel import load_workflow\nload_workflow('w.wf.yaml')",
        "%workflow graph w.wf.yaml",
    ):
        result = k.run(source)
        assert "in a circle: a -> b -> a" in result.error[1]
        assert red(result) == ["a needs b, in a circle", "b needs a, in a circle"]
    assert len(k.run("1 / 0").outputs) == 1  # other errors bring no picture
    (tmp_path / "w.wf.yaml").write_text(CIRCLE.replace("needs: [b]}\n  - {id: b", "needs: []}\n  - {id: b"))
    shown = k.run("%workflow graph w.wf.yaml").outputs[0]["content"]["data"]
    assert "circle" not in shown["image/svg+xml"]
    assert shown["text/plain"].count("-->") == 2


def test_cells_that_need_each_other_are_drawn_too(kernel, tmp_path):
    import nbformat

    cells = ["%%step start\nz = 1", "%%step a\nx = y + z", "%%step b\ny = x + 1"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(made, tmp_path / "analysis.ipynb")
    k = kernel()
    k.run(cells[0])
    for source in (cells[1], "%workflow graph"):
        result = k.run(source)
        assert "the steps need each other: a -> b -> a" in result.error[1]
        assert red(result) == ["a needs b, in a circle", "b needs a, in a circle"]
