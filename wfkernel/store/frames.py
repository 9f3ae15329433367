"""The `arrow` codec: frames as uncompressed Arrow IPC files.

pandas, polars and pyarrow frames become one Arrow IPC file (also known as Feather V2) that any Arrow tool opens. What
Arrow has no place for is JSON under the key ``wfkernel`` of the schema's metadata, so a file can be restored without
the record that names it. Reading copies nothing: columns are laid over the memory they were read into, which for large
blobs is a private mapping of the file, so restored frames can be changed like any other.

Only exact types are taken, and only if they come back identically (`Inexact` otherwise; the caller pickles those):

* pandas: see `wfkernel.store.pandas_layout`.
* polars: through Arrow's plain types in one chunk, if the schema survives that (Object and 128-bit integers do not).
* pyarrow: as it is. Python-defined extension types would need their class registered, and dictionaries that differ from
  chunk to chunk do not fit into a file.
"""

from __future__ import annotations

import json
import mmap
import sys
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import ValueUnreadable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Inexact", "check_arrow_type", "compact", "frame_bytes", "is_frame", "read_frame", "write_frame"]

_KEY: Final = b"wfkernel"
_KINDS: Final = {
    "pandas": ("DataFrame", "Series"),
    "polars": ("DataFrame", "Series"),
    "pyarrow": ("Table", "RecordBatch"),
}


class Inexact(Exception):
    """The value would not come back from Arrow exactly as it is."""


def is_frame(value: Any) -> bool:
    """Whether this is a frame the codec may know, told without importing any library."""
    return _kind_of(value) is not None


def frame_bytes(value: Any) -> int:
    """About how much memory a frame takes, without looking into its objects."""
    kind = _kind_of(value)
    if kind == "pandas.DataFrame":
        return int(value.memory_usage().sum())
    return int(value.estimated_size() if str(kind).startswith("polars.") else value.nbytes)


def _kind_of(value: Any) -> str | None:
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if kind.__name__ not in _KINDS.get(library, ()):
        return None
    return f"{library}.{kind.__name__}" if getattr(sys.modules[library], kind.__name__) is kind else None


def write_frame(value: Any, sink: Any) -> None:
    """Write the frame to the file object `sink`. Raises `Inexact` before the first byte is written."""
    import pyarrow as pa

    try:
        schema, batches = _to_arrow(value)
    except pa.ArrowException as error:
        raise Inexact(str(error)) from error
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_frame(data: bytearray | mmap.mmap) -> Any:
    """Restore a frame over `data`, which must be writable and not be used for anything else."""
    import pyarrow as pa

    reader = pa.ipc.open_file(pa.py_buffer(data))
    metadata = reader.schema.metadata
    spec = json.loads(metadata.pop(_KEY))
    if spec["kind"].startswith("pandas."):
        from wfkernel.store import pandas_layout

        read = pandas_layout.read_frame if spec["kind"] == "pandas.DataFrame" else pandas_layout.read_series
        return read(reader.get_batch(0), spec, _Overlay(data))
    if spec["kind"] == "pyarrow.RecordBatch":
        return reader.get_batch(0).replace_schema_metadata(metadata or None)
    table = reader.read_all().replace_schema_metadata(metadata or None)
    if spec["kind"] == "pyarrow.Table":
        return table
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame if spec["kind"] == "polars.DataFrame" else frame.to_series()


class _Overlay:
    """Lays writable NumPy arrays over Arrow buffers that lie in `data`; pyarrow's own views are read-only."""

    def __init__(self, data: bytearray | mmap.mmap) -> None:
        import numpy as np

        self._memory = np.frombuffer(data, np.uint8)

    def __call__(self, buffer: pa.Buffer, dtype: Any, length: int) -> np.ndarray[Any, Any]:
        import numpy as np

        kind = np.dtype(dtype)
        if not length:
            return np.empty(0, kind)
        begin, size = buffer.address - self._memory.ctypes.data, length * kind.itemsize
        if size > buffer.size or not 0 <= begin <= len(self._memory) - size:
            raise ValueUnreadable("the Arrow file holds less than its metadata say")
        array: np.ndarray[Any, Any] = self._memory[begin : begin + size].view(kind)
        return array


def _to_arrow(value: Any) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    import pyarrow as pa

    kind = _kind_of(value)
    assert kind is not None
    spec: dict[str, Any] = {"kind": kind}
    if kind.startswith("pandas."):
        from wfkernel.store import pandas_layout

        write = pandas_layout.write_frame if kind == "pandas.DataFrame" else pandas_layout.write_series
        batch, layout = write(value)
        schema, batches = batch.schema, [batch]
        spec |= layout
    elif kind.startswith("polars."):
        table = _polars_table(value.to_frame() if kind == "polars.Series" else value)
        schema, batches = table.schema, table.to_batches()
    else:
        _check_pyarrow(value)
        schema, batches = value.schema, [value] if kind == "pyarrow.RecordBatch" else value.to_batches()
    metadata = schema.metadata or {}
    if _KEY in metadata:
        raise Inexact("the schema already holds our key")
    schema = schema.with_metadata({**metadata, _KEY: json.dumps(spec, separators=(",", ":"))})
    return schema, [
        pa.RecordBatch.from_arrays([compact(column) for column in batch.columns], schema=schema)
        if batch.num_columns
        else batch.replace_schema_metadata(schema.metadata)  # may have rows all the same
        for batch in batches
    ]


def _polars_table(frame: Any) -> pa.Table:
    import polars as pl
    import pyarrow as pa

    if "Object" in str(frame.dtypes):  # some versions of polars panic, others export addresses
        raise Inexact("Python objects")
    plain = pl.CompatLevel.oldest()  # string views would drag along whatever shares their buffers
    empty = pl.from_arrow(frame.clear().to_arrow(compat_level=plain))
    assert isinstance(empty, pl.DataFrame)
    if empty.schema != frame.schema:
        raise Inexact("the polars schema does not survive Arrow")
    table = frame.rechunk().to_arrow(compat_level=plain)
    if any(pa.types.is_nested(kind) or pa.types.is_dictionary(kind) for kind in table.schema.types):
        # What such columns hold below a null changes on the way back; one round makes it what it will be.
        table = pl.from_arrow(table).to_arrow(compat_level=plain)
    return table


def compact(array: pa.Array) -> pa.Array:
    """The array without what a slice leaves behind in its buffers, so that equal content has equal bytes."""
    import pyarrow as pa

    # `nbytes` counts what the array uses, but one offset per element where there is one more.
    if array.get_total_buffer_size() - array.nbytes == _last_offset_bytes(array.type):
        return array
    return pa.concat_arrays([array, array[:0]])  # of a single array it would hand back the same buffers


def _last_offset_bytes(kind: pa.DataType) -> int:
    import pyarrow as pa

    check = pa.types
    if check.is_large_string(kind) or check.is_large_binary(kind) or check.is_large_list(kind):
        own = 8
    else:
        own = 4 if check.is_string(kind) or check.is_binary(kind) or check.is_list(kind) or check.is_map(kind) else 0
    return own + sum(_last_offset_bytes(part) for part in _parts(kind))


def _check_pyarrow(value: pa.Table | pa.RecordBatch) -> None:
    import pyarrow as pa

    for column in value.columns:
        check_arrow_type(column.type)
        if not isinstance(column, pa.ChunkedArray) or column.num_chunks < 2:
            continue
        if pa.types.is_dictionary(column.type):
            first = column.chunk(0).dictionary
            if all(chunk.dictionary.equals(first) for chunk in column.chunks):
                continue
        elif not _any_type(column.type, pa.types.is_dictionary):
            continue
        raise Inexact("dictionaries that differ between chunks")


def check_arrow_type(kind: pa.DataType) -> None:
    """Raise `Inexact` for types that only come back where a Python class is registered."""
    import pyarrow as pa

    if _any_type(kind, lambda part: isinstance(part, pa.ExtensionType)):
        raise Inexact(f"Arrow type {kind}")


def _any_type(kind: pa.DataType, test: Any) -> bool:

    if test(kind):
        return True
    return any(_any_type(part, test) for part in _parts(kind))


def _parts(kind: pa.DataType) -> list[pa.DataType]:
    """The types a nested type consists of."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return [kind.value_type]
    if isinstance(kind, pa.BaseExtensionType):
        return [kind.storage_type]
    return [kind.field(i).type for i in range(kind.num_fields)]
