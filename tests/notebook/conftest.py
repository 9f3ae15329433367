"""A real kernel, driven the way a front end or a headless client drives it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    """What executing one cell gave."""

    status: str
    outputs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything a person would read, as plain text; of a display that was updated, its last state."""
        parts = []
        for output in self.outputs:
            content = output["content"]
            match output["type"]:
                case "stream":
                    parts.append(content["text"])
                case "error":
                    parts.append("\n".join(content["traceback"]))
                case _:
                    parts.append(content["data"].get("text/plain", ""))
        return ANSI.sub("", "\n".join(parts))

    @property
    def error(self) -> tuple[str, str] | None:
        """(name, text) of the error the cell ended with."""
        errors = [o["content"] for o in self.outputs if o["type"] == "error"]
        assert len(errors) <= 1, "an error must be shown once"
        return (errors[0]["ename"], errors[0]["evalue"]) if errors else None

    @property
    def restored(self) -> bool:
        return any(o["content"].get("metadata", {}).get("wfkernel", {}).get("restored") for o in self.outputs)


class Kernel:
    """A kernel process with the extension loaded."""

    def __init__(
        self, folder: Path, *, notebook: str | None = "analysis.ipynb", live: bool = False, **env: str
    ) -> None:
        self._live = live
        self.meanwhile: list[dict[str, Any]] = []
        """Messages that arrived for other cells than the one waited for."""
        environment = {**os.environ, **env}
        if notebook:
            environment["JPY_SESSION_NAME"] = str(folder / notebook)
        # Not TCP: its ports are chosen before the kernel takes them, and now and then another process is quicker.
        self._sockets = tempfile.TemporaryDirectory(prefix="wf")
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{self._sockets.name}/k")
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client: BlockingKernelClient = self.manager.blocking_client()
        self.client.start_channels()
        self._wait_for_ready()
        loaded = self.run("%load_ext wfkernel")
        assert loaded.status == "ok", loaded.text

    def _wait_for_ready(self) -> None:
        """Return once the kernel replies and what it publishes arrives here. The client's own way ends with a pause."""
        deadline = time.monotonic() + 60
        while True:
            assert self.manager.is_alive(), "the kernel died"
            assert time.monotonic() < deadline, "the kernel does not reply"
            asked = self.client.kernel_info()
            with contextlib.suppress(queue.Empty):
                while self.client.get_iopub_msg(timeout=1)["parent_header"].get("msg_id") != asked:
                    pass
                return

    def run(self, source: str, *, cell_id: str | None = None, timeout: float = 60) -> Result:
        """Execute a cell and wait for its end."""
        return self.wait(self.send(source, cell_id=cell_id), timeout=timeout)

    def send(self, source: str, *, cell_id: str | None = None) -> str:
        """Start executing a cell; returns the message id for `wait`."""
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {},
                   "allow_stdin": False, "stop_on_error": True}  # fmt: skip
        message = self.client.session.msg("execute_request", content)
        if self._live or cell_id:
            message["metadata"]["cellId"] = cell_id or f"cell-{abs(hash(source))}"
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def wait(self, message_id: str, *, timeout: float = 60) -> Result:
        result = Result("")
        displays: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != message_id:
                self.meanwhile.append(message)
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            shown = (content.get("transient") or {}).get("display_id")
            if kind == "update_display_data" and shown in displays:
                displays[shown]["content"] = content
            elif kind in ("stream", "display_data", "execute_result", "error"):
                output = {"type": kind, "content": content}
                result.outputs.append(output)
                if shown:
                    displays[shown] = output
        result.status = self._reply(message_id)["status"]
        return result

    def late(self, message_id: str) -> list[str]:
        """What came for a cell after it had ended: texts, MIME types of what has no text, ``clear``."""
        found = []
        for message in self.meanwhile:
            if message["parent_header"].get("msg_id") == message_id:
                content = message["content"]
                if message["msg_type"] == "stream":
                    found.append(content["text"])
                elif message["msg_type"] == "clear_output":
                    found.append("clear")
                elif message["msg_type"] in ("display_data", "execute_result"):
                    found += [kind if "image" in kind else text for kind, text in content["data"].items()]
        return found

    def _reply(self, message_id: str) -> dict[str, Any]:
        while True:
            reply = self.client.get_shell_msg(timeout=30)
            if reply["parent_header"].get("msg_id") == message_id:
                return dict(reply["content"])

    def control(self, **command: Any) -> dict[str, Any]:
        """Give a command on the kernel's control channel, where a running cell does not delay it; returns the reply."""
        request = self.client.session.msg("wfkernel_request", command)
        self.client.control_channel.send(request)
        while True:
            reply = self.client.get_control_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == request["header"]["msg_id"]:
                return dict(reply["content"])

    def interrupt(self) -> None:
        """What the square button does."""
        self.manager.interrupt_kernel()

    def value(self, expression: str) -> str:
        """`repr` of an expression in the kernel."""
        result = self.run(f"print(repr(({expression})))")
        assert result.status == "ok", result.text
        return result.text.strip()

    def kill(self) -> None:
        """SIGKILL: nothing in the kernel gets a chance to tidy up."""
        pid = self.manager.provisioner.pid
        os.kill(pid, signal.SIGKILL)
        while self.manager.is_alive():
            time.sleep(0.02)
        self.close()

    def close(self, *, now: bool = False) -> None:
        """End the kernel as a front end does, or, with `now`, at once and with every process it started."""
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel(now=now)
        else:
            self.manager.cleanup_resources()
        self._sockets.cleanup()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Start kernels in the test's folder: `kernel()`, `kernel(live=True)`, ..."""
    started: list[Kernel] = []

    def start(**options: Any) -> Kernel:
        started.append(Kernel(tmp_path, **options))
        return started[-1]

    yield start
    for one in started:
        one.close(now=True)
