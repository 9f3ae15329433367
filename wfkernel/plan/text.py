"""The text of a workflow file, YAML or JSON, as plain data that remembers where everything stands.

PyYAML's C parser gives nodes with marks; what they mean is decided here, by the core schema of YAML 1.2 (``yes`` and
``12:30`` are texts, ``true`` and ``12`` are not). Nothing but texts, numbers, booleans, nulls, lists and mappings can
come out: a tag that asks for anything else is refused, and so are duplicate keys, several documents, and files that are
too large, too deep or that grow too large when their aliases are followed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

__all__ = ["LIMITS", "LONGEST_NUMBER", "Place", "Problem", "SourceText", "TextLimits", "parse_text"]

_CORE: Final = re.compile(
    r"(?P<null>null|Null|NULL|~|)|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)|(?P<int>[-+]?[0-9]+)|0o(?P<oct>[0-7]+)"
    r"|0x(?P<hex>[0-9a-fA-F]+)|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
_NO_NUMBER: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
"""Numbers in YAML, not in JSON."""
LONGEST_NUMBER: Final = 400
"""Digits of a whole number."""
_YAML: Final = "tag:yaml.org,2002:"
_PLAIN: Final = "plain"
"""Tag of a text without quotes, whose meaning is still open."""
_NAMED: Final = {f"{_YAML}{name}" for name in ("null", "bool", "int", "float")}
_LOOKS_DEEP: Final = 500
_BRACKET: Final = re.compile(r"[\[\]{}]")
_INDENTED: Final = re.compile(rf"^[ ?:\-]{{{_LOOKS_DEEP},}}", re.M)
_COLON: Final = re.compile(r'"([ \t\r]*\n\s*):')
_CONTROL: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PAIR: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How large a file may be."""

    bytes: int = 5_000_000
    depth: int = 60
    values: int = 500_000
    """Texts, numbers, lists and mappings in all, aliases counted each time they are used."""


LIMITS: Final = TextLimits()


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """A position in a file: line and column count from 1; 0 means the file as a whole."""

    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file."""

    message: str
    place: Place = field(default_factory=Place)
    path: tuple[str | int, ...] = ()
    file: str = ""

    def __str__(self) -> str:
        where = f":{self.place.line}:{self.place.column}" if self.place.line else ""
        return f"{self.file or 'workflow'}{where}: {self.message}"


class _Nodes(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The C parser, with what a text without quotes means left open."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else f"{_YAML}str"
        return f"{_YAML}seq" if kind is yaml.SequenceNode else f"{_YAML}map"


class Refused(Exception):
    """The text cannot be read at all. `problems` say why."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(problems)


class SourceText:
    """A parsed file: `data`, and where each part of it stands."""

    def __init__(self, text: str, file: str, data: Any, root: yaml.Node) -> None:
        self.text, self.file, self.data = text, file, data
        self._root = root

    def place(self, path: Sequence[str | int], *, key: bool = False, placeholder: int | None = None) -> Place:
        """Where the value at `path` stands, or (`key`) the key before it; the nearest thing around what is not there.

        With `placeholder` the n-th ``${{`` in that text.
        """
        node, key_node = self._root, None
        for part in path:
            if isinstance(node, yaml.MappingNode):
                pair = next(((k, v) for k, v in node.value if k.value == part), None)
                if pair is None:
                    break
                key_node, node = pair
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                key_node, node = None, node.value[part]
            else:
                break
        mark = key_node.start_mark if key and key_node is not None else node.start_mark
        if placeholder is not None:
            at, end = mark.index, node.end_mark.index
            for _ in range(placeholder + 1):
                at = self.text.find("${{", at + (at != mark.index))
            if 0 <= at < end:
                before = self.text[:at]
                return Place(before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1)
        return Place(mark.line + 1, mark.column + 1)


def parse_text(text: str, file: str = "", *, limits: TextLimits = LIMITS) -> SourceText:
    """Read YAML or JSON. Raises `Refused`."""
    size = len(text.encode("utf-8", "replace"))
    if size > limits.bytes:
        raise Refused([Problem(f"the file has {size} bytes, more than {limits.bytes} are not read", file=file)])
    text = text.removeprefix("\ufeff")
    if file.endswith(".json"):
        text = _checked_json(text, file)
    _refuse_deep(text, file, limits)
    loader = _Nodes(text)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or str(error)
        if isinstance(error, yaml.composer.ComposerError) and "single document" in str(error):
            reason = "a file holds one workflow: a second document ('---') begins here"
        place = Place(mark.line + 1, mark.column + 1) if mark else Place()
        raise Refused([Problem(_friendly(reason, error), place, (), file)]) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        position = getattr(error, "position", None)
        before = text[:position] if isinstance(position, int) else ""
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n")) if before else Place(1, 1)
        raise Refused([Problem(str(error).splitlines()[0], place, (), file)]) from None
    except RecursionError:
        raise Refused(
            [Problem(f"lists and mappings are nested deeper than {limits.depth}", Place(1, 1), (), file)]
        ) from None
    finally:
        loader.dispose()
    if root is None:
        raise Refused([Problem("the file is empty: a workflow has at least `id:` and `steps:`", Place(1, 1), (), file)])
    reader = _Reader(file, limits)
    if "&" in text:  # without anchors there are no aliases to follow
        reader.measure(root)
    data = reader.value(root)
    if reader.problems:
        raise Refused(reader.problems)
    return SourceText(text, file, data, root)


def _refuse_deep(text: str, file: str, limits: TextLimits) -> None:
    """Raise `Refused` for nesting so deep that composing nodes, which recurses in C, could overflow the stack.

    A look at brackets and indentation settles almost every file; only one that looks deep is parsed into events.
    """
    depth = deepest = 0
    for match in _BRACKET.finditer(text):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    if deepest < _LOOKS_DEEP and _INDENTED.search(text) is None:
        return
    depth = 0
    try:
        for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > limits.depth:
                mark = event.start_mark
                place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place()
                raise Refused([Problem(f"lists and mappings are nested deeper than {limits.depth}", place, (), file)])
    except yaml.YAMLError:  # told, with its place, by who composes
        return


def _friendly(reason: str, error: Any) -> str:
    if "found character '\\t'" in reason or "found character that cannot start any token" in reason:
        return f"{reason} (YAML is indented with spaces, not tabs; a text that begins with % @ or ` needs quotes)"
    context = getattr(error, "context", None)
    if "second document" in reason:
        return reason
    return f"{reason} ({context})" if context and context not in reason else reason


def _checked_json(text: str, file: str) -> str:
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except _NotJSON as constant:
        at = re.search(rf"(?<![\w\"]){re.escape(str(constant))}(?![\w\"])", text)
        before = text[: at.start()] if at is not None else ""
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise Refused([Problem(f"not JSON: {constant} is no number there", place, (), file)]) from None
    except json.JSONDecodeError as error:
        raise Refused([Problem(f"not JSON: {error.msg}", Place(error.lineno, error.colno), (), file)]) from None
    except RecursionError:
        raise Refused([Problem("not read: nested too deep", Place(1, 1), (), file)]) from None

    def joined(match: re.Match[str]) -> str:  # YAML writes beyond the 16 bits of \u with one escape
        code = 0x10000 + ((int(match[1], 16) - 0xD800) << 10) + (int(match[2], 16) - 0xDC00)
        return f"\\U{code:08X}"

    # What JSON allows and YAML does not: a colon on a line of its own, control characters and line ends beyond ASCII.
    text = _COLON.sub(r'":\1', _PAIR.sub(joined, text))
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class _NotJSON(Exception):
    """A constant that Python's reader of JSON would let through."""


def _refuse_constant(name: str) -> None:
    raise _NotJSON(name)


class _Reader:
    """Nodes to plain data. What is refused is noted, and reading goes on, so that all problems are told at once."""

    def __init__(self, file: str, limits: TextLimits) -> None:
        self.problems: list[Problem] = []
        self._file, self._limits = file, limits
        self._count = self._depth = 0

    def measure(self, root: yaml.Node) -> None:
        """Raise `Refused` if following the aliases makes the file too large, or never ends. Uses no recursion."""
        sizes: dict[int, int] = {}
        stack: list[tuple[yaml.Node, bool]] = [(root, False)]
        under_way: set[int] = set()
        while stack:
            node, done = stack.pop()
            if done:
                under_way.discard(id(node))
                sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
                if sizes[id(node)] > self._limits.values:
                    self._stop(node, f"with its aliases followed the file has more than {self._limits.values} values")
            elif id(node) not in sizes:
                under_way.add(id(node))
                stack.append((node, True))
                for child in _children(node):
                    if id(child) in under_way:
                        self._stop(child, "an alias refers to what it is part of")
                    stack.append((child, False))

    def _stop(self, node: yaml.Node, message: str) -> None:
        self._note(node, message)
        raise Refused(self.problems)

    def _note(self, node: yaml.Node, message: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(message, Place(mark.line + 1, mark.column + 1), (), self._file))

    def value(self, node: yaml.Node) -> Any:
        self._count += 1
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if self._count > self._limits.values:
            self._stop(node, f"the file has more than {self._limits.values} values")
        self._depth += 1
        if self._depth > self._limits.depth:
            self._stop(node, f"lists and mappings are nested deeper than {self._limits.depth}")
        if isinstance(node, yaml.SequenceNode):
            if node.tag != f"{_YAML}seq":
                self._refuse_tag(node)
            found: Any = [self.value(child) for child in node.value]
        else:
            assert isinstance(node, yaml.MappingNode)
            if node.tag != f"{_YAML}map":
                self._refuse_tag(node)
            found = self._mapping(node)
        self._depth -= 1
        return found

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        own: list[Any] = []
        for key_node, value_node in node.value:
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                several = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for one in several:
                    if not isinstance(one, yaml.MappingNode):
                        self._note(one, "'<<' merges mappings, and this is none")
                        continue
                    merged = {**self._mapping(one), **merged}
                    own += one.value
                continue
            key = self.value(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if key is None and not (isinstance(key_node, yaml.ScalarNode) and key_node.value):
                self._note(key_node, "a key is a text")
                continue
            key = key_node.value  # `on: x` and `1: x` have the keys 'on' and '1', as in JSON
            if key in found:
                self._note(key_node, f"the key '{key}' is there twice")
            found[key] = self.value(value_node)
        if own:  # so that positions of merged values are found too
            node.value = [pair for pair in node.value if pair[0].value != "<<"] + [
                pair for pair in own if pair[0].value not in found
            ]
        return {**{k: v for k, v in merged.items() if k not in found}, **found} if merged else found

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        tag, text = node.tag, node.value
        if tag != _PLAIN and tag not in _NAMED:
            if tag != f"{_YAML}str":
                self._refuse_tag(node)
            return text
        match = _CORE.fullmatch(text)
        if match is None:
            if _NO_NUMBER.fullmatch(text):
                self._note(node, f"{text} is no number that can be written down as JSON; for the text write '{text}'")
            return text
        match match.lastgroup:
            case "null":
                return None
            case "true" | "false" as word:
                return word == "true"
            case "int":
                if len(text) > LONGEST_NUMBER:
                    self._note(node, f"a number of {len(text)} digits: put quotes around it if it is a text")
                    return 0
                return int(text)
            case "oct":
                return int(match["oct"], 8)
            case "hex":
                return int(match["hex"], 16)
        number = float(text)
        if math.isinf(number):
            self._note(node, f"{text} is larger than the largest number; for the text write '{text}'")
        return number

    def _refuse_tag(self, node: yaml.Node) -> None:
        tag = node.tag.replace(_YAML, "!!")
        self._note(node, f"the tag {tag} is refused: a workflow file holds texts, numbers, lists and mappings only")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
