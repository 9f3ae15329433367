"""Help, completion and the kernelspec: what a front end asks the kernel about our magics, in a real kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from tests.notebook.conftest import Kernel

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for all questions: two steps, a composed workflow, a run in its store."""
    folder = tmp_path_factory.mktemp("magics")
    started = Kernel(folder, notebook=None, WFKERNEL_STORE=str(folder / "store.duckdb"))
    started.run("import json\nflights = [1, 2]\ndef threshold(alpha, beta=2):\n    'Doc of threshold.'")
    started.run("%%step load-data\nrows = flights")
    started.run("%%step ask\nfrom wfkernel import suspend\nanswer = suspend(message='go on?')")
    started.run("%%workflow nightly\nthen(ask)")
    yield started
    started.close()


def complete(kernel: Kernel, cell: str) -> list[str]:
    """What Tab offers at the ``|`` in the cell, as a front end asks for it."""
    at = cell.index("|")
    reply = kernel.client.complete(cell.replace("|", ""), at, reply=True, timeout=30)["content"]
    assert reply["status"] == "ok"
    return list(reply["matches"])


def inspect(kernel: Kernel, name: str) -> str:
    reply = kernel.client.inspect(name, len(name), reply=True, timeout=30)["content"]
    return str(reply["data"].get("text/plain", ""))


@pytest.mark.parametrize(
    ("cell", "offered"),
    [
        ("%%st|", ["%%step"]),
        ("%%step clean --re|", ["--retries"]),
        ("%%step clean --worker |", ["dask", "inline", "processes", "threads"]),
        ("%%step clean --retries 2 --worker pro|", ["processes"]),
        ("%%step clean --in fli|", ["flights"]),
        ("%%step clean --when len(fli|", ["flights"]),
        ("%%step loa|", ["load-data"]),
        ("%workflow re|", ["replay", "restore", "resume"]),
        ("%workflow resume --step |", ["ask"]),
        ("%workflow run ni|", ["nightly"]),
        ("%workflow show la|", ["latest"]),
        ("%context se|", ["search"]),
        ("%context search words --ru|", ["--run"]),
        ("%%workflow weekly\nthen(load|", ["load_data"]),
        ("%%wfsql\nSELECT step FROM step_v|", ["step_values"]),
    ],
)
def test_tab_offers_what_is_accepted_there(kernel, cell, offered):
    assert complete(kernel, cell) == offered


def test_tab_offers_checkpoints(kernel):
    assert kernel.run("%workflow checkpoint cleaned").status == "ok"
    assert complete(kernel, "%workflow restore cl|") == ["cleaned"]


def test_tab_offers_options_once_and_run_ids(kernel):
    assert "--retries" not in complete(kernel, "%%step clean --retries 2 --|")
    run_id = kernel.value("__import__('wfkernel').open_store().find('latest')").strip("'")
    assert run_id in complete(kernel, "%workflow show |")
    assert complete(kernel, f"%workflow show {run_id[:9]}|") == [run_id]


@pytest.mark.parametrize(
    ("cell", "offered"),
    [
        ("%%step clean --retries 2\nflig|", "flights"),
        ("%%step clean\njson.du|", "json.dumps"),
        ("%%step clean\nimport os\nlocal_name = 1\nlocal_n|", "local_name"),
        ("x = 1\nflig|", "flights"),
    ],
)
def test_the_body_of_a_step_completes_as_any_cell(kernel, cell, offered):
    found = complete(kernel, cell)
    assert any(offered.endswith(match) for match in found)
    assert "--retries" not in found


def test_help_names_every_option_with_its_meaning(kernel):
    for option in ("--retries N", "--worker", "--foreach", "execute even if code and inputs did not change"):
        assert option in inspect(kernel, "%%step")
    for line in ("%workflow show [RUN]", "begin a new run", "--data", "the answer"):
        assert line in inspect(kernel, "%workflow")
    assert "Doc of threshold." in str(
        kernel.client.inspect("%%step a\nthreshold", 14, reply=True, timeout=30)["content"]["data"]
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%workflow resume --dat 1", "%workflow resume: there is no option '--dat', did you mean '--data'?"),
        ("%workflow shwo", "is not one of new, show, list, run"),
        ("%workflow show a b", "%workflow show: 'b' is one word too many. usage: %workflow show [RUN]"),
        ("%workflow resume --data", "%workflow resume: --data needs a value: --data JSON"),
        ("%workflow show 'a", "No closing quotation"),
    ],
)
def test_a_mistake_points_at_the_option(kernel, line, told):
    result = kernel.run(line)
    assert result.error is not None
    assert result.error[0] == "DefinitionError"
    assert told in result.text
    assert len(result.text.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Jupyter data folder of a wheel built from this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, REPOSITORY],
        check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return next(folder.glob("*.data")) / "data" / "share" / "jupyter"


def test_the_wheel_brings_a_kernelspec_whose_kernel_needs_no_load_ext(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(installed))
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter_client.kernelspecapp", "list", "--json"], capture_output=True, check=True
    )
    assert json.loads(listed.stdout)["kernelspecs"]["wfkernel"]["spec"]["display_name"] == "Python 3 (wfkernel)"
    manager = KernelManager(kernel_name="wfkernel", transport="ipc", ip=str(tmp_path / "k"))
    manager.start_kernel(cwd=str(tmp_path))
    try:
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        reply = client.execute("%%step a\nx = 1", reply=True, timeout=60)["content"]
        assert reply["status"] == "ok", reply
        shown = client.execute("state = %workflow list", user_expressions={"x": "x"}, reply=True, timeout=60)["content"]
        assert shown["user_expressions"]["x"]["data"]["text/plain"] == "1"
        client.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)
