"""A secret in an answer reaches the step that asked, also after a crash, and nothing else."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys

import nbformat

SECRET = "correct-horse-battery"
ASK = (
    "%%step login\nfrom pydantic import BaseModel, SecretStr\nfrom wfkernel import suspend\n"
    "class Login(BaseModel):\n    user: str\n    password: SecretStr\n"
    "answer = suspend(Login, 'who are you?')\nlength = len(answer.password.get_secret_value())\nprint(answer)"
)
ANSWER = {"user": "ann", "password": SECRET}


def holds_secret(content: bytes) -> bool:
    """Whether the secret stands in it, plainly or in any long enough piece of base64."""
    if SECRET.encode() in content:
        return True
    pieces = re.findall(rb"[A-Za-z0-9+/_-]{24,}={0,2}", content)
    return any(SECRET.encode() in base64.urlsafe_b64decode(piece[: len(piece) // 4 * 4]) for piece in pieces)


def files_with_secret(folder) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and holds_secret(file.read_bytes())]


def test_the_check_of_these_tests_can_fail(tmp_path):
    (tmp_path / "plain").write_text(f"x{SECRET}x")
    (tmp_path / "coded").write_bytes(b'"' + base64.b64encode(b"12345" + SECRET.encode()) + b'"')
    assert len(files_with_secret(tmp_path)) == 2


def test_an_answered_step_gets_its_secret_after_a_crash_and_asks_again_without_the_key(kernel, tmp_path):
    key = tmp_path / "key"
    k = kernel(WFKERNEL_KEY_FILE=str(key))
    assert k.run(ASK, cell_id="a").error[0] == "RunSuspended"
    assert k.control(op="resume", step="login", data=ANSWER)["ok"]
    k.kill()  # the answer is given, the step has not run
    assert files_with_secret(tmp_path) == []

    kept = key.read_text()
    key.write_text("0" * 64)
    k = kernel(WFKERNEL_KEY_FILE=str(key))
    refused = k.run(ASK, cell_id="a")
    assert refused.error[0] == "RunSuspended"
    assert f"sealed with another key than the one in {key}" in refused.text
    assert k.control(op="resume", step="login", data=ANSWER)["ok"]
    assert k.run(ASK, cell_id="a").status == "ok"
    assert k.value("length") == str(len(SECRET))
    k.kill()

    k = kernel(WFKERNEL_KEY_FILE=str(key))
    assert k.run(ASK, cell_id="a").restored
    assert k.value("answer.password.get_secret_value()") == repr(SECRET)
    k.close()
    assert files_with_secret(tmp_path) == []
    assert kept != key.read_text()


def test_no_view_no_export_and_no_notebook_shows_it(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in ("%load_ext wfkernel", ASK)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "nb.ipynb")
    environment = {**os.environ, "WFKERNEL_KEY_FILE": str(tmp_path / "key")}

    def wf(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wfkernel", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, input=stdin)

    assert wf("run", "nb.ipynb", "-o", "out.ipynb", "--run-id", "r").returncode == 75
    done = wf("resume", "r", "--data", f'{{"user": "ann", "password": "{SECRET}"}}')
    assert done.returncode == 0, done.stderr
    events = wf("events", "r", "--json")
    assert '"password": "**********"' in events.stdout
    for shown in (done, events, wf("show", "r"), wf("show", "r", "--json"), wf("history", "r"), wf("logs", "r")):
        assert not holds_secret((shown.stdout + shown.stderr).encode()), shown.args
    assert files_with_secret(tmp_path) == []
    assert "SecretStr('**********')" in (tmp_path / "out.ipynb").read_text()
