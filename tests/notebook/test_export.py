"""A notebook exported as a plain module really runs, and gives what the notebook gave."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.test_headless import N, wf, write
from wfkernel.errors import DefinitionError
from wfkernel.notebook.exporting import export_notebook, write_export
from wfkernel.plan.export import SourceCell, export_document, export_module

CELLS = [
    "%load_ext wfkernel\n%matplotlib inline",
    "month: int = 1  # which month",
    "import json\nimport os\nfrom pydantic import BaseModel\nfrom wfkernel import suspend, write\n"
    "class Approval(BaseModel):\n    approve: bool",
    "path = f'{month}.csv'\nlog = []",
    "%%step load --retries 2\n# why: kept\nwrite('hello')\ndata = [month, 3, 2]\ntext = '''\n  multi\nline'''\n"
    "if month > 100:\n    extra = 1",
    "%%step clean\nclean = sorted(data)\nlog.append('clean')",
    "top = clean[:2]",
    "%%step pages --foreach item in clean --concurrency 2\nimport math\npage = math.prod([item, 10])",
    "%%step big --when sum(clean) > 1000\nbig = True",
    "%%step approve\nanswer = suspend(Approval, message=f'{sum(clean)}?')",
    "def fmt(x):\n    return f'{x} {path} {text}'",
    "%%step report\nimport asyncio\nawait asyncio.sleep(0)\n"
    "report = [fmt(p) for p in page] + log + top + [answer.approve, json.dumps(month)]\nreport",
]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    made = [N.new_code_cell(source) for source in CELLS]
    made[1].metadata["tags"] = ["parameters"]
    return write(tmp_path / "monthly-report.ipynb", made)


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_the_module_suspends_resumes_and_gives_the_notebooks_values(kernel, tmp_path, notebook):
    k = kernel(notebook=notebook.name, WFKERNEL_ANSWERS='{"approve": {"approve": true}}')
    for source in [CELLS[1].replace("1", "5"), *CELLS[2:]]:
        assert k.run(source).status == "ok"
    wanted = k.value("report")
    assert k.run("%workflow export monthly.py").text.strip() == "wrote monthly.py"

    module = load(tmp_path / "monthly.py")
    run = module.monthly_report.create_run()
    suspended = _sync(run.start({"month": 5}))
    assert suspended.status == "suspended"
    done = _sync(run.resume({"approve": True}))
    assert done.status == "success", done.error
    assert repr(done.result["report"]) == wanted
    assert "'clean', 2, 3, True, '5'" in wanted
    assert done.steps["load"].attempts == 1  # resuming remembered it


def _sync(coroutine: Any) -> Any:
    from wfkernel.engine.loop import run_sync

    return run_sync(coroutine)


def test_the_text_of_the_cells_is_kept(notebook):
    module = export_notebook(str(notebook))
    for kept in (
        "    # why: kept\n", "  multi\nline'''", "# %matplotlib inline", "@step(id='load', retries=2, delay=1, backoff=2)",
        "class Approval(BaseModel):\n    approve: bool", "async def monthly_report(ctx", "inputs.get('month', month)",
    ):  # fmt: skip
        assert kept in module


def test_the_command_writes_it_and_replaces_only_what_it_wrote(tmp_path, notebook):
    wf(tmp_path, "export", notebook.name, "-o", "monthly.py")
    wf(tmp_path, "export", notebook.name, "-o", "monthly.py")
    (tmp_path / "own.py").write_text("precious = 1")
    assert "was not exported from a notebook" in wf(tmp_path, "export", notebook.name, "-o", "own.py", code=2).stderr
    with pytest.raises(DefinitionError, match=r"ends in \.py"):
        write_export(str(notebook), tmp_path / "monthly.txt")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("%%step a\nfiles = !ls", "cell 1: a plain module cannot run `files = !ls`"),
        ("%%step a\nget_ipython().run_line_magic('x', '')", "cell 1: a plain module has no get_ipython()"),
        ("%%step a\ndef f():\n    global x\n    x = 1\nf()", "cell 1: `global x` has no counterpart"),
        ("x = 1", "has no step to export"),
        ("%%step a\nctx = 1", "binds 'ctx', a name the exported module needs for itself"),
    ],
)
def test_what_a_plain_module_cannot_do_is_refused_in_one_line(source, words):
    with pytest.raises(DefinitionError) as refused:
        export_module([SourceCell(1, source)], "nb", "nb.ipynb")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_names_never_collide():
    module = export_module(
        [SourceCell(1, "nb = 1"), SourceCell(2, "%%step nb\nb = nb"), SourceCell(3, "%%step b\nc = b + 1")],
        "nb",
        "nb.ipynb",
    )
    space: dict[str, Any] = {"__name__": "nb_module"}
    exec(module, space)
    assert space["nb_workflow"].run().result == {"c": 2}


def test_as_a_workflow_file_it_names_the_steps_and_gives_what_the_notebook_gave(tmp_path):
    from wfkernel import load_workflow

    sources = [
        "month: int = 1",
        "import json",
        "%%step load\ndata = [month, 3, 2]\nlabel = f'm{month}'",
        "%%step clean\nclean = sorted(data)",
        "%%step total\ntotal = sum(data)",
        "%%step report\nreport = json.dumps([label, clean, total])",
    ]
    made = [N.new_code_cell(source) for source in sources]
    made[0].metadata["tags"] = ["parameters"]
    (tmp_path / "files").mkdir()
    file = tmp_path / "files" / "monthly.wf.yaml"
    write_export(str(write(tmp_path / "book.ipynb", made)), file)
    assert "uses: ../book.ipynb#report" in file.read_text()
    workflow = load_workflow(str(file))
    ended = workflow.create_run().sync.start({"month": 5})
    assert (ended.status, ended.result) == ("success", '["m5", [2, 3, 5], 10]'), ended
    write_export(str(tmp_path / "book.ipynb"), file)  # what was exported is replaced


def test_conditions_and_items_that_cel_can_say_are_in_the_workflow_file(tmp_path):
    from wfkernel import load_workflow

    sources = [
        "publish: bool = True",
        "%%step load\nrows = [1, 2, 3]",
        "%%step double --foreach 'row in rows' --concurrency 2\ndoubled = row * 2",
        "%%step few --when 'len(rows) < 3'\nfew = 1",
        "%%step report --when 'publish and rows[0] in [1, 2]'\nreport = (doubled, few)",
    ]
    made = [N.new_code_cell(source) for source in sources]
    made[0].metadata["tags"] = ["parameters"]
    write_export(str(write(tmp_path / "book.ipynb", made)), tmp_path / "w.wf.yaml")
    ended = load_workflow(tmp_path / "w.wf.yaml").run({})
    assert (ended.status, ended.steps["few"].status) == ("success", "skipped")
    assert ended.result == ([2, 4, 6], None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("%%step x --when data\ny = 1", "step 'x' has --when data, which is Python"),
        ("%%step x --when 'data != []'\ny = 1\nz = 2", "step 'x' has --when and binds y, z"),
        ("%%step x --foreach 'i in sorted(data)'\ny = i", "step 'x' has --foreach in sorted.data., which is Python"),
        ("%%step x\nif data:\n    y = 1", "step 'x' may not bind 'y', which is Python"),
        ("z = data", "cell 2 binds 'z' outside a step"),
    ],
)
def test_what_a_workflow_file_cannot_say_is_refused(source, words):
    cells = [SourceCell(1, "%%step load\ndata = [1]"), SourceCell(2, source)]
    with pytest.raises(DefinitionError, match=words):
        export_document(cells, "book", "book.ipynb")
