"""``wf events``, ``wf logs``: what happened to a run, and with ``--follow`` what happens, whichever process executes it."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from wfkernel.cli.complete import complete_step
from wfkernel.cli.shared import JsonOption, RunArgument, StoreOption, family, opened, print_json
from wfkernel.engine import events as ev

if TYPE_CHECKING:
    from wfkernel.engine.events import Event
    from wfkernel.store.store import Store

commands = family()

FollowOption = Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run stops.")]
StepOption = Annotated[str | None, typer.Option(help="Only of this step.", autocompletion=complete_step)]

_SHOWN: Final = 110
"""Characters of an event's payload that are shown to people."""


@commands.command()
def events(
    run: RunArgument = "latest",
    follow: FollowOption = False,
    step: StepOption = None,
    type: Annotated[
        str | None, typer.Option(help="Only of this type, or of all that begin so: step.result, run.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only those after this event.")] = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the events of a run. With --json --follow, one JSON document per line."""
    kept = opened(store)
    run_id = kept.find(run)
    found = (
        event
        for event in _events(kept, run_id, after, follow)
        if (step is None or event.path == step) and event.type.startswith(type or "")
    )
    if as_json and not follow:
        print_json([event._asdict() for event in found])
        return
    for event in found:
        typer.echo(json.dumps(event._asdict(), default=str) if as_json else _line(event))


@commands.command()
def logs(
    run: RunArgument = "latest",
    follow: FollowOption = False,
    step: StepOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the steps of a run wrote and, as each ends, what its cell printed and why it failed; and what the process
    printed, if the run goes on in the background."""
    from wfkernel.cli.background import log_of

    kept = opened(store)
    run_id = kept.find(run)
    log = log_of(kept, run_id)
    written = _lines(kept, (e for e in _events(kept, run_id, 0, follow) if step in (None, e.path)))
    if as_json and not follow:
        printed = log.read_text(errors="replace") if log.is_file() else None
        print_json({"run_id": run_id, "lines": list(written), "process": printed})
        return
    for line in written:
        typer.echo(json.dumps(line) if as_json else f"{_clock(line['at'])}  {line['step']}  {line['text']}")
    if log.is_file() and step is None and not as_json:
        typer.echo(f"-- {log}")
        typer.echo(log.read_text(errors="replace").rstrip())


def _events(store: Store, run_id: str, after: int, follow: bool) -> Iterator[Event]:
    """The events so far and, with `follow`, each as it is written, until the run stops or its process dies."""
    if not follow:
        yield from store.events(run_id, after)
        return
    from wfkernel.engine.state import RunState

    state = RunState(run_id)
    arrived: queue.SimpleQueue[list[Event] | None] = queue.SimpleQueue()
    leave = store.follow(run_id, 0, arrived.put, lambda: arrived.put(None))
    try:
        while True:
            batch = arrived.get()
            for event in batch or ():
                state.apply(event)
                if event.seq > after:
                    yield event
            if state.seq and state.status not in ("running", "waiting", "pending"):
                return
            if batch is None and not store.is_alive(state.owner):
                typer.echo(
                    f"wf: the process that executed the run is gone. Continue with: wf resume {run_id}", err=True
                )
                return
    finally:
        leave()


def _line(event: Event) -> str:
    payload = json.dumps(event.payload, default=str, ensure_ascii=False)
    shown = payload if len(payload) <= _SHOWN else f"{payload[: _SHOWN - 1]}…"
    return f"{event.seq:>5}  {_clock(event.ts)}  {event.type:<16} {event.path:<16} {'' if payload == '{}' else shown}".rstrip()


def _lines(store: Store, events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """What events say that a person would read in a log."""
    last: dict[str, str] = {}
    for event in events:
        for text in _texts(store, event):
            # A cell says itself that an attempt failed.
            if event.type != ev.STEP_RETRY or last.get(event.path) != text:
                yield {"at": event.ts, "step": event.path, "attempt": event.attempt, "text": text}
            last[event.path] = text


def _texts(store: Store, event: Event) -> Iterator[str]:
    payload = event.payload
    if event.type == ev.STEP_OUTPUT:
        yield str(payload["text"] if "text" in payload else payload.get("output", "")).rstrip("\n")
    elif event.type == ev.STEP_RETRY:
        yield f"attempt {event.attempt} failed: {_why(payload['error'])}"
    elif event.type == ev.STEP_RESULT:
        for output in store.decode(payload["shown"]) if payload.get("shown") else ():
            text = output["text"] if "stream" in output else output["data"].get("text/plain", "")
            if text := str(text).rstrip("\n"):
                yield text
        if payload.get("error"):
            yield f"failed: {_why(payload['error'])}"


def _why(error: dict[str, Any]) -> str:
    return f"{error.get('type', 'Exception')}: {error.get('message', '')}"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}"
