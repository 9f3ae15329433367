"""Which texts a run leaves behind: short readable renderings of docs, inputs, outputs and errors.

Made from events when somebody searches, so a run that nobody asks about costs nothing. Ids are derived from what a text
is about: a step that runs again replaces the text about its output, a step's doc exists once per workflow however often
it runs, and events that are taken in a second time change nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.failures import error_line
from wfkernel.engine.redaction import is_secret_name, redactor
from wfkernel.plan.secrets import MASK
from wfkernel.store.about import TEXT_LENGTH, render_json

__all__ = ["GATHERED", "ContextRow", "template_prefix", "template_row", "text_digest", "texts_of"]

ROW_LENGTH: Final = 2_000
"""Characters kept of one text made from an event."""
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_FIRST_LINE: Final = re.compile(r"^  (?:File|Cell) .*\n    (.+)$", re.M)
"""In a traceback: the line of the user's code it begins with."""
_RECORD: Final = "$wfkernel.value"


@dataclass(frozen=True, slots=True)
class ContextRow:
    """One text that can be found. `kind`: doc, input, output, error, note, markdown, template or any word of yours."""

    id: str
    kind: str
    text: str
    run_id: str | None = None
    path: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0
    """Seconds since the epoch."""

    @property
    def digest(self) -> str:
        return text_digest(self.text)


def text_digest(text: str) -> str:
    """Identifies a text, so that equal texts are indexed once."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()


def texts_of(events: Iterable[Event]) -> list[ContextRow]:
    """The texts of events of the types in `GATHERED`; of several with one id, the last.

    Without what looks like a secret, except where somebody remembered it.
    """
    rows: dict[str, ContextRow] = {}
    redacted = redactor()
    for event in events:
        for row in _RENDERINGS[event.type](event):
            rows[row.id] = row if event.type == ev.CONTEXT_REMEMBER else replace(row, text=redacted(row.text))
    return list(rows.values())


def _remembered(event: Event) -> list[ContextRow]:
    said = event.payload
    id = f"{event.run_id}#{event.seq}"
    return [ContextRow(id, said["kind"], said["text"], event.run_id, event.path, said["meta"], event.ts)]


def _row(event: Event, kind: str, text: str, id: str = "") -> list[ContextRow]:
    text = text.strip()[:ROW_LENGTH]
    if not _WORD.search(text):  # numbers and names of one letter: nobody searches for those
        return []
    return [ContextRow(id or f"{event.run_id}/{event.path}/{kind}", kind, text, event.run_id, event.path, {}, event.ts)]


def _of_run_start(event: Event) -> list[ContextRow]:
    given = event.payload.get("params") or _value(event.payload.get("input"))
    text = render_json(given) if given else ""
    row = _row(event, "input", f"{event.payload.get('workflow', '')}: {text}") if _WORD.search(text) else []
    return (
        row
        + _doc(event)
        + template_row(str(event.payload.get("source", "")), event.payload.get("template", ""), event.ts)
    )


def template_row(path: str, text: str, at: float) -> list[ContextRow]:
    """What the notebook or workflow file at `path` is a template for, as `wfkernel.plan.template` puts it; empty: nothing."""
    return (
        [ContextRow(template_prefix(path), "template", text[:ROW_LENGTH], None, "", {"path": path}, at)] if text else []
    )


def template_prefix(path: str) -> str:
    """The id of the text on the template at `path`."""
    return f"template/{path}/"


def _doc(event: Event) -> list[ContextRow]:
    doc = event.payload.get("doc")
    if not doc:
        return []
    of = doc["step"] or doc["workflow"]
    return _row(event, "doc", f"{of}: {doc['text']}", f"doc/{doc['workflow']}/{doc['step']}")


def _of_run_finish(event: Event) -> list[ContextRow]:
    error = event.payload.get("error")
    return _row(event, "error", _error_text(error)) if error and not error.get("step") else []


def _of_step_start(event: Event) -> list[ContextRow]:
    rows = _doc(event)
    given = _value(event.payload.get("input"))
    if given:
        rows += _row(event, "input", render_json(given))
    return rows


def _of_step_result(event: Event) -> list[ContextRow]:
    payload = event.payload
    if payload.get("error"):
        return _of_error(event)
    lines = []
    if "output" in payload:  # a step function: one value without a name of its own
        lines.append(_value_text(_record(payload["output"]), payload["output"]))
    else:
        for record in payload.get("outputs", ()):
            text = _value_text(record, None)
            if isinstance(record.get("data"), str) and record.get("codec") == "json" and is_secret_name(record["name"]):
                text = MASK
            lines.append(f"{record['name']} = {text}" if text else record["name"])
    text = "\n".join(filter(None, lines))
    return _row(event, "output", text if "output" in payload else f"{event.path}: {text}") if text else []


def _of_error(event: Event) -> list[ContextRow]:
    error = event.payload.get("error")
    if not error:
        return []
    return _row(event, "error", f"{event.path}: {_error_text(error)}", f"{event.run_id}/{event.path}/error#{event.seq}")


_RENDERINGS: Final[Mapping[str, Callable[[Event], list[ContextRow]]]] = {
    ev.CONTEXT_REMEMBER: _remembered,
    ev.RUN_START: _of_run_start,
    ev.RUN_FINISH: _of_run_finish,
    ev.STEP_START: _of_step_start,
    ev.STEP_RESULT: _of_step_result,
    ev.STEP_RETRY: _of_error,
}
GATHERED: Final = tuple(_RENDERINGS)
"""The types of the events texts are made from."""


def _error_text(error: Mapping[str, Any]) -> str:
    text = error_line(error)[:ROW_LENGTH]
    own = (error.get("traceback") or "").rpartition("Traceback (most recent call last):")[2]  # causes stand before it
    line = _FIRST_LINE.search(own)
    if line:
        text += f"\nat {line.group(1).strip()}"
    cause = error.get("cause")
    if isinstance(cause, Mapping) and (cause.get("type"), cause.get("message")) != (
        error.get("type"),
        error.get("message"),
    ):
        text += f"\ncaused by {error_line(cause)}"
    return text


def _record(value: Any) -> Mapping[str, Any] | None:
    return value[_RECORD] if isinstance(value, dict) and len(value) == 1 and _RECORD in value else None


def _value(value: Any) -> Any:
    """The readable part of a field that may be a record: the JSON itself, or what was said about the value."""
    record = _record(value)
    if record is None:
        return value
    return record["data"] if record.get("codec") == "json" and "data" in record else record.get("about")


def _value_text(record: Mapping[str, Any] | None, value: Any) -> str:
    if record is None:
        return render_json(value)
    if record.get("codec") == "json" and "data" in record:
        return render_json(record["data"])
    kind = str(record.get("type", ""))
    return f"{kind} {record['about']}"[:TEXT_LENGTH] if record.get("about") else kind
