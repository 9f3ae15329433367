"""``wf events``, ``wf logs``: what happened to a run, and with ``--follow`` what happens, whichever process executes it."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from wfkernel.cli.complete import complete_step
from wfkernel.cli.shared import JsonOption, RunArgument, StoreOption, family, opened, print_json

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
    """Show what the steps of a run wrote, and what its process printed if it runs in the background."""
    from wfkernel.cli.background import log_of
    from wfkernel.engine import events as ev

    kept = opened(store)
    run_id = kept.find(run)
    log = log_of(kept, run_id)
    written = (
        event
        for event in _events(kept, run_id, 0, follow)
        if event.type in (ev.STEP_OUTPUT, ev.STEP_RETRY) and step in (None, event.path)
    )
    if as_json and not follow:
        printed = log.read_text(errors="replace") if log.is_file() else None
        print_json({"run_id": run_id, "lines": [_written(event) for event in written], "process": printed})
        return
    for event in written:
        typer.echo(json.dumps(_written(event)) if as_json else f"{_clock(event.ts)}  {event.path}  {_text(event)}")
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


def _written(event: Event) -> dict[str, Any]:
    return {"at": event.ts, "step": event.path, "attempt": event.attempt, "text": _text(event)}


def _text(event: Event) -> str:
    """What a step wrote, as text."""
    payload = event.payload
    if "error" in payload:
        return f"attempt {event.attempt} failed: {payload['error'].get('message', '')}"
    said = payload["text"] if "text" in payload else payload.get("output", "")
    return str(said).rstrip("\n")


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}"
