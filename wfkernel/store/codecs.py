"""How values become records in an event, and come back.

When a step ends, the names it bound are encoded. Each name gets one JSON-safe record; content above 32 KiB lies in a
content-addressed file beside the database, smaller content in the record itself. The codecs, in the order tried:

    module   the module's name; it is imported again
    arrow    pandas, polars and pyarrow frames (wfkernel.store.frames)
    npy      NumPy arrays (wfkernel.store.arrays)
    json     values of exactly JSON's types (wfkernel.store.plain); the record shows them as they are
    pickle   everything else (wfkernel.store.pickles), signed (wfkernel.store.trust)
    unsaved  what cannot be pickled: `why` says so in one line, nothing is raised

A value comes back equal in type and content, or is not taken by that codec. Names of one step that share an object
come back sharing it, if they are decoded in one call:

* names for one and the same object: the first has the record, the others a copy of it with `same_as`;
* frames and arrays inside other values: the pickle refers to their record. Large ones always get a file of their own,
  so that a function that uses a frame does not store it once more;
* anything else: the names are pickled as one `group`, also those that JSON could have held. NumPy arrays and pandas
  objects that are views of one another become independent, as in any pickle.

A record holds everything that is needed to decode it. Its fields:

    name, type       the name, and the qualified type for people
    codec            one of the above
    digest           content digest of the value: `wfkernel.store.digest.digest_value`
    size             bytes stored; the first name of a group has the size of the group, the others 0
    data | blob      the content (JSON: the value; module: its name; else base64), or the digest that names a file
    sig              signature of pickles and modules
    group, same_as   see above
    why              why the value is unsaved
    about            a line for people and for search, where the content itself is not readable
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from wfkernel.errors import ValueUnreadable
from wfkernel.store.blobs import BlobDir
from wfkernel.store.decoder import Decoder, described

if TYPE_CHECKING:
    from wfkernel.store.encoder import Record

__all__ = ["decode_names", "decode_value", "encode_names", "encode_value"]


def encode_names(
    values: Mapping[str, Any],
    blobs: BlobDir,
    *,
    durable: bool = True,
    namespace: dict[str, Any] | None = None,
) -> list[Record]:
    """Encode the names a step bound: one JSON-safe record per name, in order.

    `durable`: all files the records name are on disk, safe from a power cut, when this returns. `namespace`: the
    globals of functions written in the notebook (default: those of ``__main__``). A value that cannot be saved gets
    a record that says so; `StoreError` is raised only if the disk or the signing key refuse.
    """
    from wfkernel.store.encoder import Encoder  # brings cloudpickle, which takes 30 ms to import

    with ExitStack() as open_files:
        home = vars(sys.modules["__main__"]) if namespace is None else namespace
        return Encoder(blobs, durable, home, open_files).encode(values)


def decode_names(
    records: Iterable[Record],
    blobs: BlobDir,
    names: Container[str] | None = None,
    *,
    namespace: dict[str, Any] | None = None,
    step: str = "",
) -> dict[str, Any]:
    """Restore the values of records that `encode_names` made; unsaved names are left out.

    `names`: restore only these. `namespace`: what functions written in a notebook get as their globals, usually the
    user's namespace; they see what is bound there later, and globals they lack are added to it. Without it they share
    a new one. `step` is for messages. Raises `ValueUnreadable` (missing or damaged file, package not installed, ...)
    and `ValueNotTrusted` (saved by another user or machine, and decoding would run their code).
    """
    decoder = Decoder(blobs, {"__name__": "__main__"} if namespace is None else namespace, step)
    wanted = (r for r in records if names is None or r["name"] in names)
    return {record["name"]: decoder.decode(record) for record in wanted if record["codec"] != "unsaved"}


def encode_value(value: Any, blobs: BlobDir, *, durable: bool = True) -> Record:
    """Encode a single value, such as the input or result of a step. The record's name is empty."""
    (record,) = encode_names({"": value}, blobs, durable=durable)
    return record


def decode_value(record: Record, blobs: BlobDir, *, step: str = "") -> Any:
    """Restore what `encode_value` saved. Raises like `decode_names`, and `ValueUnreadable` for an unsaved value."""
    if record["codec"] == "unsaved":
        raise ValueUnreadable(f"{described('', step)} was not saved ({record['why']}): run the step again")
    return decode_names([record], blobs, step=step)[""]
