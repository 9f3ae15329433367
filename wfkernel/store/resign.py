"""``wf trust``: make the values of a store from elsewhere one's own.

First one looks: `untrusted` lists every value that would run code when opened, with what its pickle would import, found
by reading its opcodes and executing none. Then `trust` signs exactly those with this user's key. Nothing is opened.
"""

from __future__ import annotations

import base64
import json
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import StoreError, ValueUnreadable
from wfkernel.store.checkpoints import checksum
from wfkernel.store.deeds import note_deed
from wfkernel.store.fsck import first_bad_events
from wfkernel.store.projection import relink
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute
from wfkernel.store.trust import content_digest, is_trusted, sign

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.store import Store

__all__ = ["Untrusted", "trust", "untrusted"]

_CANDIDATES: Final = "payload LIKE '%\"sig\"%' OR payload LIKE '%\"pickle\"%' OR payload LIKE '%\"module\"%'"


@dataclass(frozen=True, slots=True)
class Untrusted:
    """A value that somebody else saved and that would run code when opened."""

    run_id: str
    seq: int
    step: str
    name: str
    type: str
    codec: str
    size: int
    imports: tuple[str, ...]
    """What opening it would import, as ``module.name``; the module itself for a module."""


def untrusted(store: Store) -> list[Untrusted]:
    """All such values of the store, oldest first."""
    with store.database.open() as connection:
        return [
            Untrusted(run_id, seq, path, record.get("name", ""), record.get("type", ""), record["codec"],
                      record.get("size", 0), _imports(store, record))
            for run_id, seq, path, payload in _events(connection)
            for record in _unsigned(json.loads(payload))
        ]  # fmt: skip


def trust(store: Store) -> int:
    """Sign what `untrusted` lists with this user's key; returns how many values were signed.

    Raises `StoreError` if events of the store are damaged: then what would be signed is not what was saved.
    """
    signed = 0
    with store.database.open() as connection:
        bad = first_bad_events(connection)
        if bad:
            raise StoreError(f"the store {store.path} is damaged and nothing was signed. {bad[0]}")
        with transaction(connection):
            runs = set()
            for run_id, seq, _, payload in _events(connection):
                document = json.loads(payload)
                if count := _sign(document):
                    signed += count
                    runs.add(run_id)
                    execute(
                        connection,
                        "UPDATE wf.events SET payload = ? WHERE run_id = ? AND seq = ?",
                        [_text(document), run_id, seq],
                    )
            for id_, state in connection.execute("SELECT checkpoint_id, state FROM wf.checkpoints").fetchall():
                document = json.loads(state)
                if _sign(document):
                    text = _text(document)
                    execute(
                        connection,
                        "UPDATE wf.checkpoints SET state = ?, checksum = ? WHERE checkpoint_id = ?",
                        [text, checksum(text), id_],
                    )
            relink(connection, sorted(runs))
    if signed:
        note_deed(store, "trusted", f"values signed: {signed}")
    return signed


def _events(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int, str, str]]:
    return connection.execute(
        f"SELECT run_id, seq, path, payload FROM wf.events WHERE {_CANDIDATES} ORDER BY ts, seq"
    ).fetchall()


def _unsigned(document: Any) -> Iterator[dict[str, Any]]:
    """Every record somewhere in `document` that needs a signature and has none of this user's."""
    if isinstance(document, list):
        for item in document:
            yield from _unsigned(item)
    elif isinstance(document, dict):
        if isinstance(document.get("codec"), str) and not is_trusted(document):
            yield document
        for item in document.values():
            yield from _unsigned(item)


def _sign(document: Any) -> int:
    records = list(_unsigned(document))
    for record in records:
        record["sig"] = sign(content_digest(record))
    return len(records)


def _imports(store: Store, record: dict[str, Any]) -> tuple[str, ...]:
    if record["codec"] == "module":
        return (str(record["data"]),)
    try:
        content = store.blobs.read(record["blob"]) if "blob" in record else base64.b64decode(record["data"])
    except ValueUnreadable as error:
        return (f"(unknown: {error})",)
    found: dict[str, None] = {}
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("GLOBAL", "INST"):
                found[str(argument).replace(" ", ".", 1)] = None
            elif opcode.name == "STACK_GLOBAL":
                found[".".join(strings[-2:]) or "(unknown)"] = None
            elif isinstance(argument, str):
                strings.append(argument)
    except ValueError as error:
        found[f"(unknown: not a pickle that can be read: {error})"] = None
    return tuple(found)


def _text(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
