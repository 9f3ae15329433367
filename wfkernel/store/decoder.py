"""Decoding the names of one step. The format is described in `wfkernel.store.codecs`."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Mapping
from typing import Any

from wfkernel.errors import ValueNotTrusted, ValueUnreadable, WorkflowError
from wfkernel.store.blobs import BlobDir
from wfkernel.store.trust import is_trusted

__all__ = ["Decoder", "described"]


class Decoder:
    """Decodes records of one step so that what was one object is one object again."""

    def __init__(self, blobs: BlobDir, namespace: dict[str, Any], step: str) -> None:
        self._blobs, self._namespace, self._step = blobs, namespace, step
        self._objects: dict[str, Any] = {}
        """Restored objects by name, or by the key that pickles refer to."""
        self._pickles: dict[str, dict[str, Any]] = {}

    def decode(self, record: Mapping[str, Any]) -> Any:
        """The value of a record that is not unsaved. Raises `ValueUnreadable` and `ValueNotTrusted`."""
        return self._object(record.get("same_as", record["name"]), record)

    def _object(self, key: str, record: Mapping[str, Any]) -> Any:
        if key not in self._objects:
            try:
                self._objects[key] = self._read(key, record)
            except WorkflowError:
                raise
            except Exception as error:  # of foreign code: what unpickles, an import, another version's format
                raise ValueUnreadable(
                    f"{described(record.get('name', ''), self._step)} cannot be restored here "
                    f"({type(error).__name__}: {error}): run the step that made it again"
                ) from error
        return self._objects[key]

    def _read(self, key: str, record: Mapping[str, Any]) -> Any:
        if not is_trusted(record):
            raise ValueNotTrusted(
                f"{described(record.get('name', ''), self._step)} was saved by another user or machine; opening it "
                "would run their code. If you trust it: wf trust STORE"
            )
        match record["codec"]:
            case "module":
                return importlib.import_module(record["data"])
            case "json":
                return json.loads(json.dumps(record["data"]) if "data" in record else self._bytes(record))
            case "arrow":
                from wfkernel.store.frames import read_frame

                return read_frame(self._memory(record))
            case "npy":
                from wfkernel.store.arrays import read_array

                return read_array(self._memory(record))
            case "pickle":
                return self._members(record.get("group", key), record)[key]
            case codec:
                raise ValueUnreadable(f"the record of '{key}' has the unknown codec {codec!r}: update wfkernel")

    def _members(self, leader: str, record: Mapping[str, Any]) -> dict[str, Any]:
        if leader not in self._pickles:
            from wfkernel.store.pickles import unpickle

            self._pickles[leader] = unpickle(self._bytes(record), self._namespace, self._object)
        return self._pickles[leader]

    def _bytes(self, record: Mapping[str, Any]) -> bytes:
        return self._blobs.read(record["blob"]) if "blob" in record else base64.b64decode(record["data"])

    def _memory(self, record: Mapping[str, Any]) -> Any:
        """Writable memory of its own with the content of a frame or array."""
        if "blob" in record:
            return self._blobs.map(record["blob"], record["digest"])
        return bytearray(base64.b64decode(record["data"]))


def described(name: str, step: str) -> str:
    """A value as it is called in messages."""
    return (f"value '{name}'" if name else "a value") + (f" of step '{step}'" if step else "")
