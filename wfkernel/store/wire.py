"""The wire between processes: a command goes straight to the process that executes a run.

A process that executes runs listens on a loopback port; port and a random token stand in a file only its user can read,
``owners/<identity>.json``. Who has a command for a run asks the listening processes, of which there are few; the one that
executes the run acts on it and replies. That takes a millisecond and touches neither the database nor a journal, so it
works however busy both processes are. One connection carries one command: a line of JSON there, a line of JSON back.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wfkernel.engine.commands import Command, Handler, Reply
from wfkernel.engine.failures import RunNotActive
from wfkernel.errors import StoreError, WorkflowError
from wfkernel.store.owner import is_alive

__all__ = ["Receiver", "send"]

LOOPBACK: Final = "127.0.0.1"
SUFFIX: Final = ".json"
ELSEWHERE: Final = "elsewhere"
"""In a reply: this process does not execute the run."""


class Receiver:
    """The listening end of one process; listens until `close` or the end of the process."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._handlers: dict[str, Handler] = {}
        token = secrets.token_urlsafe(24)
        handlers = self._handlers

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                request = json.loads(self.rfile.readline())
                if not hmac.compare_digest(str(request.get("token")).encode(), token.encode()):
                    return
                reply = _reply(handlers.get(request["run"]), request["command"])
                with contextlib.suppress(OSError):  # it did not wait for the reply
                    self.wfile.write(json.dumps(reply).encode() + b"\n")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A connection that does not speak our language is dropped."""

        self._server = Server((LOOPBACK, 0), Connection)
        self._closing = False
        self._file = folder / f"{identity}{SUFFIX}"
        draft = self._file.with_suffix(".tmp")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            json.dump({"port": self._server.server_address[1], "token": token}, handle)
        draft.replace(self._file)
        self._thread = threading.Thread(target=self._serve, name="wfkernel-commands", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Take connections until one finds us closing. `serve_forever` would look twice a second whether it is to end."""
        while not self._closing:
            self._server.handle_request()
        self._server.server_close()

    def listen(self, run_id: str, handle: Handler) -> Callable[[], None]:
        """Give `handle` the commands for the run. Returns what ends that."""
        self._handlers[run_id] = handle

        def leave() -> None:
            if self._handlers.get(run_id) is handle:
                del self._handlers[run_id]

        return leave

    def close(self) -> None:
        self._file.unlink(missing_ok=True)
        self._closing = True
        with contextlib.suppress(OSError):  # it has ended by itself: another command came just now
            socket.create_connection((LOOPBACK, self._server.server_address[1])).close()
        self._thread.join()


def _reply(handle: Handler | None, command: Command) -> Reply:
    if handle is None:
        return {ELSEWHERE: True}
    try:
        return handle(command)
    except WorkflowError as error:
        return {"ok": False, "problems": [["", str(error)]]}
    except Exception as error:
        return {"ok": False, "problems": [["", f"{type(error).__name__}: {error}"]]}


def send(folder: Path, run_id: str, command: Command, timeout: float) -> Reply:
    """Have the process that executes the run act on `command`; returns its reply.

    Args:
        folder: where the processes' addresses are.
        timeout: seconds to wait for the reply.

    Raises `RunNotActive` when no process executes the run, and `StoreError` when the one that may does not reply in time.
    """
    silent = []
    for file in folder.glob(f"*{SUFFIX}"):
        identity = file.name.removesuffix(SUFFIX)
        if not is_alive(folder, identity):  # killed; what it forked may still have its port
            with contextlib.suppress(OSError):
                file.unlink()
            continue
        try:
            reply = _ask(file, {"run": run_id, "command": command}, timeout)
        except (ConnectionError, FileNotFoundError, ValueError):  # it ended, perhaps just now
            continue
        except TimeoutError:
            silent.append(identity)
            continue
        if not reply.get(ELSEWHERE):
            return reply
    if silent:
        raise StoreError(
            f"process {', '.join(silent)} did not reply within {timeout:g} s: it may be stuck in a call into C."
        )
    raise RunNotActive(f"run '{run_id}' is not being executed by any process.")


def _ask(file: Path, request: dict[str, Any], timeout: float) -> Reply:
    address = json.loads(file.read_text())
    with socket.create_connection((LOOPBACK, address["port"]), timeout) as line:
        line.sendall(json.dumps({"token": address["token"], **request}).encode() + b"\n")
        with line.makefile("rb") as answer:
            reply: Reply = json.loads(answer.readline())
            return reply
