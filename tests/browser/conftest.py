"""A real JupyterLab in a real browser.

The fixture `lab` is a JupyterLab server of our own with a fresh page in headless Chromium: `lab.open(cells)` writes a
notebook and opens it, and the `Notebook` it returns runs cells and reads outputs the way a person would. The server lives
as long as the test module, the browser as long as the tests of this folder; their settings, kernels' home, notebooks and
profile lie in temporary folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 120_000
"""Milliseconds to wait for a page or a kernel: generous, since only a failing test waits that long."""
expect.set_options(timeout=TIMEOUT / 4)

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
    # On a busy machine the kernel's first completion takes longer than the second JupyterLab grants it.
    "@jupyterlab/completer-extension/manager": {"providerTimeout": TIMEOUT},
}


def _with_extension(folder: Path) -> Path:
    """A Jupyter data folder with the lab extension as it lies in this checkout."""
    (folder / "labextensions").mkdir(parents=True)
    (folder / "labextensions" / "wfkernel").symlink_to(REPOSITORY / "labextension" / "built")
    return folder


class LabServer:
    """One JupyterLab process, listening on a free port of this machine only."""

    def __init__(self, folder: Path, base_url: str = "/") -> None:
        self.notebooks = folder / "notebooks"
        self.token = secrets.token_hex(16)
        self.url = ""
        settings = folder / "settings"
        for plugin, values in SETTINGS.items():
            file = settings / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        for name in ("notebooks", "home", "config", "data", "runtime"):
            (folder / name).mkdir()
        environment = os.environ | {
            "HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "JUPYTER_TOKEN": self.token,
            "JUPYTER_PATH": str(_with_extension(folder / "share")),
        }
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *(
                "--ServerApp.ip=127.0.0.1",
                "--ServerApp.port=0",
                f"--ServerApp.base_url={base_url}",
                f"--ServerApp.root_dir={self.notebooks}",
            ),
            *("--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"),
        ]
        self._runtime = folder / "runtime"
        self._log = folder / "server.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True
            )

    def wait(self) -> None:
        """Return when the server answers."""
        deadline = time.monotonic() + TIMEOUT / 1000
        told = self._runtime / f"jpserver-{self._process.pid}.json"
        while time.monotonic() < deadline and self._process.poll() is None:
            # The server writes down which port it got a moment before it listens there.
            if told.exists() and (text := told.read_text()):
                server = json.loads(text)
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server["port"]), 5):
                    self.url = server["url"].rstrip("/")
                    return
            time.sleep(0.1)
        raise RuntimeError(f"JupyterLab did not start:\n{self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End the server, which ends its kernels."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Notebook:
    """A notebook open in the page. Cells are counted from 0."""

    def __init__(self, page: Page, path: Path, app: str = "lab/tree") -> None:
        self.page, self.path, self.app = page, path, app

    def command(self, command: str, **arguments: Any) -> Any:
        """Run a JupyterLab command and wait until it is done."""
        return self.page.evaluate(
            "([command, args]) => window.jupyterapp.commands.execute(command, args).then(() => null)",
            [command, arguments],
        )

    def run_all(self) -> None:
        """Run > Run All Cells, and wait until the kernel has nothing more to do."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        self.wait_idle()

    def start(self, index: int = 0) -> None:
        """Run the cell and all cells below it, without waiting for them."""
        self.page.evaluate(
            """index => {
                window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
                window.jupyterapp.commands.execute('notebook:run-all-below');
            }""",
            index,
        )

    def run(self, index: int, source: str) -> Locator:
        """Give a cell this source and run it, without waiting for its end; returns the cell."""
        self.page.evaluate(
            """([index, source]) => {
                const panel = window.jupyterapp.shell.currentWidget;
                panel.content.activeCellIndex = index;
                panel.content.activeCell.model.sharedModel.setSource(source);
                window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            [index, source],
        )
        return self.cell(index)

    def wait_idle(self) -> None:
        """Wait until no cell is running or queued and the kernel is idle."""
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const cells = [...panel.content.widgets];
                return panel.sessionContext.session?.kernel?.status === 'idle'
                    && !cells.some(cell => cell.model.executionState === 'running');
            }""",
            timeout=TIMEOUT,
        )

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> str:
        """The text of a cell's outputs as a person sees it."""
        return self.cell(index).locator(".jp-Cell-outputArea").inner_text()

    def wait_output(self, index: int, text: str) -> None:
        """Wait until the cell's outputs contain `text`."""
        area = self.cell(index).locator(".jp-Cell-outputArea")
        area.get_by_text(text).first.wait_for(timeout=TIMEOUT)

    def prompts(self) -> list[int | None]:
        """The execution counts of the code cells."""
        counts: list[int | None] = self.page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.widgets]
                .filter(cell => cell.model.type === 'code').map(cell => cell.model.executionCount ?? null)"""
        )
        return counts

    def save(self) -> nbformat.NotebookNode:
        """Save, and read what was saved."""
        self.command("docmanager:save")
        return nbformat.read(self.path, as_version=4)


class Lab:
    """JupyterLab in one page."""

    def __init__(self, server: LabServer, page: Page) -> None:
        self.server, self.page = server, page

    def open(self, cells: list[str], app: Literal["lab/tree", "notebooks"] = "lab/tree") -> Notebook:
        """Write a notebook with these code cells and open it; `app` is JupyterLab or Notebook 7."""
        path = self.server.notebooks / f"notebook-{secrets.token_hex(4)}.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, path)
        return self.reopen(path, app)

    def reopen(self, path: Path, app: Literal["lab/tree", "notebooks"] = "lab/tree") -> Notebook:
        """Open a notebook file that is there already, and wait for its kernel."""
        self.visit(path, app)
        opened = Notebook(self.page, path, app)
        opened.wait_idle()
        return opened

    def visit(self, path: Path, app: str = "lab/tree") -> None:
        """Open a notebook file that is there already, whatever its kernel does."""
        self.page.goto(f"{self.server.url}/{app}/{path.name}?reset&token={self.server.token}")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=TIMEOUT)

    def theme(self, name: str) -> None:
        """Change the theme, for example to `JupyterLab Dark`."""
        self.page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        light = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached", timeout=TIMEOUT)


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer(tmp_path_factory.mktemp("lab"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser with a profile, as people have one: what it has compiled of JupyterLab, it does not compile anew for the
    next page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1200, "height": 1000},
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def lab(lab_server: LabServer, chromium: BrowserContext) -> Iterator[Lab]:
    """JupyterLab in a fresh browser page; see `Lab` and `Notebook`."""
    page = chromium.new_page()
    try:
        yield Lab(lab_server, page)
    finally:
        page.close()
