"""What the live view costs the kernel, and how soon it answers to the person who uses it.

A run writes 1,000 lines a second for ten seconds, with and without a view. The kernel is a real one with a live front
end's requests; its own CPU clock is read around the step. Printed is the difference, as part of one core.

A run of 300 steps that wrote 10,200 lines is shown in JupyterLab in Chromium: how long from a click or a key until the
frame with what it changes is painted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS, TIMEOUT, Lab, LabServer
from tests.browser.test_live_runs import MANY, STEPS
from tests.notebook.conftest import Kernel

SECONDS: Final = 10
BODY: Final = f"""
import time
begun, cpu = time.monotonic(), time.process_time()
for n in range(1000 * {SECONDS}):
    write(f"line {{n}} of a log as programs write it, some eighty characters long altogether")
    rest = begun + (n + 1) / 1000 - time.monotonic()
    if rest > 0:
        time.sleep(rest)
used = (time.process_time() - cpu) / (time.monotonic() - begun)
"""


def used(view: bool) -> float:
    """The part of a core the kernel uses while the step writes."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(Path(folder), live=True)
        try:
            kernel.run("from wfkernel import write")
            kernel.run("%%step first\nx = 1")
            if view:
                kernel.run("%workflow")
            kernel.run("%%step noisy" + BODY, timeout=60)
            return float(kernel.value("used"))
        finally:
            kernel.close()


ACTS: Final = {
    "opens the log": "[...view.querySelectorAll('[role=tab]')].find(one => one.textContent.startsWith('Log')).click()",
    "types into the search": """{
        const search = view.querySelector('.wf-log:not([hidden]) input');
        search.value = `task ${n} writes`;
        search.dispatchEvent(new Event('input', {bubbles: true}));
    }""",
    "scrolls the log": "view.querySelector('.wf-log:not([hidden]) .wf-window').scrollTop = 9000 * n",
    "opens the timeline": "[...view.querySelectorAll('[role=tab]')].find(one => one.textContent === 'Timeline').click()",
    "opens the graph": "[...view.querySelectorAll('[role=tab]')].find(one => one.textContent === 'Graph').click()",
    "opens a step": "view.querySelectorAll('.wf-box')[n * 7].dispatchEvent(new MouseEvent('click', {bubbles: true}))",
}
"""What a person does -> the same as a script, the `n`-th time."""


def answers() -> dict[str, list[float]]:
    """What a person does -> milliseconds until the next frame has been painted, for ten times."""
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        (Path(temporary) / "lab").mkdir()
        server = LabServer(Path(temporary) / "lab")
        browser = playwright.chromium.launch_persistent_context(
            f"{temporary}/profile", executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1200, "height": 1000}
        )
        try:
            server.wait()
            notebook = Lab(server, browser.new_page()).open([STEPS, MANY, "await large.start(1)\nprint('over')"])
            notebook.run_all()
            view = notebook.cell(1).locator(".wf-run")
            expect(view.get_by_role("status").first).to_contain_text("300 of 300", timeout=TIMEOUT)
            view.scroll_into_view_if_needed()
            return {
                act: view.evaluate(
                    f"""async view => {{
                        const taken = [];
                        for (let n = 1; n <= 10; n++) {{
                            await new Promise(requestAnimationFrame);
                            const begun = performance.now();
                            {script};
                            await new Promise(requestAnimationFrame);
                            await new Promise(resolve => setTimeout(resolve));
                            taken.push(performance.now() - begun);
                        }}
                        return taken;
                    }}"""
                )
                for act, script in ACTS.items()
            }
        finally:
            browser.close()
            server.stop()


def main() -> None:
    pairs = [(used(False), used(True)) for _ in range(3)]
    without = sorted(one for one, _ in pairs)[1]
    with_view = sorted(other for _, other in pairs)[1]
    print(f"1,000 lines a second: {without:.1%} of a core without a view, {with_view:.1%} with one")
    print(f"the view: {with_view - without:.1%} of a core")
    for act, taken in answers().items():
        print(f"300 steps, 10,000 lines, a person {act}: {sorted(taken)[5]:.0f} ms, at most {max(taken):.0f} ms")


if __name__ == "__main__":
    main()
