"""A picture of a run, and how it looks where nothing is alive.

`view_of` turns the state of a run into a *view*: one JSON-safe dict that holds all a person needs to see and
nothing else. The live widget draws the same dict (`wfkernel.notebook.runview`); `render_html` and
`render_text` draw it for everything that outlives the kernel: a saved notebook, nbviewer, GitHub, a terminal.

Three rules follow from where static HTML is read. It is a table with words in it, because GitHub takes styles
away and the rest must still make sense. Colours are those of the reader's theme, and only repeat what a word
says. Nothing of the run is trusted: names, logs and errors are escaped, terminal escape codes are taken out.

`render_text` holds no times and no ids, so that two executions of one notebook print the same.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import PurePath
from typing import Any, Final

from wfkernel.engine.state import RunState, StepState, Suspension
from wfkernel.plan.chart import needs_of

__all__ = [
    "ICONS",
    "plain",
    "render_html",
    "render_text",
    "run_duration",
    "seconds",
    "step_view",
    "tidy",
    "view_of",
    "waiting_for",
]

LOG_TAIL: Final = 20
"""Lines of a step's output a view holds."""
LINE_LENGTH: Final = 500

ICONS: Final = {
    "pending": "○",
    "running": "●",
    "waiting": "…",
    "suspended": "❚❚",
    "paused": "❚❚",
    "success": "✓",
    "restored": "↺",
    "undone": "↶",
    "failed": "✗",
    "tripwire": "⚠",
    "canceled": "⊘",
    "skipped": "↷",
}
"""One sign per status; always shown beside the word."""

RESUME_HINT: Final = "to go on, fill in the form (running the cell shows it), use `wf resume`, or run in a cell:"

_TERMINAL: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


# -- the view ------------------------------------------------------------------------------------------------


def view_of(state: RunState, *, now: float, step: str | None = None) -> dict[str, Any]:
    """A JSON-safe picture of `state`, or of just one step in it.

    Durations of what still runs end at `now`, seconds since the epoch.
    """
    waits = waiting_for(state) if step is None else {step: []}
    shown = state.steps.values() if step is None else [state.step(step)]
    return {
        "run_id": state.run_id,
        "workflow": tidy(state.workflow or PurePath(state.notebook).stem or "run"),
        "status": state.status,
        "started": state.started_at,
        "duration": run_duration(state, now),
        "params": plain(state.params),
        "error": _error_of(state.error),
        "steps": [step_view(one, waits[one.path], now) for one in shown],
    }


def step_view(step: StepState, waits_for: list[str], now: float) -> dict[str, Any]:
    """A JSON-safe picture of one step, which waits for the steps `waits_for`."""
    return {
        "path": tidy(step.path),
        "status": step.status,
        "attempt": step.attempt,
        "executions": step.executions,
        "started": step.started_at,
        "duration": _step_duration(step, now),
        "iteration": step.iteration,
        "restored": step.restored,
        "undone": step.undone,
        "restored_in": step.restored_in if step.restored else None,
        "progress": _progress_of(step.progress),
        "log": _log_of(step.log),
        "error": _error_of(step.error),
        "waits_for": waits_for,
        "reads": [tidy(name) for name in step.reads],
        "binds": [tidy(name) for name in step.binds],
        "suspension": _suspension_of(step.suspension),
    }


def _suspension_of(suspension: Suspension | None) -> dict[str, Any] | None:
    if suspension is None:
        return None
    return {
        "index": suspension.index,
        "message": tidy(suspension.message),
        "schema": plain(suspension.schema),
        "payload": plain(suspension.payload),
        "problems": [[tidy(path), tidy(message)] for path, message in suspension.problems],
    }


def _error_of(error: dict[str, Any] | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {name: tidy(str(error.get(name, ""))) for name in ("type", "message", "hint")}


def _progress_of(progress: dict[str, Any] | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    done, total = plain(progress.get("done", 0)), progress.get("total")
    # Only a count towards something finite makes a bar.
    counted = isinstance(done, int | float) and isinstance(total, int | float) and 0 < total < math.inf
    label = tidy(str(progress.get("label") or ""))
    return {"done": done, "total": total if counted else None, "label": label}


def _log_of(log: Sequence[str]) -> list[str]:
    latest = list(log)[-LOG_TAIL:]
    lines = [line for text in latest for line in tidy(text).splitlines()][-LOG_TAIL:]
    return [line if len(line) <= LINE_LENGTH else line[: LINE_LENGTH - 1] + "…" for line in lines]


def waiting_for(state: RunState) -> dict[str, list[str]]:
    """For each pending step, the steps that have yet to bind what it reads."""
    steps = dict(state.steps)  # whoever writes the run may add to it meanwhile
    needs = needs_of((step.path, step.reads, step.binds) for step in steps.values())
    return {
        path: [tidy(one) for one in ones if steps[one].status != "success"] if steps[path].status == "pending" else []
        for path, ones in needs.items()
    }


def run_duration(state: RunState, now: float) -> float | None:
    if state.started_at is None:
        return None
    if state.ended_at is not None:
        end = state.ended_at
    elif state.status == "running":
        end = now
    else:  # suspended or paused: the clock stands still where the last step stopped
        end = max([state.started_at, *(s.ended_at for s in state.steps.values() if s.ended_at is not None)])
    return max(0.0, end - state.started_at)


def _step_duration(step: StepState, now: float) -> float | None:
    if step.duration is not None:
        return step.duration
    if step.started_at is None:
        return None
    if step.status == "running":
        return max(0.0, now - step.started_at)
    return None if step.ended_at is None else max(0.0, step.ended_at - step.started_at)


def plain(value: Any) -> Any:
    """`value` as JSON a browser can parse: no NaN, no infinities, no lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return plain(str(value))


def tidy(text: str) -> str:
    """Text for people: without terminal colours, cursor movements and other control characters."""
    if text.isprintable():  # most text by far, and a run has a lot of it
        return text
    text = _TERMINAL.sub("", plain(text)).replace("\r\n", "\n")
    # A progress bar printed to a terminal overwrites its line; the last writing is what a person would see.
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("", text)


# -- words both renderings share -----------------------------------------------------------------------------


def seconds(value: float | None) -> str:
    """A duration the way people say it: ``0.25 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value is None:
        return ""
    if value < 1:
        return f"{value:.2f} s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _shown_status(step: dict[str, Any]) -> str:
    if step["status"] != "success":
        return str(step["status"])
    return "undone" if step["undone"] else "restored" if step["restored"] else "success"


def _find(view: dict[str, Any], path: str) -> dict[str, Any]:
    """The step's view; a step the run has not heard of yet is pending."""
    for step in view["steps"]:
        if step["path"] == path:
            return dict(step)
    return step_view(StepState(path), [], 0.0)


def _done_of_all(view: dict[str, Any]) -> str:
    done = sum(step["status"] == "success" for step in view["steps"])
    return f"{done} of {len(view['steps'])} steps done"


def _progress_words(progress: dict[str, Any]) -> str:
    done, total, label = progress["done"], progress["total"], progress["label"]
    counted = f"{_number(done)} / {_number(total)}" if total else _number(done)
    return f"{counted} {label}".strip()


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _error_words(error: dict[str, str]) -> str:
    return ": ".join(part for part in (error["type"], error["message"]) if part)


def _error_lines(error: dict[str, str]) -> list[str]:
    return _indented(_error_words(error)) + (_indented(f"hint: {error['hint']}") if error["hint"] else [])


def _given_words(view: dict[str, Any]) -> str:
    params = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in view["params"].items()]
    return " · ".join([f"run {view['run_id']}", *params])


def _payload_words(payload: Any) -> str:
    return json.dumps(payload, ensure_ascii=False, indent=2)


def _questions(schema: dict[str, Any]) -> str:
    """The fields of an answer in one line: ``decision, day; optional: note``."""
    required = schema.get("required", [])
    optional = [name for name in schema.get("properties", {}) if name not in required]
    parts = [", ".join(required)] if required else []
    return "; ".join(parts + ([f"optional: {', '.join(optional)}"] if optional else []))


def _resume_line(path: str, schema: dict[str, Any]) -> str:
    """The line that answers from a cell, with an answer of the right shape to be edited."""
    from wfkernel.plan.schema import example_answer

    example = json.dumps(example_answer(schema), ensure_ascii=False)
    return f"%workflow resume --step {shlex.quote(path)} --data {shlex.quote(example)}"


def _problem_words(problems: list[list[str]]) -> list[str]:
    return [f"{path or 'answer'}: {message}" for path, message in problems]


# -- plain text ----------------------------------------------------------------------------------------------


def render_text(view: dict[str, Any], step: str | None = None) -> str:
    """The view as plain text without times and ids; with `step`, that step alone."""
    if step is not None:
        return "\n".join(_step_lines(_find(view, step), width=0))
    lines = [f"{ICONS[view['status']]} {view['workflow']}: {view['status']}, {_done_of_all(view)}"]
    width = max((len(s["path"]) for s in view["steps"]), default=0)
    for each in view["steps"]:
        lines += ["  " + line for line in _step_lines(each, width)]
    # A failed step has said it already.
    if view["error"] and not any(s["error"] for s in view["steps"]):
        lines += _error_lines(view["error"])
    return "\n".join(lines)


def _step_lines(step: dict[str, Any], width: int) -> list[str]:
    status = _shown_status(step)
    words = [status]
    if step["attempt"] > 1:
        words.append(f"attempt {step['attempt']}")
    if step["waits_for"]:
        words.append(f"waits for {', '.join(step['waits_for'])}")
    lines = [f"{ICONS[status]:<2} {step['path']:<{width}}  {', '.join(words)}"]
    for line in step["log"]:
        lines += _indented(f"│ {line}")
    # How far an interrupted loop had come differs from run to run: only a finished count is worth comparing.
    if step["progress"] and step["status"] == "success":
        lines += _indented(_progress_words(step["progress"]))
    if step["error"]:
        lines += _error_lines(step["error"])
    if suspension := step["suspension"]:
        lines += _indented(suspension["message"])
        if suspension["payload"] is not None:
            lines += _indented(_payload_words(suspension["payload"]))
        if questions := _questions(suspension["schema"]):
            lines += _indented(f"asks for: {questions}")
        for problem in _problem_words(suspension["problems"]):
            lines += _indented(f"refused: {problem}")
        lines += _indented(RESUME_HINT)
        lines += _indented(_resume_line(step["path"], suspension["schema"]))
    return lines


def _indented(text: str) -> list[str]:
    return [f"   {line}" for line in text.splitlines()]


# -- HTML ----------------------------------------------------------------------------------------------------

_BORDER: Final = "var(--jp-border-color2,rgba(128,128,128,.35))"
_RED: Final = "var(--jp-error-color1,#d32f2f)"
_COLOURS: Final = {
    "success": "var(--jp-success-color1,#388e3c)",
    "restored": "var(--jp-success-color1,#388e3c)",
    "failed": _RED,
    "tripwire": _RED,
    "suspended": "var(--jp-warn-color1,#ef6c00)",
    "paused": "var(--jp-warn-color1,#ef6c00)",
    "running": "var(--jp-brand-color1,#1976d2)",
}
_FONT: Final = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.5"
_CELL: Final = f"text-align:left;vertical-align:top;padding:4px 12px 4px 0;border-top:1px solid {_BORDER}"
_CODE: Final = "font-family:var(--jp-code-font-family,monospace);font-size:12px"
_MUTED: Final = "opacity:.75"
_PRE: Final = f"{_CODE};margin:2px 0;padding:0;background:none;white-space:pre-wrap;overflow-wrap:anywhere"


def render_html(view: dict[str, Any], *, step: str | None = None) -> str:
    """The view as self-contained HTML without script or outside resources; with `step`, that step alone."""
    if step is not None:
        one = _find(view, step)
        status = _shown_status(one)
        title = _title_html(status, one["path"], [status, *_facts(one)])
        details = f'<div style="margin-left:22px">{_details_html(one)}</div>'
        return f'<div style="{_FONT}"><div>{title}</div>{details}</div>'
    words = [view["status"], _done_of_all(view)]
    if view["duration"] is not None:
        words.append(seconds(view["duration"]))
    title = _title_html(view["status"], view["workflow"], words)
    title += f'<br><span style="{_MUTED}">{_html(_given_words(view))}</span>'
    if view["error"] and not any(s["error"] for s in view["steps"]):
        title += _error_html(view["error"])
    table = _table_html(view["steps"]) if view["steps"] else ""
    return f'<div style="{_FONT}"><p style="margin:0 0 6px">{title}</p>{table}</div>'


def _table_html(steps: list[dict[str, Any]]) -> str:
    heads = "".join(
        f'<th scope="col" style="{_CELL};border-top:0;font-weight:600;{_MUTED}">{head}</th>'
        for head in ("Step", "Status", "Time", "Executions", "")
    )
    rows = "".join(_row_html(step) for step in steps)
    return (
        f'<table style="border-collapse:collapse;margin:0;{_FONT};text-align:left">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row_html(step: dict[str, Any]) -> str:
    status = _shown_status(step)
    cells = [
        f'<td style="{_CELL};white-space:nowrap">{_icon_html(status)} {status}</td>',
        f'<td style="{_CELL};white-space:nowrap">{seconds(_shown_duration(step))}</td>',
        f'<td style="{_CELL}">{step["executions"] or ""}</td>',
        f'<td style="{_CELL}">{_details_html(step)}</td>',
    ]
    head = f'<th scope="row" style="{_CELL};font-weight:600">{_html(step["path"])}</th>'
    return f'<tr style="background:none">{head}{"".join(cells)}</tr>'


def _shown_duration(step: dict[str, Any]) -> float | None:
    """How long the step took just now: a restored one was not executed."""
    took: float | None = step["restored_in"] if _shown_status(step) == "restored" else step["duration"]
    return took


def _facts(step: dict[str, Any]) -> list[str]:
    shown = _shown_duration(step)
    facts = [seconds(shown)] if shown is not None else []
    if step["attempt"] > 1:
        facts.append(f"attempt {step['attempt']}")
    return facts


def _details_html(step: dict[str, Any]) -> str:
    parts = []
    if step["waits_for"]:
        parts.append(f'<div style="{_MUTED}">waits for {_html(", ".join(step["waits_for"]))}</div>')
    if step["progress"]:
        parts.append(_progress_html(step["progress"]))
    if step["error"]:
        parts.append(_error_html(step["error"]))
    if step["suspension"]:
        parts.append(_suspension_html(step["path"], step["suspension"]))
    if step["log"]:
        lines = _html("\n".join(step["log"]))
        opened = "" if step["status"] == "success" else " open"
        summary = f'<summary style="{_MUTED}">log ({len(step["log"])})</summary>'
        parts.append(f'<details{opened}>{summary}<pre style="{_PRE}">{lines}</pre></details>')
    return "".join(parts)


def _suspension_html(path: str, suspension: dict[str, Any]) -> str:
    parts = [f"<div>{_html(suspension['message'])}</div>"] if suspension["message"] else []
    if suspension["payload"] is not None:
        parts.append(f'<pre style="{_PRE}">{_html(_payload_words(suspension["payload"]))}</pre>')
    if questions := _questions(suspension["schema"]):
        parts.append(f'<div style="{_MUTED}">asks for: {_html(questions)}</div>')
    parts += [f'<div style="color:{_RED}">{_html(p)}</div>' for p in _problem_words(suspension["problems"])]
    line = f'<code style="{_CODE}">{_html(_resume_line(path, suspension["schema"]))}</code>'
    parts.append(f'<div style="{_MUTED}">{_html(RESUME_HINT)}</div><div>{line}</div>')
    return "".join(parts)


def _progress_html(progress: dict[str, Any]) -> str:
    words = _html(_progress_words(progress))
    if not progress["total"] or progress["done"] >= progress["total"]:  # a full bar says nothing
        return f"<div>{words}</div>"
    percent = max(0.0, min(100.0, 100.0 * progress["done"] / progress["total"]))
    bar = (
        f'<span style="display:inline-block;width:120px;height:6px;border-radius:3px;background:{_BORDER}">'
        f'<span style="display:block;width:{percent:.0f}%;height:6px;border-radius:3px;'
        f'background:{_COLOURS["running"]}"></span></span>'
    )
    return f"<div>{bar} {words}</div>"


def _error_html(error: dict[str, str]) -> str:
    style = f"color:{_RED};white-space:pre-wrap;overflow-wrap:anywhere"
    hint = f'<div style="{_MUTED}">{_html(error["hint"])}</div>' if error["hint"] else ""
    return f'<div style="{style}">{_html(_error_words(error))}</div>{hint}'


def _title_html(status: str, name: str, words: list[str]) -> str:
    return f"{_icon_html(status)} <strong>{_html(name)}</strong> &nbsp;{' · '.join(words)}"


def _icon_html(status: str) -> str:
    colour = f";color:{_COLOURS[status]}" if status in _COLOURS else ""
    size = ";font-size:10px" if len(ICONS[status]) > 1 else ""
    return f'<span aria-hidden="true" style="display:inline-block;min-width:18px{size}{colour}">{ICONS[status]}</span>'


def _html(text: str) -> str:
    return escape(text, quote=True)
