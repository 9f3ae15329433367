"""Encoding the names of one step: which codec each gets, and which names have to stay together.

The format is described in `wfkernel.store.codecs`. Every name that has no codec of its own is a *candidate*: it is
pickled (or turned into JSON) on its own first, which shows what it contains. Candidates that share nothing keep that
result; the others are pickled once more, as a group.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from wfkernel.errors import StoreError
from wfkernel.store.about import about
from wfkernel.store.arrays import is_array, write_array
from wfkernel.store.blobs import BlobDir, BlobWriter
from wfkernel.store.code_digest import type_name
from wfkernel.store.digest import digest_value
from wfkernel.store.frames import Inexact, frame_bytes, is_frame, write_frame
from wfkernel.store.pickles import NEVER_SHARED, Pickler, Reference, groups_of
from wfkernel.store.plain import plain_containers, plain_text
from wfkernel.store.trust import content_digest, sign

__all__ = ["INLINE_BYTES", "Encoder", "Record"]

Record = dict[str, Any]

INLINE_BYTES: Final = 32 * 1024
"""Content up to this size lies in the record."""
OWN_FILE_BYTES: Final = 1 << 20
"""Frames and arrays from this size on get a file of their own wherever they are found inside another value."""
_WHY_LENGTH: Final = 200


@dataclass
class _Candidate:
    """A name that is JSON or a pickle, depending on what it shares."""

    value: Any
    met: set[int] = field(default_factory=set)
    """ids of the objects inside that others could share."""
    json: bytes | None = None
    pickle: BlobWriter | None = None
    pickler: Pickler | None = None
    """Keeps alive what `met` knows by id."""
    careful: bool = False
    why: str = ""


class Encoder:
    """Encodes one step. `open_files` outlives the call and cleans up pickles that were not kept."""

    def __init__(self, blobs: BlobDir, durable: bool, namespace: dict[str, Any], open_files: ExitStack) -> None:
        self._blobs, self._durable, self._namespace, self._open_files = blobs, durable, namespace, open_files
        self._references: dict[int, tuple[Reference, Any]] = {}
        """id -> how pickles refer to a frame or array, and the object itself so that the id is not reused."""

    def encode(self, values: Mapping[str, Any]) -> list[Record]:
        same_as = _same_objects(values)
        distinct = {name: value for name, value in values.items() if name not in same_as}
        content: dict[str, Record] = {}
        for name, value in distinct.items():
            if isinstance(value, ModuleType):
                if sys.modules.get(value.__name__) is value:
                    content[name] = _signed({"codec": "module", "size": 0, "data": value.__name__})
            elif (columnar := self._columnar(value)) is not None:
                content[name] = columnar
                self._references[id(value)] = (name, columnar), value
        candidates = {name: self._try(name, v) for name, v in distinct.items() if name not in content}
        content |= {n: {"codec": "unsaved", "size": 0, "why": c.why} for n, c in candidates.items() if c.why}
        for group in groups_of({name: c.met for name, c in candidates.items() if not c.why}):
            content |= self._group({name: candidates[name] for name in group})
        records = []
        for name, value in values.items():
            first = same_as.get(name, name)
            alias = {"same_as": first} if name != first else {}
            record = {"name": name, "type": type_name(type(value)), **content[first], **alias}
            record.setdefault("digest", digest_value(value))
            if record["codec"] != "json" or "data" not in record:
                record |= {"about": text} if (text := _valid_unicode(about(value))) else {}
            records.append(record)
        return records

    def _columnar(self, value: Any) -> Record | None:
        """The content of a frame or array as a file of its own, or None if it is none or would come back inexactly."""
        if is_frame(value):
            codec, write = "arrow", write_frame
        elif is_array(value):
            codec, write = "npy", write_array
        else:
            return None
        with BlobWriter(self._blobs, durable=self._durable, in_memory=INLINE_BYTES) as file:
            try:
                write(value, file)
            except Inexact:
                return None
            return {"codec": codec, "digest": file.checksum, **self._stored(file)}

    def _stored(self, file: BlobWriter, inline_bytes: int = INLINE_BYTES) -> Record:
        if file.content is not None and file.size <= inline_bytes:
            return {"size": file.size, "data": base64.b64encode(file.content).decode("ascii")}
        return {"size": file.size, "blob": file.commit()}

    def _refer(self, value: Any) -> Reference | None:
        """How a pickle refers to this object, if it has, or should have, a file of its own."""
        known = self._references.get(id(value))
        if known is not None:
            return known[0]
        if is_array(value):
            size = value.nbytes
        elif is_frame(value):
            size = frame_bytes(value)
        else:
            return None
        columnar = self._columnar(value) if size >= OWN_FILE_BYTES else None
        if columnar is None:
            return None
        reference = f"#{len(self._references)}", columnar
        self._references[id(value)] = reference, value
        return reference

    def _try(self, name: str, value: Any) -> _Candidate:
        containers = plain_containers(value)
        text = plain_text(value) if containers is not None else None
        if containers is not None and text is not None:
            return _Candidate(value, met=containers, json=text)
        candidate = _Candidate(value)
        candidate.why = self._pickle({name: candidate})
        if candidate.why and candidate.pickler is not None and candidate.pickler.took_globals:
            candidate.careful = True  # perhaps a function is fine, and only something it looks up is not
            candidate.why = self._pickle({name: candidate})
        return candidate

    def _pickle(self, group: dict[str, _Candidate]) -> str:
        """Pickle the candidates together; the first of them keeps the result. Returns why not, or ""."""
        first = next(iter(group.values()))
        file = first.pickle = self._open_files.enter_context(
            BlobWriter(self._blobs, durable=self._durable, in_memory=INLINE_BYTES)
        )
        probed: dict[int, bool] | None = {} if any(c.careful for c in group.values()) else None
        pickler = first.pickler = Pickler(file, self._namespace, self._refer, probed=probed)
        try:
            pickler.dump({name: candidate.value for name, candidate in group.items()})
        except StoreError:  # the disk, not the value
            raise
        except Exception as error:
            return _one_line(error)
        first.met = pickler.met
        return ""

    def _group(self, group: dict[str, _Candidate]) -> dict[str, Record]:
        """The content of candidates that share objects, or of a single one."""
        first_name, first = next(iter(group.items()))
        if len(group) > 1:
            why = self._pickle(group)
            if why:
                return {name: {"codec": "unsaved", "size": 0, "why": why} for name in group}
        elif first.json is not None:
            return {first_name: self._json(first.json)}
        assert first.pickle is not None
        record = _signed({"codec": "pickle", **self._stored(first.pickle, INLINE_BYTES // len(group))})
        if len(group) == 1:
            return {first_name: record}
        record["group"] = first_name
        return {name: record | ({"size": 0} if name != first_name else {}) for name in group}

    def _json(self, text: bytes) -> Record:
        if len(text) <= INLINE_BYTES:
            return {"codec": "json", "size": len(text), "data": json.loads(text)}  # a copy: values can change
        return {"codec": "json", "size": len(text), "blob": self._blobs.put([text], durable=self._durable)[0]}


def _same_objects(values: Mapping[str, Any]) -> dict[str, str]:
    """name -> the first name bound to the same object, for objects that can tell."""
    first: dict[int, str] = {}
    shareable = {name: value for name, value in values.items() if type(value) not in NEVER_SHARED}
    same = {name: first.setdefault(id(value), name) for name, value in shareable.items()}
    return {name: other for name, other in same.items() if name != other}


def _signed(record: Record) -> Record:
    return record | {"sig": sign(content_digest(record))}


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = _valid_unicode(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)
    return text if len(text) <= _WHY_LENGTH else text[: _WHY_LENGTH - 1] + "…"


def _valid_unicode(text: str) -> str:
    """Lone surrogates replaced, which JSON written as UTF-8 has no place for."""
    return text.encode("utf-8", "replace").decode("utf-8")
