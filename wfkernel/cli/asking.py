"""Asking for the answer to a suspended step at a terminal, field by field.

What is asked follows the JSON schema the step suspended with. Each field is checked by that schema as it is typed, and
asked again beneath what is wrong with it; secrets are not echoed. An empty line leaves a field that has a default, or
is optional, as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import typer

from wfkernel.engine.state import StepState
from wfkernel.plan.schema import check_schema

__all__ = ["ask_again", "ask_for_answer"]

_LEFT_OUT: Final = object()


def ask_for_answer(step: StepState) -> Any:
    """The answer somebody types for a suspended step."""
    assert step.suspension is not None
    typer.echo(
        f"step '{step.path}' asks: {step.suspension.message}" if step.suspension.message else f"step '{step.path}'"
    )
    if step.suspension.payload is not None:
        typer.echo(json.dumps(step.suspension.payload, indent=2, ensure_ascii=False))
    if not step.suspension.schema:
        return _Asker({}).field("answer", {}, required=False, default=None)
    return _Asker(step.suspension.schema).ask("", step.suspension.schema)


def ask_again(step: StepState, answer: Any, problems: Iterable[tuple[str, str]]) -> Any:
    """The answer with the fields that were refused asked for once more; all of them, where a problem names none."""
    assert step.suspension is not None
    asker, schema = _Asker(step.suspension.schema), step.suspension.schema
    properties = asker.resolved(schema).get("properties", {})
    refused = {path.partition(".")[0] for path, _ in problems}
    for path, message in problems:
        typer.echo(f"  {path or 'answer'}: {message}", err=True)
    if not isinstance(answer, dict) or not refused <= set(properties):
        return asker.ask("", schema)
    given = {name: asker.property("", name, schema) for name in properties if name in refused}
    return {**answer, **{name: value for name, value in given.items() if value is not _LEFT_OUT}}


class _Asker:
    """Asks for values of the parts of one schema."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        """The part with its reference followed, and of "this or nothing" the this."""
        found = part
        while "$ref" in found or "anyOf" in found or len(found.get("allOf", ())) == 1:
            if "$ref" in found:
                inner = self._root.get("$defs", {}).get(found["$ref"].rpartition("/")[2], {})
            else:
                choices = [one for one in found.get("anyOf") or found["allOf"] if one.get("type") != "null"]
                if len(choices) != 1:
                    break
                [inner] = choices
            found = {**inner, **{key: said for key, said in found.items() if key not in ("$ref", "anyOf", "allOf")}}
        return found

    def ask(self, name: str, part: dict[str, Any]) -> Any:
        """A value of the part, whose field is called `name` in full; fields of an object one after the other."""
        kind = self.resolved(part)
        if kind.get("type") == "object" and kind.get("properties"):
            given = {one: self.property(name, one, kind) for one in kind["properties"]}
            return {one: value for one, value in given.items() if value is not _LEFT_OUT}
        if kind.get("type") == "array" and isinstance(kind.get("items"), dict):
            return self._items(name, kind)
        return self.field(name or "answer", part, required=True)

    def property(self, around: str, name: str, kind: dict[str, Any]) -> Any:
        """The value of one field of an object, or that it is left out."""
        kind = self.resolved(kind)
        part, path = kind["properties"][name], f"{around}.{name}" if around else name
        required, resolved = name in kind.get("required", ()), self.resolved(part)
        if "const" in resolved:
            return resolved["const"]
        nested = bool(resolved.get("properties")) or (resolved.get("type") == "array" and "items" in resolved)
        if not nested:
            return self.field(path, part, required=required)
        if not required and not typer.confirm(f"{path}: give it?", default=False):
            return _LEFT_OUT
        return self.ask(path, part)

    def _items(self, name: str, kind: dict[str, Any]) -> list[Any]:
        items: list[Any] = []
        while True:
            path, inner = f"{name}.{len(items)}", self.resolved(kind["items"])
            if inner.get("properties"):
                if not typer.confirm(f"{name}: {'another' if items else 'one'}?", default=False):
                    break
                items.append(self.ask(path, kind["items"]))
            else:
                item = self.field(path, kind["items"], required=False, hint="empty line: no more")
                if item is _LEFT_OUT:
                    break
                items.append(item)
            # Too many, or one of them twice, is seen here; too few only at the end.
        for problem in self._problems({**kind, "items": {}}, items):
            typer.echo(f"  {problem}", err=True)
            return self._items(name, kind)
        return items

    def field(
        self, path: str, part: dict[str, Any], *, required: bool, default: Any = _LEFT_OUT, hint: str = ""
    ) -> Any:
        """A value that is typed on one line, asked for until it fits."""
        kind = self.resolved(part)
        default = kind.get("default", default)
        secret = kind.get("format") == "password" or kind.get("writeOnly") is True
        words = [kind.get("description", ""), _choices(kind), hint]
        if default is not _LEFT_OUT and not secret:
            words.append(f"default {json.dumps(default, ensure_ascii=False)}")
        elif not required and not hint:
            words.append("optional")
        said = ", ".join(filter(None, words))
        while True:
            text = typer.prompt(f"{path} ({said})" if said else path, default="", show_default=False, hide_input=secret)
            if not text and not (required and default is _LEFT_OUT):
                return _LEFT_OUT if hint or default is _LEFT_OUT or "default" in kind else default
            value, problems = self._read(part, kind, text)
            if not problems:
                return value
            for problem in problems:
                typer.echo(f"  {problem}", err=True)

    def _read(self, part: dict[str, Any], kind: dict[str, Any], text: str) -> tuple[Any, list[str]]:
        """What was typed as a value of the part, and what is wrong with it."""
        texts = kind.get("type") == "string" or all(isinstance(one, str) for one in kind.get("enum", [None]))
        if kind.get("type") == "boolean":
            value: Any = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}.get(
                text.strip().lower(), text
            )
            return value, [] if isinstance(value, bool) else ["answer y or n"]
        if texts:
            return text, self._problems(part, text) if text else ["Field required"]
        try:
            value = json.loads(text)
        except ValueError:
            value = text  # of the alternatives one may be a text; if not, the schema says so
        return value, self._problems(part, value)

    def _problems(self, part: dict[str, Any], value: Any) -> list[str]:
        schema = {**part, "$defs": self._root.get("$defs", {})}
        return [f"{path}: {message}" if path else message for path, message in check_schema(schema, value)]


def _choices(kind: dict[str, Any]) -> str:
    if kind.get("type") == "boolean":
        return "y/n"
    return "one of " + ", ".join(map(str, kind["enum"])) if "enum" in kind else ""
