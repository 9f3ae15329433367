"""What events say about a failure: its kind, whether trying again may help, and a hint where there is something to say."""

from __future__ import annotations

import builtins
import http.server
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from wfkernel import PermanentError, Tripwire, Workflow, step, workflow
from wfkernel.cli.report import print_run
from wfkernel.engine.durable import StepError
from wfkernel.engine.error_kinds import KINDS, classified
from wfkernel.engine.failures import StepTimeout
from wfkernel.engine.restarts import WorkerDied
from wfkernel.engine.state import fold
from wfkernel.notebook.view import render_text, view_of
from wfkernel.workers.shipping import RemoteStepError


def raised_by(work: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        work()
    return caught.value


def connect_to_nobody() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        socket.create_connection(taken.getsockname(), timeout=5)


def fill_the_disk() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")


def wrapped(cause: BaseException, error: BaseException) -> None:
    try:
        raise cause
    except type(cause):
        raise error  # noqa: B904


class Model(BaseModel):
    x: int


def failing_child() -> None:
    subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)


FAILURES = {
    "step timeout": (lambda: (_ for _ in ()).throw(StepTimeout("too long")), "timeout", True, "its timeout"),
    "timeout": (lambda: subprocess.run(["sleep", "9"], timeout=0.01), "timeout", True, ""),
    "model": (lambda: Model(x="no"), "validation", False, ""),
    "json": (lambda: json.loads("{"), "validation", False, ""),
    "encoding": (lambda: b"\xff".decode(), "validation", False, ""),
    "refused connection": (connect_to_nobody, "network_failure", True, "is the address right"),
    "full disk": (fill_the_disk, "resource_exhaustion", True, "wf prune"),
    "no package": (lambda: __import__("no_such_package.part"), "tool_failure", False, "`no_such_package`"),
    "no file": (Path("no/such.csv").read_text, "tool_failure", False, "os.getcwd()"),
    "no file at all": (Path("/no/such.csv").read_text, "tool_failure", False, ""),
    "database": (lambda: sqlite3.connect(":memory:").execute("no sql"), "tool_failure", True, ""),
    "command": (failing_child, "tool_failure", True, ""),
    "code": (lambda: {}["no such key"], "workflow_logic", False, ""),
    "division": (lambda: 1 / 0, "workflow_logic", False, ""),
    "ordinary": (lambda: int("x"), "unknown", True, ""),
    "from the network": (lambda: wrapped(ConnectionResetError("gone"), RuntimeError("no data")), "network_failure", True, "retries"),
    "after a mistake": (lambda: wrapped(KeyError("a"), ValueError("no such setting")), "unknown", True, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_of_a_kind(name):
    work, kind, retryable, hint = FAILURES[name]
    told = classified(raised_by(work))
    assert (told["kind"], told["retryable"]) == (kind, retryable)
    assert hint in told["hint"] if hint else "hint" not in told


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "hint"),
    [
        (503, "network_failure", True, "the service failed"),
        (504, "timeout", True, "retries"),
        (429, "resource_exhaustion", True, "asked too often"),
        (401, "tool_failure", False, "credentials"),
        (404, "tool_failure", False, None),
    ],
)
def test_what_a_service_replies_says_whose_failure_it_is(status, kind, retryable, hint):
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request).start()
        error = raised_by(lambda: urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=30))
    told = classified(error)
    assert (told["kind"], told["retryable"]) == (kind, retryable)
    assert told.get("hint") is None if hint is None else hint in told["hint"]


def test_an_error_of_another_process_is_known_by_its_name():
    assert classified(RemoteStepError("builtins.MemoryError", "", ""))["kind"] == "resource_exhaustion"
    assert classified(WorkerDied("s", None, "SIGKILL", []))["retryable"] is False


def test_the_author_has_the_last_word_on_trying_again():
    class Down(PermanentError, ConnectionError): ...

    assert classified(Down("for good"))["retryable"] is False
    given_up = raised_by(lambda: wrapped(ConnectionError("gone"), PermanentError("for good")))
    assert (classified(given_up)["kind"], classified(given_up)["retryable"]) == ("network_failure", False)
    assert classified(Tripwire("stop", retry=True))["retryable"] is True
    assert classified(Tripwire("stop"))["retryable"] is False


def test_an_error_that_tells_of_another_is_of_its_kind():
    first = {"type": "ConnectionError", "message": "gone", **classified(ConnectionError("gone"))}
    assert classified(StepError("fetch", first)) == classified(ConnectionError("gone"))


BUILTIN = [kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)]


@given(st.text(), st.lists(st.sampled_from(BUILTIN), max_size=4))
def test_every_exception_has_a_kind(text, chain):
    error: BaseException = Exception(text)
    for kind in chain:
        try:
            outer = kind(text)
        except TypeError:
            continue  # made with other arguments
        outer.__cause__, error = error, outer
    told = classified(error)
    assert told["kind"] in KINDS
    assert told["retryable"] in (True, False)
    assert "\n" not in told.get("hint", "")


@step(retries=1, retry_on=OSError)
def fetch(x: int) -> int:
    raise ConnectionRefusedError("nobody there")


@step(retries=1, retry_on=ValueError)
def picky(x: int) -> int:
    raise ConnectionRefusedError("nobody there")


@step
def plain(x: int) -> int:
    raise ValueError("no number")


def test_the_events_of_a_run_say_it_and_so_do_its_views(store, capsys):
    wf = Workflow("w", input=int, store=store)
    run = wf.parallel(fetch, picky, plain).commit().create_run("r")
    assert run.sync.start(1).status == "failed"
    errors = {
        e.path: e.payload["error"] for e in store.events("r") if e.type == "step.result" and e.payload.get("error")
    }
    assert [errors[s]["kind"] for s in ("fetch", "picky", "plain")] == ["network_failure", "network_failure", "unknown"]
    assert [errors[s]["retryable"] for s in ("fetch", "picky")] == [True, False], "picky's policy does not repeat it"
    assert [e.payload["error"]["kind"] for e in store.events("r") if e.type == "step.retry"] == ["network_failure"]
    assert "traceback" in errors["fetch"]
    assert store.load("r").error["kind"] == "network_failure"

    print_run(store.load("r"), store)
    assert capsys.readouterr().out.count("hint: is the address right") == 2
    text = render_text(view_of(store.load("r"), now=0))
    assert text.count("hint: ") == 2
    assert text.endswith("ValueError: no number"), "an ordinary error is not talked about"


def test_a_durable_functions_failure_is_of_the_kind_of_its_step(store):
    @workflow(store=store)
    async def flow(ctx, x: int) -> None:
        await ctx.step(plain, x) if x else await ctx.step(fetch, x)

    assert flow.create_run("a").sync.start(0).error["kind"] == "network_failure"
    assert flow.create_run("b").sync.start(1).error["kind"] == "unknown"


def test_events_from_before_there_were_kinds_still_tell_what_happened(store):
    Workflow("w", input=int, store=store).then(fetch).commit().create_run("r").sync.start(1)
    older = []
    for event in store.events("r"):
        payload = dict(event.payload)
        if "error" in payload:
            payload["error"] = {k: v for k, v in payload["error"].items() if k not in ("kind", "retryable", "hint")}
        older.append(event._replace(payload=payload))
    state = fold(older)
    assert (state.status, state.steps["fetch"].error["type"]) == ("failed", "ConnectionRefusedError")
    assert render_text(view_of(state, now=0)).endswith("ConnectionRefusedError: nobody there")


def test_whether_a_failure_may_be_repeated_is_asked_once():
    asked: list[str] = []

    def may_repeat(error: BaseException) -> bool:
        asked.append(str(error))
        return len(asked) < 2

    @step(retries=5, retry_on=may_repeat)
    def fails(x: int) -> int:
        raise ValueError(f"time {len(asked) + 1}")

    result = Workflow("asked", input=int).then(fails).commit().run(1)
    assert (result.status, asked) == ("failed", ["time 1", "time 2"])
    assert result.error["retryable"] is False
