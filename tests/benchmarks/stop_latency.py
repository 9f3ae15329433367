"""How soon Suspend and Cancel act while a cell keeps the kernel busy, on each ipykernel that is promised.

    python -m tests.benchmarks.stop_latency [--write]

Real kernels, each ipykernel unpacked for itself, and the real button: JupyterLab and Notebook 7 in Chromium, with their
subshells for widgets on (their default) and off. A cell sleeps for a minute, loops tightly or awaits; from the command sent on
the control channel until the cell has ended, and from the click on the run view's button until the event that ends the
run is written to the store. The target is 200 ms. `--write` puts the table into the README.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import BrowserContext, Locator, expect, sync_playwright

from tests.benchmarks.latencies import quantiles
from tests.browser.conftest import CHROMIUM, FLAGS, Lab, LabServer, Notebook
from tests.front_ends import FRONT_ENDS, VERSIONS, unpack, write_into_readme
from tests.notebook.conftest import Kernel
from tests.notebook.test_stops import begun
from wfkernel.store.store import Store

STOPS: Final = 3
"""Stops of each kind, in each place."""
BODIES: Final = "time.sleep(60)", "while True: pass", "await asyncio.sleep(60)"
OPS: Final = {"suspend": ("Suspend", "suspended"), "cancel": ("Cancel", "canceled")}
APPS: Final[dict[str, Any]] = dict(zip(FRONT_ENDS, ("lab/tree", "notebooks"), strict=True))
MARK: Final = "stop latency: python -m tests.benchmarks.stop_latency --write"


def stops(kernel: Kernel, body: str, op: str) -> Iterator[float]:
    """Seconds of each stop of a step with `body`, a run each."""
    for n in range(STOPS):
        kernel.run("%workflow new")
        cell = kernel.send(f"%%step s{n}\n{body}", cell_id=f"s{n}")
        begun(kernel, f"s{n}")
        sent = time.perf_counter()
        assert kernel.control(op=op)["ok"]
        result = kernel.wait(cell, timeout=20)
        yield time.perf_counter() - sent
        assert result.error is not None
        assert result.error[0] == "RunStopped"


def in_kernel(*, subshells: bool) -> list[float]:
    """Stops by command, all kinds."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(
            Path(folder), live=True, WFKERNEL_STORE=f"{folder}/store.duckdb", WFKERNEL_KEY_FILE=f"{folder}/key"
        )
        try:
            for _ in range(2 * subshells):
                kernel.client.control_channel.send(kernel.client.session.msg("create_subshell_request"))
            kernel.run("import asyncio, time")
            return [taken for op in OPS for body in BODIES for taken in stops(kernel, body, op)]
        finally:
            kernel.close()


def click_time(button: Locator) -> float:
    """Click, as a person does; the moment the browser got the click, in seconds since the epoch."""
    button.evaluate(
        """node => node.addEventListener('click',
            event => { window.clicked = (performance.timeOrigin + event.timeStamp) / 1000 }, {capture: true, once: true})"""
    )
    button.click()
    return float(button.page.evaluate("window.clicked"))


def in_browser(notebook: Notebook, store: Store, *, subshells: bool) -> Iterator[float]:
    """Stops by a click on the run view's button, all kinds."""
    notebook.page.evaluate(
        "how => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.commsOverSubshells = how }",
        "perCommTarget" if subshells else "disabled",
    )
    view = notebook.cell(1).locator(".wf-run")
    for name, status in OPS.values():
        for n, body in enumerate(BODIES * STOPS):
            notebook.run(1, "%workflow new\n%workflow")
            notebook.wait_idle()
            step = f"busy{n}"
            notebook.run(2, f"%%step {step}\n{body}")
            expect(view.get_by_role("button", name=f"step {step}, running")).to_be_visible()
            clicked = click_time(view.get_by_role("button", name=name, exact=True))
            expect(view.get_by_role("status").first).to_contain_text(status)
            notebook.wait_idle()
            [run] = store.runs(limit=1)
            ended = [event.ts for event in store.events(run["run_id"]) if event.payload.get("status") == status]
            yield ended[-1] - clicked


@contextmanager
def first_on_path(path: Path) -> Iterator[None]:
    """Processes started meanwhile find what lies in `path` first."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), before]))
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before


def in_front_ends(folder: Path, browser: BrowserContext) -> dict[tuple[str, bool], list[float]]:
    """(front end, subshells on) -> stops, for the ipykernel first on the path."""
    server = LabServer(folder)
    store = Store(server.notebooks / ".wfkernel" / "store.duckdb")
    found = {}
    try:
        server.wait()
        for front_end, app in APPS.items():
            page = browser.new_page()
            notebook = Lab(server, page).open(["", "", ""], app)
            notebook.run(0, "%load_ext wfkernel\nimport asyncio, time")
            notebook.wait_idle()
            for subshells in (True, False):
                found[front_end, subshells] = list(in_browser(notebook, store, subshells=subshells))
            page.close()
    finally:
        store.close()
        server.stop()
    return found


def main() -> None:
    os.environ.pop("JPY_SESSION_NAME", None)
    rows: dict[str, list[str]] = {}

    def tell(version: str, what: str, seconds: list[float]) -> None:
        median, high = quantiles(seconds)
        print(
            f"ipykernel {version}: {what}: median {median:.0f} ms, p95 {high:.0f} ms ({len(seconds)} stops)", flush=True
        )
        rows.setdefault(what, []).append(f"{median:.0f} ms ({high:.0f})")

    words = {True: "subshells on", False: "subshells off"}
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            f"{temporary}/profile", executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1200, "height": 1000}
        )
        for version in VERSIONS:
            path = unpack(version, Path(temporary) / version)
            with first_on_path(path):
                for subshells in (True, False):
                    taken = in_kernel(subshells=subshells)
                    tell(version, f"command to the end of the cell, {words[subshells]}", taken)
                folder = Path(temporary) / f"lab-{version}"
                folder.mkdir()
                for (front_end, subshells), taken in in_front_ends(folder, browser).items():
                    tell(version, f"click in {front_end} to the event in the store, {words[subshells]}", taken)
        browser.close()
    heads = [f"ipykernel {version.rpartition('.')[0]}" for version in VERSIONS]
    lines = [
        f"| Suspend or Cancel while a cell sleeps, loops or awaits | {' | '.join(heads)} |",
        "|---|" + "---|" * len(heads),
    ]
    made = "\n".join(lines + [f"| {what} | {' | '.join(cells)} |" for what, cells in rows.items()])
    print(made)
    if "--write" in sys.argv:
        write_into_readme(MARK, made)


if __name__ == "__main__":
    main()
