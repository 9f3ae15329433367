"""The same notebook headless: `wf run`, `wf resume`, and papermill's own command."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest

from wfkernel.store.store import Store

N = nbformat.v4
RAN = "open('ran', 'a').write('{0} ')"


def cells(*, fail: bool = False) -> list[nbformat.NotebookNode]:
    trouble = "if month: raise ValueError('bad data')" if fail else ""
    sources = {
        "ext": "%load_ext wfkernel",
        "params": "month = 1",
        "imports": "from wfkernel import suspend\nfrom pydantic import BaseModel\nclass Approval(BaseModel):\n    approve: bool\n    note: str = ''",
        "load": f"%%step load\n{RAN.format('load')}\nprint('loading month', month)\ndata = [month] * 3",
        "total": f"%%step total\n{RAN.format('total')}\n{trouble}\ntotal = sum(data)\ntotal",
        "approve": f"%%step approve\n{RAN.format('approve')}\nanswer = suspend(Approval, message=f'publish {{total}}?')",
        "publish": f"%%step publish\n{RAN.format('publish')}\nreport = f'{{total}} {{answer.approve}}'\nprint(report)",
        "last": "print('the end')",
    }
    made = []
    for name, source in sources.items():
        cell = N.new_code_cell(source, id=name)
        if name == "params":
            cell.metadata["tags"] = ["parameters"]
        made.append(cell)
    return made


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write(tmp_path / "nb.ipynb", cells())


def write(path: Path, made: list[nbformat.NotebookNode]) -> Path:
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(N.new_notebook(cells=made, metadata={"kernelspec": kernelspec}), path)
    return path


def command(tmp_path: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def wf(tmp_path: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return command(tmp_path, "wfkernel", *arguments, code=code)


def ran(tmp_path: Path) -> list[str]:
    return (tmp_path / "ran").read_text().split()


def texts(path: Path) -> dict[str, str]:
    """cell id -> its outputs as text."""
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", ())]
        found[cell.id] = "\n".join(parts)
    return found


def statuses(path: Path) -> dict[str, str]:
    return {c.id: c.metadata.papermill.status for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"}


def test_run_suspends_then_resume_in_a_fresh_process_completes_the_same_output(tmp_path, notebook):
    first = json.loads(wf(tmp_path, "run", "nb.ipynb", "-p", "month=3", "-o", "out.ipynb", "--json", code=75).stdout)
    assert first["status"] == "suspended"
    assert first["parameters"] == {"month": 3}
    out = tmp_path / "out.ipynb"
    top = nbformat.read(out, as_version=4).cells[0]
    assert "publish 9?" in top.source
    assert f"wf resume {first['run_id']} --data '{{\"approve\": true}}'" in top.source
    assert statuses(out)["approve"] == "suspended"
    assert statuses(out)["publish"] == statuses(out)["last"] == "pending"
    assert "error" not in [o.output_type for c in nbformat.read(out, as_version=4).cells for o in c.get("outputs", ())]

    second = json.loads(wf(tmp_path, "resume", first["run_id"], "--data", '{"approve": true}', "--json").stdout)
    assert second["status"] == "success"
    assert second["run_id"] == first["run_id"]
    assert ran(tmp_path) == ["load", "total", "approve", "approve", "publish"]
    shown = texts(out)
    assert "loading month 3" in shown["load"]  # the first process's output is still there
    assert "9 True" in shown["publish"]
    assert "the end" in shown["last"]
    assert statuses(out)["load"] == "restored"
    assert statuses(out)["publish"] == "completed"
    assert "Suspended" not in nbformat.read(out, as_version=4).cells[0].source


def test_running_the_output_of_an_unfinished_run_goes_on_with_that_run(tmp_path, notebook):
    first = json.loads(wf(tmp_path, "run", "nb.ipynb", "-o", "out.ipynb", "--json", code=75).stdout)
    again = json.loads(wf(tmp_path, "run", "out.ipynb", "-o", "out.ipynb", "--json", code=75).stdout)
    assert (again["run_id"], again["status"]) == (first["run_id"], "suspended")
    anew = json.loads(wf(tmp_path, "run", "out.ipynb", "-o", "b.ipynb", "--run-id", "b", "--json", code=75).stdout)
    assert anew["run_id"] == "b"
    assert ran(tmp_path) == ["load", "total", "approve", "approve", "load", "total", "approve"]


def test_a_wrong_answer_is_refused_with_the_field_and_status_2(tmp_path, notebook):
    run_id = json.loads(wf(tmp_path, "run", "nb.ipynb", "--json", code=75).stdout)["run_id"]
    refused = wf(tmp_path, "resume", run_id, "--data", '{"note": 5}', code=2)
    assert "approve: Field required" in refused.stderr
    assert 'note: 5 is not of type "string"' in refused.stderr
    assert "Traceback" not in refused.stderr
    assert json.loads(wf(tmp_path, "show", run_id, "--json").stdout)["status"] == "suspended"
    wf(tmp_path, "resume", run_id, "--data", '{"approve": true}')


def test_an_answer_only_the_model_can_refuse_suspends_again(tmp_path):
    made = cells()
    made[
        2
    ].source += "\n    @__import__('pydantic').field_validator('note')\n    @classmethod\n    def short(cls, v):\n        assert len(v) < 5, 'too long'\n        return v"
    write(tmp_path / "nb.ipynb", made)
    run_id = json.loads(wf(tmp_path, "run", "nb.ipynb", "--json", code=75).stdout)["run_id"]
    again = wf(tmp_path, "resume", run_id, "--data", '{"approve": true, "note": "far too long"}', code=75)
    assert "note: Assertion failed, too long" in again.stdout
    wf(tmp_path, "resume", run_id, "--data", '{"approve": true}')


def test_a_failed_run_is_continued_from_the_failed_step_after_mending_it(tmp_path):
    write(tmp_path / "nb.ipynb", cells(fail=True))
    failed = json.loads(wf(tmp_path, "run", "nb.ipynb", "-o", "out.ipynb", "--json", code=1).stdout)
    assert failed["error"]["message"] == "bad data"
    assert failed["error"]["step"] == "total"
    out = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert any("wf resume" in c.source and "bad data" in c.source for c in out.cells if c.cell_type == "markdown")
    assert statuses(tmp_path / "out.ipynb")["last"] == "pending"
    assert said(tmp_path, failed["run_id"]) == ["load: loading month 1", "total: failed: ValueError: bad data"]
    write(tmp_path / "nb.ipynb", cells())
    wf(tmp_path, "resume", failed["run_id"], code=75)
    assert ran(tmp_path) == ["load", "total", "total", "approve"]

    # Going back to a step that was fine: it and what comes after it runs again, and its log is followed meanwhile.
    again = subprocess.Popen([sys.executable, "-m", "wfkernel", "retry", "--step", "total"], cwd=tmp_path)
    while json.loads(wf(tmp_path, "show", "latest", "--json").stdout)["status"] != "running":
        assert again.poll() is None
    followed = wf(tmp_path, "logs", "--follow").stdout
    assert again.wait(120) == 75
    assert "total  3" in followed
    assert ran(tmp_path) == ["load", "total", "total", "approve", "total", "approve"]
    values = json.loads(wf(tmp_path, "replay", "--to", "approve", "--json").stdout)
    assert {value["name"] for value in values["names"]} == {"data", "total"}

    # As a notebook, in another folder, it loads the values there were, with the step's code below.
    debug = tmp_path / "elsewhere" / "debug.ipynb"
    debug.parent.mkdir()
    wf(tmp_path, "replay", "--to", "total", "-o", str(debug))
    command(debug.parent, "jupyter", "execute", "--inplace", "--allow-errors", debug.name)
    loaded, tried = nbformat.read(debug, as_version=4).cells
    assert loaded.outputs[0].text.endswith(": data\n")
    assert tried.source.startswith("open('ran'")
    assert "ValueError" not in str(tried.outputs)


def test_a_notebook_that_names_no_kernel_runs_in_pythons_and_one_that_is_not_there_is_told(tmp_path):
    made = [N.new_code_cell("month = 1"), N.new_code_cell("%load_ext wfkernel"), N.new_code_cell("%%step a\nx = month")]
    made[0].metadata["tags"] = ["parameters"]
    book = N.new_notebook(cells=made)
    nbformat.write(book, tmp_path / "bare.ipynb")
    assert json.loads(wf(tmp_path, "run", "bare.ipynb", "-p", "month=2", "--json").stdout)["status"] == "success"
    book.metadata["kernelspec"] = {"name": "pyton3", "display_name": "Python"}
    nbformat.write(book, tmp_path / "bare.ipynb")
    refused = wf(tmp_path, "run", "bare.ipynb", code=2).stderr
    assert refused == (
        "wf: bare.ipynb wants the kernel 'pyton3', which is not installed here (did you mean 'python3'?)\n"
    )


def said(tmp_path: Path, run_id: str) -> list[str]:
    lines = json.loads(wf(tmp_path, "logs", run_id, "--json").stdout)["lines"]
    return [f"{line['step']}: {line['text']}" for line in lines]


def test_a_failing_plain_cell_fails_the_run(tmp_path):
    made = cells()
    made[4].source = "1 / 0"
    write(tmp_path / "nb.ipynb", [*made[:5], made[7]])
    failed = json.loads(wf(tmp_path, "run", "nb.ipynb", "--json", code=1).stdout)
    assert failed["error"]["type"] == "ZeroDivisionError"
    assert failed["steps"][0]["status"] == "success"


def test_papermills_own_command_runs_it(tmp_path, notebook):
    done = command(
        tmp_path, "papermill", "nb.ipynb", "out.ipynb", "--engine", "wfkernel", "-p", "month", "3",
        "--no-progress-bar", code=75,
    )  # fmt: skip
    assert "wf resume" in done.stderr
    assert "Traceback" not in done.stderr
    run_id = nbformat.read(tmp_path / "out.ipynb", as_version=4).metadata.papermill.wfkernel.run_id
    wf(tmp_path, "resume", run_id, "--data", '{"approve": true}')
    assert "9 True" in texts(tmp_path / "out.ipynb")["publish"]


def test_papermill_refuses_a_parameter_of_the_wrong_type(tmp_path, notebook):
    done = command(
        tmp_path, "papermill", "nb.ipynb", "out.ipynb", "--engine", "wfkernel", "-p", "month", "march",
        "--no-progress-bar", code=2,
    )  # fmt: skip
    assert "parameter 'month' is int, not \"march\"" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


def test_while_a_cell_runs_the_output_is_saved_and_the_bar_names_the_step(tmp_path):
    made = cells()
    made[4].source = (
        f"%%step total\n{RAN.format('total')}\nimport os, time\n"
        "while not os.path.exists('go'):\n    time.sleep(0.02)\ntotal = sum(data)"
    )
    write(tmp_path / "nb.ipynb", made)
    process = subprocess.Popen(
        [sys.executable, "-m", "papermill", "nb.ipynb", "out.ipynb", "--engine", "wfkernel", "--progress-bar"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "ran").exists() or "total" not in ran(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    meanwhile = statuses(tmp_path / "out.ipynb")
    assert (meanwhile["load"], meanwhile["total"], meanwhile["approve"]) == ("completed", "running", "pending")
    assert "loading month 1" in texts(tmp_path / "out.ipynb")["load"]
    (tmp_path / "go").touch()
    assert "Executing total" in process.communicate(timeout=180)[1]
    assert process.returncode == 75
    total = next(c for c in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells if c.id == "total")
    assert total.metadata.papermill.duration > 0
    assert total.metadata.papermill.start_time < total.metadata.papermill.end_time
    assert total.metadata.execution["iopub.execute_input"] < total.metadata.execution["shell.execute_reply"]


def interrupted_run(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    """`wf run` of a notebook whose second step executes `body`, with Ctrl-C pressed while it does."""
    made = cells()
    made[4].source = f"%%step total\n{RAN.format('total')}\nimport os, time\n{body}\ntotal = sum(data)"
    write(tmp_path / "nb.ipynb", made)
    process = subprocess.Popen(
        [sys.executable, "-m", "wfkernel", "run", "nb.ipynb", "-o", "out.ipynb"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (tmp_path / "slept").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process


def test_ctrl_c_suspends_the_run_at_the_step_that_executes(tmp_path):
    once = "if not os.path.exists('slept'):\n    open('slept', 'w').close()\n    time.sleep(60)"
    process = interrupted_run(tmp_path, once)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 75, said
    assert "Traceback" not in said
    shown = json.loads(wf(tmp_path, "show", "--json").stdout)
    assert [shown["status"], *(step["status"] for step in shown["steps"][:3])] == [
        "suspended", "success", "suspended", "pending",
    ]  # fmt: skip
    top = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].source
    assert "**Suspended** at step `total` by Ctrl-C" in top
    assert f"wf resume {shown['run_id']}" in top
    wf(tmp_path, "resume", shown["run_id"], code=75)  # goes on, up to the question
    assert ran(tmp_path) == ["load", "total", "total", "approve"]


def test_a_second_ctrl_c_cancels(tmp_path):
    slow = "open('slept', 'w').close()\ntry:\n    time.sleep(60)\nfinally:\n    time.sleep(5)"
    process = interrupted_run(tmp_path, slow)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(wf(tmp_path, "show", "--json").stdout)["status"] == "canceled"


class RemoteNotebooks(http.server.BaseHTTPRequestHandler):
    """Files that can be read and written over HTTP, as papermill does with paths that begin with ``http://``."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        self.send_response(200 if self.path in self.files else 404)
        self.end_headers()
        self.wfile.write(self.files.get(self.path, b"not found"))

    def do_PUT(self) -> None:
        self.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_notebooks_may_lie_where_papermill_can_read_and_write(tmp_path, notebook):
    RemoteNotebooks.files = {"/nb.ipynb": notebook.read_bytes()}
    notebook.unlink()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), RemoteNotebooks) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        wf(tmp_path, "run", f"{url}/nb.ipynb", "-o", f"{url}/out-{{month}}.ipynb", "-p", "month=3", code=75)
        wf(tmp_path, "resume", "latest", "--data", '{"approve": true}')
        assert "cannot read the notebook" in wf(tmp_path, "run", f"{url}/gone.ipynb", code=2).stderr
        server.shutdown()
    assert ran(tmp_path) == ["load", "total", "approve", "approve", "publish"]
    (tmp_path / "out.ipynb").write_bytes(RemoteNotebooks.files["/out-3.ipynb"])
    assert "loading month 3" in texts(tmp_path / "out.ipynb")["load"]  # from before the resume
    assert "9 True" in texts(tmp_path / "out.ipynb")["publish"]


def test_jupyter_execute_records_a_run_too(tmp_path, monkeypatch, notebook):
    monkeypatch.setenv("WFKERNEL_ANSWERS", '{"approve": {"approve": true}}')
    command(tmp_path, "jupyter_core.command", "execute", "--inplace", "nb.ipynb")
    assert "3 True" in texts(notebook)["publish"]
    _, rows = Store(Path(os.environ["WFKERNEL_STORE"])).query("SELECT status FROM steps")
    assert rows == [("success",)] * 4


def test_running_the_output_notebook_again_continues_its_run(tmp_path):
    write(tmp_path / "nb.ipynb", cells(fail=True))
    wf(tmp_path, "run", "nb.ipynb", "-o", "out.ipynb", code=1)
    out = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    next(c for c in out.cells if c.id == "total").source = "%%step total\ntotal = 99"
    nbformat.write(out, tmp_path / "out.ipynb")
    command(tmp_path, "papermill", "out.ipynb", "out2.ipynb", "--engine", "wfkernel", "--no-progress-bar", code=75)
    assert ran(tmp_path) == ["load", "total", "approve"]
    assert "loading month 1" in texts(tmp_path / "out2.ipynb")["load"]


def test_every_run_starts_afresh(tmp_path, notebook):
    for _ in range(2):
        wf(tmp_path, "run", "nb.ipynb", code=75)
    assert ran(tmp_path) == ["load", "total", "approve"] * 2
    assert len(json.loads(wf(tmp_path, "ls", "--json").stdout)) == 2


def test_a_notebook_without_load_ext_works_too(tmp_path):
    write(tmp_path / "nb.ipynb", cells()[1:])
    wf(tmp_path, "run", "nb.ipynb", code=75)


def test_ls_and_show_read_well(tmp_path, notebook):
    wf(tmp_path, "run", "nb.ipynb", code=75)
    listed = wf(tmp_path, "ls").stdout
    assert "suspended" in listed
    assert "nb" in listed
    shown = wf(tmp_path, "show").stdout
    for word in ("load", "total", "approve", "publish 3?", "wf resume"):
        assert word in shown


def test_sql(tmp_path, notebook):
    wf(tmp_path, "run", "nb.ipynb", code=75)
    rows = json.loads(wf(tmp_path, "db", "sql", "SELECT step, status FROM steps", "--json").stdout)
    assert rows[:3] == [
        {"step": "load", "status": "success"}, {"step": "total", "status": "success"},
        {"step": "approve", "status": "suspended"},
    ]  # fmt: skip
    assert "wf: the query failed" in wf(tmp_path, "db", "sql", "SELECT nothing", code=2).stderr


class TestMistakes:
    """Status 2, one line, nothing is executed."""

    def refused(self, tmp_path: Path, *arguments: str) -> str:
        done = wf(tmp_path, *arguments, code=2)
        assert "Traceback" not in done.stderr
        return done.stderr

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            (
                "%%step load --retires 1\nx = 1",
                "cell 4: %%step: there is no option '--retires', did you mean '--retries'?",
            ),
            ("%%step total\nx = 1", "there are two steps named 'total' (cells 4 and 5)"),
            ("%%step load\nx = = 1", "step 'load' does not parse: invalid syntax (line 2)"),
            ("%%step load\ndata = nowhere", "reads 'nowhere', which no step or cell defines"),
            ("%%step load\ndata = total", "the steps need each other: load -> total -> load"),
        ],
    )
    def test_in_a_definition(self, tmp_path, source, words):
        made = cells()
        made[3].source = source
        write(tmp_path / "nb.ipynb", made)
        assert words in self.refused(tmp_path, "run", "nb.ipynb")
        assert not (tmp_path / "ran").exists()

    def test_an_unknown_parameter(self, tmp_path, notebook):
        assert "nb.ipynb has no parameter 'mnth', did you mean 'month'? it declares month" in self.refused(
            tmp_path, "run", "nb.ipynb", "-p", "mnth=3"
        )

    def test_a_missing_notebook(self, tmp_path):
        assert "there is no notebook gone.ipynb" in self.refused(tmp_path, "run", "gone.ipynb")

    def test_an_unknown_run(self, tmp_path):
        assert "there is no run 'nope'" in self.refused(tmp_path, "resume", "nope", "--data", "{}")

    def test_an_answer_that_is_missing_or_not_json(self, tmp_path, notebook):
        wf(tmp_path, "run", "nb.ipynb", code=75)
        assert "waits for an answer to step 'approve'" in self.refused(tmp_path, "resume", "latest")
        assert "--data is not JSON" in self.refused(tmp_path, "resume", "latest", "--data", "{")

    def test_a_finished_run(self, tmp_path, notebook):
        wf(tmp_path, "run", "nb.ipynb", code=75)
        wf(tmp_path, "resume", "latest", "--data", '{"approve": true}')
        assert "is finished (success)" in self.refused(tmp_path, "resume", "latest", "--data", '{"approve": true}')


def test_killed_with_its_kernel_it_is_interrupted_and_resumes(tmp_path):
    made = cells()
    made[4].source = (
        f"%%step total\n{RAN.format('total')}\nimport os, time\n"
        "if not os.path.exists('slept'):\n    open('slept', 'w').write(str(os.getpid()))\n    time.sleep(60)\ntotal = sum(data)"
    )
    write(tmp_path / "nb.ipynb", made)
    process = subprocess.Popen([sys.executable, "-m", "wfkernel", "run", "nb.ipynb"], cwd=tmp_path)
    while not (tmp_path / "slept").exists() or not (tmp_path / "slept").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    os.kill(int((tmp_path / "slept").read_text()), signal.SIGKILL)
    process.wait()

    assert "interrupted" in wf(tmp_path, "ls").stdout
    shown = json.loads(wf(tmp_path, "show", "--json").stdout)
    assert shown["interrupted"] is True
    wf(tmp_path, "resume", shown["run_id"], code=75)
    assert ran(tmp_path) == ["load", "total", "total", "approve"]


def test_a_kernel_that_dies_fails_the_run_and_it_resumes(tmp_path):
    made = cells()
    made[4].source = (
        f"%%step total\n{RAN.format('total')}\nimport os\n"
        "if not os.path.exists('died'):\n    open('died', 'w').close()\n    os._exit(9)\ntotal = sum(data)"
    )
    write(tmp_path / "nb.ipynb", made)
    failed = json.loads(wf(tmp_path, "run", "nb.ipynb", "-o", "out.ipynb", "--json", code=1).stdout)
    assert "kernel died" in failed["error"]["message"]
    assert statuses(tmp_path / "out.ipynb")["publish"] == "pending"
    wf(tmp_path, "resume", failed["run_id"], code=75)
    assert ran(tmp_path) == ["load", "total", "total", "approve"]


def test_two_resumes_at_once_exactly_one_wins(tmp_path, notebook):
    run_id = json.loads(wf(tmp_path, "run", "nb.ipynb", "--json", code=75).stdout)["run_id"]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "wfkernel", "resume", run_id, "--data", '{"approve": true}'],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    ended = [(p.communicate(timeout=180), p.returncode) for p in both]
    assert sorted(code for _, code in ended) == [0, 2], ended
    assert ran(tmp_path).count("publish") == 1
    loser = next(streams[1] for streams, code in ended if code == 2)
    assert "running in another process" in loser or "is finished" in loser


def test_the_store_is_usable_while_a_run_is_going_on(tmp_path, notebook):
    process = subprocess.Popen(
        [sys.executable, "-m", "wfkernel", "run", "nb.ipynb"], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        store = Store(Path(os.environ["WFKERNEL_STORE"]))
        while process.poll() is None:
            store.runs()
        store.close()
    finally:
        process.wait(timeout=180)
    assert process.returncode == 75


def test_a_kernel_that_does_not_answer_is_replaced_before_anything_is_executed(tmp_path, monkeypatch):
    shim = tmp_path / "shim.py"
    shim.write_text(
        "import pathlib, sys, time\n"
        f"first = pathlib.Path({str(tmp_path / 'first')!r})\n"
        "if not first.exists():\n"
        "    first.touch()\n"
        "    time.sleep(3600)\n"
        "from ipykernel.kernelapp import launch_new_instance\n"
        "launch_new_instance()\n"
    )
    spec = tmp_path / "jupyter" / "kernels" / "silent" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, str(shim), "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Silent", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    made = [cell for cell in cells() if cell.id in ("ext", "params", "load")]
    kernelspec = {"name": "silent", "display_name": "Silent", "language": "python"}
    nbformat.write(N.new_notebook(cells=made, metadata={"kernelspec": kernelspec}), tmp_path / "nb.ipynb")
    options = ("--engine", "wfkernel", "--start-timeout", "15")
    said = command(tmp_path, "papermill", "nb.ipynb", "out.ipynb", *options).stderr
    assert "didn't respond in 15 seconds: another one is started" in said
    assert (tmp_path / "first").exists()
    assert ran(tmp_path) == ["load"]
