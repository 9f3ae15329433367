"""``wf trust``: make the values of a store from elsewhere one's own.

First one looks: `untrusted` lists every value that would run code when opened, with what its pickle would import, found
by reading its opcodes and executing none; and displays that could run code in a page (`wfkernel.store.displayed`). Then `trust` signs exactly those with this user's key. Nothing is opened.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import StoreError, ValueUnreadable
from wfkernel.store.checkpoints import checksum
from wfkernel.store.deeds import note_deed
from wfkernel.store.displayed import Outputs, active_kinds, may_show, sign_displays
from wfkernel.store.fsck import first_bad_events
from wfkernel.store.opcodes import imports_of
from wfkernel.store.projection import relink
from wfkernel.store.read import transaction
from wfkernel.store.sql import execute
from wfkernel.store.trust import content_digest, is_trusted, sign

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.store import Store

__all__ = ["Untrusted", "trust", "untrusted"]

_CANDIDATES: Final = " OR ".join(f"payload LIKE '%\"{word}\"%'" for word in ("sig", "pickle", "module", "shown"))


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
    """What opening it would import, as ``module.name``; the module itself for a module, mime types for displays."""


def untrusted(store: Store) -> list[Untrusted]:
    """All such values of the store, oldest first."""
    with store.database.open() as connection:
        return [
            Untrusted(run_id, seq, path, *_told(store, record, outputs))
            for run_id, seq, path, payload in _events(connection)
            for record, outputs in _unsigned(store, json.loads(payload))
        ]


def trust(store: Store) -> int:
    """Sign what `untrusted` lists with this user's key; returns how many values were signed.

    Raises `StoreError` if events of the store are damaged: then what would be signed is not what was saved.
    """
    signed = 0
    with store.database.open(change=True) as connection:
        bad = first_bad_events(connection)
        if bad:
            raise StoreError(f"the store {store.path} is damaged and nothing was signed. {bad[0]}")
        with transaction(connection):
            runs = set()
            for run_id, seq, _, payload in _events(connection):
                document = json.loads(payload)
                if count := _sign(store, document):
                    signed += count
                    runs.add(run_id)
                    execute(
                        connection,
                        "UPDATE wf.events SET payload = ? WHERE run_id = ? AND seq = ?",
                        [_text(document), run_id, seq],
                    )
            for id_, state in connection.execute("SELECT checkpoint_id, state FROM wf.checkpoints").fetchall():
                document = json.loads(state)
                if _sign(store, document):
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


def _unsigned(store: Store, document: Any) -> Iterator[tuple[dict[str, Any], Outputs]]:
    """Every record somewhere in `document` that needs a signature and has none of this user's; displays with what they are."""
    if isinstance(document, list):
        for item in document:
            yield from _unsigned(store, item)
    elif isinstance(document, dict):
        if isinstance(document.get("codec"), str) and _needs_trust(document):
            yield document, []
        outputs = _displays(store, document.get("shown"))
        if outputs and not may_show(document["shown"], outputs):
            yield document["shown"], outputs
        for item in document.values():
            yield from _unsigned(store, item)


def _needs_trust(record: dict[str, Any]) -> bool:
    try:
        return not is_trusted(record)
    except ValueUnreadable:  # it cannot be opened by anybody
        return False


def _displays(store: Store, record: Any) -> Outputs:
    """What a step showed, read from its record."""
    if not isinstance(record, dict) or record.get("codec") != "json":
        return []
    try:
        outputs = store.decode(record)
    except ValueUnreadable:
        return []
    return outputs if isinstance(outputs, list) and all(isinstance(output, dict) for output in outputs) else []


def _sign(store: Store, document: Any) -> int:
    found = list(_unsigned(store, document))
    for record, outputs in found:
        if outputs:
            sign_displays(record, outputs)
        else:
            record["sig"] = sign(content_digest(record))
    return len(found)


def _told(store: Store, record: dict[str, Any], outputs: Outputs) -> tuple[str, str, str, int, tuple[str, ...]]:
    size = record.get("size", 0)
    if outputs:
        return "what it showed", "display", record["codec"], size, tuple(active_kinds(outputs))
    return record.get("name", ""), record.get("type", ""), record["codec"], size, _imports(store, record)


def _imports(store: Store, record: dict[str, Any]) -> tuple[str, ...]:
    if record["codec"] == "module":
        return (str(record["data"]),)
    try:
        content = store.blobs.read(record["blob"]) if "blob" in record else base64.b64decode(record["data"])
    except ValueUnreadable as error:
        return (f"(unknown: {error})",)
    try:
        return tuple(dict.fromkeys(imports_of(content)))
    except ValueError as error:
        return (f"(unknown: not a pickle that can be read: {error})",)


def _text(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
