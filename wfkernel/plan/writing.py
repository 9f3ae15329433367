"""Writing YAML with ruamel.yaml: as files are laid out here, texts of several lines as blocks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ruamel.yaml import YAML

__all__ = ["as_yaml", "round_trip"]

WIDTH: Final = 120


def round_trip(*, mapping: int = 2, sequence: int = 4, offset: int = 2, width: int = WIDTH) -> YAML:
    """A reader and writer that keeps comments, order, quotes and blocks. Indentations are in columns."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    yaml.width = width
    return yaml


def as_yaml(data: dict[str, Any], head: str = "", comments: Mapping[int, str] = MappingProxyType({})) -> str:
    """Plain data as YAML. `head` is a comment for the file, `comments` for entries of the list under `steps`."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    found = CommentedMap({key: _with_blocks(value) for key, value in data.items()})
    if head:
        found.yaml_set_start_comment(head)
    if comments:
        found["steps"] = steps = CommentedSeq(found["steps"])
        for position, comment in comments.items():
            steps.yaml_set_comment_before_after_key(position, before=comment, indent=2)
    out = io.StringIO()
    round_trip().dump(found, out)
    return out.getvalue()


def _with_blocks(data: Any) -> Any:
    """`data` with its texts of several lines as literal blocks, and what is no plain text written with escapes."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    match data:
        case str() if data.isprintable():
            return data
        case str():
            return LiteralScalarString(data) if _fits_a_block(data) else DoubleQuotedScalarString(data)
        case dict():
            keys = {key: key if key.isprintable() else DoubleQuotedScalarString(key) for key in data}
            return {keys[key]: _with_blocks(value) for key, value in data.items()}
        case list():
            return [_with_blocks(one) for one in data]
    return data


def _fits_a_block(text: str) -> bool:
    """Whether a literal block gives the text back: it begins with a word, and holds nothing but lines of printable text."""
    return text[:1].strip() != "" and all(line.isprintable() and line == line.rstrip() for line in text.split("\n"))
