"""Workflows of AutomatosX as workflow files: ``wf import --from automatosx``.

The dialect says the same as ours in other words, and in several of them: a step is named by `key` or `name`, does a `prompt`
or an `action`, waits for `dependencies` or `dependsOn`; lengths of time are milliseconds; ``{{name}}`` in a prompt is the
output of a step, or else something the workflow is given, which becomes an input. Whatever has no counterpart is told, with
its place in the file; of the rest of a step or file that says something, nothing is lost: it is kept under `metadata`.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from wfkernel.plan.load import WorkflowFileInvalid, check_text
from wfkernel.plan.text import Place, Problem, Refused, SourceText, parse_text
from wfkernel.plan.writing import as_yaml

__all__ = ["Imported", "import_automatosx"]

Path_ = tuple[str | int, ...]

_SAME: Final = ("description", "version", "author", "tags", "metadata")
_NAMED: Final = ("key", "id", "name")
"""Where a step's name stands; the first of these."""
_ID: Final = re.compile(r"[.\[\]#]+")
_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}", re.S)
_NAME: Final = re.compile(r"\s*([A-Za-z_][\w-]*)((?:\.[A-Za-z_]\w*)*)\s*")
_RESULT: Final = (".result", ".output")
"""How the dialect may say that it means a step's output, which our expressions mean anyway."""
_RETRY: Final = {"maxRetries": "retries", "retryBackoffMultiplier": "backoff"}


@dataclass(slots=True)
class Imported:
    """A workflow in our format, and what of the source it does not say."""

    document: dict[str, Any]
    notes: list[Problem] = field(default_factory=list)
    text: str = ""
    """The document as YAML, with the comments at the head of the source and before its steps."""


def import_automatosx(text: str, file: str) -> Imported:
    """What a file of the dialect says, in our format.

    Raises `WorkflowFileInvalid` for a file that is no workflow of the dialect, and for what is wrong with it in ours too: steps
    that need each other in a circle, two of one name.
    """
    try:
        source = parse_text(text, file)
    except Refused as refused:
        raise WorkflowFileInvalid(refused.problems) from None
    data = source.data
    steps = data.get("steps") if isinstance(data, dict) else None
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        at = source.place(("steps",)) if isinstance(data, dict) else Place(1, 1)
        raise WorkflowFileInvalid([Problem("a workflow has a list of `steps:`", at, (), source.file)])
    made = _Importer(source, Path(file).name.partition(".")[0]).workflow(data, steps)
    comments = {} if file.endswith(".json") else _comments(source, len(steps))
    head = comments.pop(-1, "")
    made.text = as_yaml(made.document, head, comments)
    wrong = check_text(made.text).problems
    if wrong:
        raise WorkflowFileInvalid([replace(one, file=file, place=source.place(one.path[:2])) for one in wrong])
    return made


def _comments(source: SourceText, count: int) -> dict[int, str]:
    """The comments that stand in lines of their own before steps, by position, and at the head of the file (-1)."""
    lines = source.text.split("\n")
    found = {}
    for position in range(-1, count):
        if position < 0:
            block = list(itertools.takewhile(_is_comment, lines))
        else:
            before = lines[: source.place(("steps", position)).line - 1]
            block = list(itertools.takewhile(_is_comment, reversed(before)))[::-1]
        text = "\n".join(line.strip().removeprefix("#").removeprefix(" ") for line in block).strip("\n")
        if text:
            found[position] = text
    return found


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#") or not line.strip()


class _Importer:
    def __init__(self, source: SourceText, default_id: str) -> None:
        self._source, self._default_id = source, default_id
        self._notes: list[Problem] = []
        self._wrong: list[Problem] = []
        self._ids: dict[str, str] = {}
        """key in the source -> id."""
        self._inputs: dict[str, str] = {}
        """name in the source -> name of the input."""
        self._goes_on = False
        self._timeout: Any = None
        self._has_retries = False

    def note(self, message: str, *path: str | int, placeholder: int | None = None) -> None:
        place = self._source.place(path, key=placeholder is None)
        if placeholder is not None:
            place = self._place_in(path, placeholder)
        self._notes.append(Problem(message, place, path, self._source.file))

    def refuse(self, message: str, path: Path_) -> None:
        self._wrong.append(Problem(message, self._source.place(path), path, self._source.file))

    def _place_in(self, path: Path_, number: int) -> Place:
        """Where the n-th ``{{`` of the text at `path` stands."""
        start, text = self._source.place(path), self._source.text
        lines = text.splitlines(keepends=True)
        at = sum(map(len, lines[: start.line - 1])) + start.column - 1
        for _ in range(number + 1):
            at = text.find("{{", at + 1)
        return Place(text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)) if at >= 0 else start

    def workflow(self, data: dict[str, Any], steps: list[dict[str, Any]]) -> Imported:
        told = data.get("id") or data.get("name") or self._default_id
        document: dict[str, Any] = {"id": self.id_of(told, "id" if data.get("id") else "name")}
        if data.get("id") and data.get("name"):
            document["name"] = data["name"]
        document |= {key: data[key] for key in _SAME if data.get(key) not in (None, "", [], {})}
        if data.get("context"):
            document["vars"] = data["context"]
        kept: dict[str, Any] = {}
        for key, value in data.items():
            if key in ("config", "errorHandling") and isinstance(value, dict):
                if rest := {name: one for name, one in value.items() if not self.setting(document, one, key, name)}:
                    kept[key] = rest
            elif key not in ("id", "name", "context", "steps", *_SAME):
                self.note(f"'{key}' has no counterpart: kept under metadata, without effect", key)
                kept[key] = value
        for position, step in enumerate(steps):
            named = next((word for word in _NAMED if step.get(word)), None)
            if named is None:
                self.refuse("a step has a `key:`", ("steps", position))
            else:
                self._ids[str(step[named])] = self.id_of(step[named], "steps", position, named)
        made = [self.step(step, position) for position, step in enumerate(steps) if any(map(step.get, _NAMED))]
        if self._wrong:
            raise WorkflowFileInvalid(sorted(self._wrong, key=lambda problem: problem.place))
        if self._inputs:
            document["inputs"] = dict.fromkeys(self._inputs.values(), "any")
        if kept:
            document["metadata"] = {**document.get("metadata", {}), **kept}
        document["steps"] = made
        return Imported(document, sorted(self._notes, key=lambda note: note.place))

    def setting(self, document: dict[str, Any], value: Any, section: str, name: str) -> bool:
        """Take over a setting of the whole workflow; False if it has no counterpart, which is noted."""
        where = (section, name)
        match name:
            case "maxRetries" if _is_count(value):
                document["retries"], self._has_retries = value, True
            case "continueOnError" if isinstance(value, bool):
                self._goes_on = self._goes_on or value
            case "defaultTimeout" if _is_count(value):
                self._timeout = _length(value)
            case "timeout":
                self.note("a time limit for the whole run has no counterpart: steps have theirs", *where)
                return False
            case "parallelism":
                self.note(
                    "a limit of steps at a time has no counterpart: `parallel: false` lets a step run alone", *where
                )
                return False
            case "checkpointInterval" | "saveCheckpoints":
                self.note("checkpoints are for the one who runs it to say: wf run --checkpoints WHEN", *where)
                return False
            case _:
                self.note(f"'{section}.{name}' has no counterpart: kept under metadata, without effect", *where)
                return False
        return True

    def step(self, step: dict[str, Any], position: int) -> dict[str, Any]:
        at: Path_ = ("steps", position)
        named = next(word for word in _NAMED if step.get(word))
        made: dict[str, Any] = {"id": self._ids[str(step[named])]}
        if named != "name" and step.get("name"):
            made["name"] = step["name"]
        if step.get("description"):
            made["description"] = step["description"]
        kept = dict(step["metadata"]) if isinstance(step.get("metadata"), dict) else {}
        used = {named, "name", "description", "metadata"}
        made |= self.work(step, at, used)
        self.terms(step, at, made, used)
        for key, value in step.items():
            if key not in used:
                self.note(f"'{key}' has no counterpart: kept under metadata, without effect", *at, key)
                kept[key] = value
        return {**made, "metadata": kept} if kept else made

    def work(self, step: dict[str, Any], at: Path_, used: set[str]) -> dict[str, Any]:
        """Who does what."""
        asked = next((key for key in ("agent", "agentId", "provider") if step.get(key)), None)
        if asked is None:
            self.note("the step names no agent: it asks the agent 'default'", *at)
        elif asked == "provider":
            self.note(f"the step names no agent: its provider '{step[asked]}' is taken for one", *at, asked)
        does = next((key for key in ("prompt", "task", "action") if step.get(key)), None)
        used |= {key for key in (asked, does) if key is not None}
        if does is None:
            self.refuse("a step says what to do: `prompt:`, `task:` or `action:`", at)
        task = self.filled(str(step[does]), (*at, does)) if does is not None else ""
        return {"agent": str(step[asked]) if asked is not None else "default", "task": task}

    def terms(self, step: dict[str, Any], at: Path_, made: dict[str, Any], used: set[str]) -> None:
        """When it runs, how often it is tried, how long it may take."""
        needs = [key for key in ("dependencies", "dependsOn", "needs") if step.get(key) is not None]
        wanted = [one for key in needs for one in (step[key] if isinstance(step[key], list) else [step[key]])]
        made["needs"] = [self._ids.get(str(one), str(one)) for one in dict.fromkeys(map(str, wanted))]
        used |= set(needs)
        if isinstance(step.get("parallel"), bool):
            made["parallel"] = step["parallel"]
            used.add("parallel")
        given = {
            key: step[key] for key in ("continueOnError", "optional", "required") if isinstance(step.get(key), bool)
        }
        used |= set(given)
        if self._goes_on or given.get("continueOnError") or given.get("optional") or given.get("required") is False:
            made["continue_on_error"] = True
        self.retries(step, at, made, used)
        limits = [key for key in ("timeoutMs", "timeout") if step.get(key) and _is_count(step[key])]
        if limits:
            used.add(limits[0])
            made["timeout"] = _length(step[limits[0]])
        elif self._timeout is not None:
            made["timeout"] = self._timeout

    def retries(self, step: dict[str, Any], at: Path_, made: dict[str, Any], used: set[str]) -> None:
        if _is_count(step.get("retries")):
            made["retries"] = step["retries"]
            used.add("retries")
        policy = step.get("retryPolicy")
        if isinstance(policy, dict):
            used.add("retryPolicy")
            for key, value in policy.items():
                if key in _RETRY:
                    made[_RETRY[key]] = value
                elif key == "retryDelayMs" and _is_count(value):
                    made["delay"] = _length(value)
                else:
                    self.note(
                        f"'retryPolicy.{key}' has no counterpart and is left out: {value!r}", *at, "retryPolicy", key
                    )
        if isinstance(step.get("retryable"), bool):
            used.add("retryable")
            if not step["retryable"]:
                made["retries"] = 0
            elif not self._has_retries and "retries" not in made:
                self.note("'retryable' does not say how often: it is not tried again, add `retries:`", *at, "retryable")

    # -- texts ----------------------------------------------------------------------------------------------------------

    def filled(self, text: str, path: Path_) -> str:
        """A prompt with its ``{{name}}`` as expressions."""
        found: list[str] = []
        end = 0
        for number, match in enumerate(_PLACEHOLDER.finditer(text)):
            found += [text[end : match.start()].replace("${{", _OPEN), self.expression(match, number, path)]
            end = match.end()
        return "".join([*found, text[end:].replace("${{", _OPEN)])

    def expression(self, match: re.Match[str], number: int, path: Path_) -> str:
        named = _NAME.fullmatch(match[1])
        if named is None:
            self.note(f"'{match[0]}' has no counterpart: it stays as it is", *path, placeholder=number)
            return match[0]
        name, rest = named[1], named[2]
        if name in self._ids:
            for word in _RESULT:
                if rest == word or rest.startswith(f"{word}."):
                    rest = rest.removeprefix(word)
            id_ = self._ids[name]
            return f"${{{{ steps{f'.{id_}' if id_.isidentifier() else f'[{id_!r}]'}{rest} }}}}"
        if name not in self._inputs:
            self._inputs[name] = name.replace("-", "_")
            if self._inputs[name] != name:
                self.note(f"the input '{name}' is called '{self._inputs[name]}'", *path, placeholder=number)
        return f"${{{{ inputs.{self._inputs[name]}{rest} }}}}"

    def id_of(self, told: Any, *path: str | int) -> str:
        id_ = _ID.sub("-", str(told).strip())[:100]
        if id_ != str(told):
            self.note(f"'{told}' cannot be an id: it is called '{id_}'", *path)
        return id_


_OPEN: Final = '${{ "${{" }}'
"""Expression for the text that begins expressions."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _length(milliseconds: int) -> str:
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
