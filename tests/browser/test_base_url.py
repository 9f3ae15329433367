"""Behind JupyterHub a server lives below a prefix: nothing of ours may ask for an address without it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.conftest import Lab, LabServer

pytestmark = pytest.mark.browser
PREFIX = "/user/x/"


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer(tmp_path_factory.mktemp("hub"), base_url=PREFIX)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def test_every_request_keeps_to_the_prefix(lab_server: LabServer, chromium: BrowserContext) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on(
        "response", lambda r: failed.append(f"{r.status} {r.url}") if r.status >= 400 and "wfkernel" in r.url else None
    )
    notebook = Lab(lab_server, page).open(["%load_ext wfkernel", "%%step a\nx = 1", "%workflow"])
    notebook.run_all()
    notebook.wait_output(2, "success")
    assert not failed
    outside = [
        url for url in asked
        if (parts := urlsplit(url)).scheme in ("http", "https", "ws", "wss") and not parts.path.startswith(PREFIX)
    ]  # fmt: skip
    assert outside == []
    assert any("/extensions/wfkernel/static/" in url for url in asked)
