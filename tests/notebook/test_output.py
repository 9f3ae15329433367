"""What a step shows lands where the step is, whatever executes it, and is shown again when the step is restored."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.notebook.conftest import Kernel, Result

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('{0}')"


@pytest.fixture(scope="module")
def k(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    one = Kernel(tmp_path_factory.mktemp("output"), live=True)
    one.run("%matplotlib inline\nimport threading, time, logging, sys\nfrom IPython.display import HTML")
    yield one
    one.close()


def images(result: Result) -> int:
    return sum("image/png" in o["content"].get("data", {}) for o in result.outputs)


def htmls(result: Result) -> list[str]:
    found = [o["content"].get("data", {}).get("text/html") for o in result.outputs if o["type"] != "stream"]
    return [html for html in found if html and "wfkernel" not in html and not html.startswith("<div")]


@pytest.mark.parametrize("worker", ["threads", "processes"])
def test_a_workers_prints_displays_and_figures_are_the_cells(k, worker):
    body = (
        "from IPython.display import HTML\nimport sys, subprocess\nprint('printed')\nprint('erred', file=sys.stderr)\n"
        f"display(HTML('<b>rich</b>'))\n{PLOT.format('w')}\nHTML('<i>last</i>')"
    )
    result = k.run(f"%%step shows_{worker} --worker {worker}\n{body}")
    assert result.status == "ok", result.text
    assert "printed" in result.text
    assert "erred" in result.text
    assert htmls(result) == ["<b>rich</b>", "<i>last</i>"]
    assert images(result) == 1


def test_text_of_a_worker_process_arrives_while_it_runs(k, tmp_path):
    cell = k.send(
        f"%%step chatty --worker processes\nimport time, pathlib\nprint('first line')\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\nprint('second line')"
    )
    seen = ""
    while "first line" not in seen:
        message = k.client.get_iopub_msg(timeout=30)
        if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == cell:
            seen += message["content"]["text"]
    assert "second line" not in seen
    (tmp_path / "go").touch()
    assert "second line" in k.wait(cell).text


def test_steps_in_parallel_write_under_their_own_cells_and_keep_their_figures_apart(k):
    cells = {}
    k.run("%workflow new")
    for name in ("west", "east"):
        body = (
            f"import time, matplotlib.pyplot as plt\nfor i in range(3):\n    print('{name}', i)\n    time.sleep(0.05)\n"
            f"fig = plt.figure(num=1)\ntime.sleep(0.1)\nplt.plot([1])\nshown_{name} = len(plt.get_fignums())\nplt.show()"
        )
        source = f"%%step {name} --always\n{body}"
        cells[name] = k.send(source, cell_id=f"cell-{name}")
        k.wait(cells[name])
    k.meanwhile.clear()
    run = k.run("%workflow run")
    assert run.status == "ok", run.text
    for name, other in (("west", "east"), ("east", "west")):
        late = k.late(cells[name])
        assert late[0] == "clear"
        assert f"{name} 0\n{name} 1\n{name} 2\n" in "".join(late)
        assert other not in "".join(late)
        assert late.count("image/png") == 1
        assert name not in run.text
    assert k.value("(shown_west, shown_east)") == "(1, 1)"


def test_headless_a_graph_run_keeps_the_output_in_the_cell_that_runs(kernel):
    k = kernel()
    cell = k.send("%%step quiet --always\nprint('from quiet')")
    k.wait(cell)
    assert "from quiet" in k.run("%workflow run").text
    assert "from quiet" not in "".join(k.late(cell))


def test_a_thread_the_step_started_writes_under_the_step_while_another_cell_runs(k):
    body = "def late():\n    time.sleep(0.4)\n    print('from the thread')\nthreading.Thread(target=late).start()"
    first = k.send(f"%%step starter\n{body}")
    k.wait(first)
    second = k.run("time.sleep(0.8)\nprint('other cell')")
    assert "from the thread" not in second.text
    assert "from the thread" in "".join(k.late(first))


def test_logging_goes_where_the_step_is(k):
    result = k.run("%%step logs --worker threads\nimport logging\nlogging.getLogger('x').warning('careful')")
    assert "careful" in result.text


def shows_everything(name: str, options: str = "") -> str:
    return (
        f"%%step {name} {options}\nopen('executed', 'a').write('{name} ')\nprint('printed')\n"
        f"print('erred', file=sys.stderr)\ndisplay(HTML('<b>rich</b>'))\n{PLOT.format(name)}\n'the last value'"
    )


def what(result: Result) -> Any:
    streams = {
        n: "".join(o["content"]["text"] for o in result.outputs if o["content"].get("name") == n)
        for n in ("stdout", "stderr")
    }
    return streams, htmls(result), images(result), "'the last value'" in result.text


def test_a_restored_step_shows_what_it_showed(k):
    executed = k.run(shows_everything("kept"))
    assert what(executed) == ({"stdout": "printed\n", "stderr": "erred\n"}, ["<b>rich</b>"], 1, True)
    restored = k.run(shows_everything("kept"))
    assert restored.restored
    assert what(restored) == what(executed)


def test_it_shows_it_in_a_new_kernel_too_and_a_worker_step_does_as_well(kernel, tmp_path):
    cells = ["%%step a\nprint('a printed')", "%%step b --worker processes\nprint('b printed')\ndisplay('shown')"]
    k = kernel()
    for cell in cells:
        k.run(cell)
    k.close()
    k = kernel()
    again = [k.run(cell) for cell in cells]
    assert [r.restored for r in again] == [True, True]
    assert "a printed" in again[0].text
    assert "b printed" in again[1].text
    assert "'shown'" in again[1].text


def test_output_is_not_kept_where_it_is_not_wanted(k):
    cell = "%%step forgetful --no-output\nprint('only once')"
    assert "only once" in k.run(cell).text
    assert "only once" not in k.run(cell).text


def test_what_is_kept_is_bounded_and_says_so(k):
    cell = "%%step loud\nfor i in range(30_000): print('x' * 99)"
    k.run(cell)
    again = k.run(cell)
    assert again.restored
    assert len(again.text) < 1_100_000
    assert "the rest was not kept: more than 1,000,000 bytes" in again.text


def test_cleared_and_updated_outputs_are_kept_as_they_were_last(k):
    cell = (
        "%%step counted\nfrom IPython.display import clear_output\nh = display('zero', display_id=True)\nh.update('one')\n"
        "for i in range(3):\n    clear_output(wait=True)\n    print('round', i)"
    )
    k.run(cell)
    again = k.run(cell)
    assert "round 2" in again.text
    assert "round 1" not in again.text
    assert "zero" not in again.text


def test_html_of_somebody_elses_store_is_not_shown_before_it_is_trusted(kernel, tmp_path):
    imports = "from IPython.display import HTML"
    cell = "%%step page\nprint('printed')\ndisplay(HTML('<script>harm()</script>'))"
    theirs, mine = str(tmp_path / "theirs" / "key"), str(tmp_path / "mine" / "key")
    k = kernel(WFKERNEL_KEY_FILE=theirs)
    k.run(imports)
    assert htmls(k.run(cell)) == ["<script>harm()</script>"]
    k.close()
    k = kernel(WFKERNEL_KEY_FILE=mine)
    k.run(imports)
    result = k.run(cell)
    assert result.restored
    assert "printed" in result.text
    assert "<IPython.core.display.HTML object>" in result.text
    assert htmls(result) == []
    store = tmp_path / ".wfkernel" / "store.duckdb"
    trust = [sys.executable, "-m", "wfkernel", "trust", "--yes", str(store)]
    told = subprocess.run(
        trust, env={**os.environ, "WFKERNEL_KEY_FILE": mine}, capture_output=True, text=True, check=False
    )
    assert "text/html" in told.stdout, told.stderr
    assert "signed 1 value" in told.stdout
    k.close()
    k = kernel(WFKERNEL_KEY_FILE=mine)
    k.run(imports)
    again = k.run(cell)
    assert again.restored
    assert htmls(again) == ["<script>harm()</script>"]
