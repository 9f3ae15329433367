"""How a pandas object lies in an Arrow table so that it comes back exactly.

Arrow has no index, no object dtype and no frequency, and pyarrow's own conversion loses details (the difference between
None and NaN, NaN beside NA, categories that are not strings, labels that are not strings, ...). Here every column and
every index level is a pair:

* an Arrow array whose *value buffer* is the pandas buffer itself, missing markers included (NaN, NaT, code -1): writing
  copies nothing that is contiguous, and reading lays a NumPy array over the file;
* a *spec*, JSON that says which pandas array to build over it.

Columns come first and the arrays of the row index follow; column labels are a small Arrow table of their own, packed
into the spec. `Inexact` is raised for whatever would not come back identically: object columns that hold anything but
str and one kind of missing value, sparse and third-party dtypes, odd time zones, attrs that are not plain scalars, ...
Equal content gives equal bytes, since the slots of missing values hold fixed markers.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.tseries.frequencies import to_offset

from wfkernel.errors import ValueUnreadable
from wfkernel.store.frames import Inexact, check_arrow_type, compact

__all__ = ["read_frame", "read_series", "write_frame", "write_series"]

Spec = dict[str, Any]
Overlay = Callable[[pa.Buffer, Any, int], "np.ndarray[Any, Any]"]
"""(buffer, dtype, length) -> a writable NumPy array over that buffer."""

CONSOLIDATE_FROM: Final = 64
"""pandas calls a frame of more than 100 separate blocks fragmented, and warns when it grows."""
_INDEX_CLASSES: Final = (
    pd.Index,
    pd.DatetimeIndex,
    pd.TimedeltaIndex,
    pd.PeriodIndex,
    pd.IntervalIndex,
    pd.CategoricalIndex,
)
_untyped: Any = pd
"""For what pandas-stubs do not know: the Arrow protocol of dtypes, constructors of arrays."""
_UNITS: Final = ("s", "ms", "us", "ns")


# ---------------------------------------------------------------------------------------------- frames and series


def write_frame(frame: pd.DataFrame) -> tuple[pa.RecordBatch, Spec]:
    columns = [_write_array(_array_of(column)) for _, column in frame.items()]
    labels, labels_spec = _write_axis(frame.columns)
    batch, spec = _write_rows(frame, columns, [str(label) for label in frame.columns])
    return batch, spec | {"labels": labels_spec, "label_arrays": _pack(labels)}


def read_frame(batch: pa.RecordBatch, spec: Spec, overlay: Overlay) -> pd.DataFrame:
    arrays, index = _read_rows(batch, spec, overlay)
    # Only a Series keeps pandas from making text out of objects.
    columns = {
        i: pd.Series(a, index=index, dtype=a.dtype, copy=False) if a.dtype.kind == "O" else a
        for i, a in enumerate(arrays)
    }
    frame = pd.DataFrame(columns, index=index, copy=False)
    if len(arrays) >= CONSOLIDATE_FROM:
        frame = frame.copy()
    frame.columns = _read_axis(_unpack(spec["label_arrays"]), spec["labels"], _copied)
    frame.attrs = spec["attrs"]
    return frame


def write_series(series: pd.Series) -> tuple[pa.RecordBatch, Spec]:
    batch, spec = _write_rows(series, [_write_array(_array_of(series))], [str(series.name)])
    return batch, spec | {"name": _write_label(series.name)}


def read_series(batch: pa.RecordBatch, spec: Spec, overlay: Overlay) -> pd.Series:
    (array,), index = _read_rows(batch, spec, overlay)
    series: pd.Series = pd.Series(array, index=index, dtype=array.dtype, copy=False, name=_read_label(spec["name"]))
    series.attrs = spec["attrs"]
    return series


def _write_rows(owner: Any, columns: list[tuple[pa.Array, Spec]], names: list[str]) -> tuple[pa.RecordBatch, Spec]:
    if not owner.flags.allows_duplicate_labels:
        raise Inexact("duplicate labels are forbidden by a flag")
    if any(type(key) is not str or not _is_plain(value) for key, value in owner.attrs.items()):
        raise Inexact("attrs hold more than plain scalars")
    index, index_spec = _write_axis(owner.index)
    batch = pa.RecordBatch.from_arrays(
        [array for array, _ in columns] + index, names + [f"index {i}" for i in range(len(index))]
    )
    return batch, {"columns": [spec for _, spec in columns], "index": index_spec, "attrs": dict(owner.attrs)}


def _read_rows(batch: pa.RecordBatch, spec: Spec, overlay: Overlay) -> tuple[list[Any], Any]:
    arrays, column_specs = batch.columns, spec["columns"]
    columns = [_read_array(array, column, overlay) for array, column in zip(arrays, column_specs, strict=False)]
    return columns, _read_axis(arrays[len(column_specs) :], spec["index"], overlay)


# ------------------------------------------------------------------------------------------------ indexes, labels


def _write_axis(index: pd.Index) -> tuple[list[pa.Array], Spec]:
    """An index as zero, one or (one per level) several arrays of its length."""
    if type(index) is pd.MultiIndex:
        levels = [_write_entries(level) for level in index.levels]
        coded = [
            _dictionary(np.asarray(codes), values, ordered=False)
            for codes, (values, _) in zip(index.codes, levels, strict=True)
        ]
        return coded, {"levels": [spec for _, spec in levels], "sortorder": getattr(index, "sortorder", None)}
    array, spec = _write_index(index)
    return ([], spec) if "range" in spec else ([array], spec)


def _read_axis(arrays: Sequence[pa.Array], spec: Spec, overlay: Overlay) -> Any:
    if "levels" in spec:
        levels = [
            _read_index(array.dictionary, level, overlay) for array, level in zip(arrays, spec["levels"], strict=True)
        ]
        return _untyped.MultiIndex(
            levels=levels,
            codes=[_codes(array, overlay, len(level)) for array, level in zip(arrays, levels, strict=True)],
            names=[level.name for level in levels],
            sortorder=spec["sortorder"],
            verify_integrity=False,
        )
    return _read_index(arrays[0] if arrays else None, spec, overlay)


def _write_index(index: pd.Index) -> tuple[pa.Array, Spec]:
    spec: Spec = {"name": _write_label(index.name)}
    if type(index) is pd.RangeIndex:
        return pa.array(index.to_numpy()), spec | {"range": [index.start, index.stop, index.step]}
    if type(index) not in _INDEX_CLASSES:
        raise Inexact(f"index class {type(index).__name__}")
    frequency = getattr(index, "freq", None) if index.dtype.kind in "mM" else None
    if frequency is not None:
        spec["freq"] = frequency.freqstr
        if to_offset(frequency.freqstr) != frequency:
            raise Inexact(f"frequency {frequency!r}")
    values = _array_of(index)
    mixed = index.dtype == object and _write_mixed_labels(values)
    array, spec["values"] = mixed or _write_array(values)
    return array, spec


def _write_entries(index: pd.Index) -> tuple[pa.Array, Spec]:
    """Categories or the entries of a level. They become an Arrow dictionary, which cannot hold a further one."""
    array, spec = _write_index(index)
    if pa.types.is_dictionary(array.type):
        spec["values"]["packed"] = _pack([array.dictionary])
        return array.indices, spec
    return array, spec


def _read_index(array: pa.Array | None, spec: Spec, overlay: Overlay) -> Any:
    name = _read_label(spec["name"])
    if "range" in spec:
        return _untyped.RangeIndex(*spec["range"], name=name)
    values = _read_array(array, spec["values"], overlay)
    if "freq" in spec:
        kind: Any = pd.DatetimeIndex if values.dtype.kind == "M" else pd.TimedeltaIndex
        return kind(values, freq=spec["freq"], name=name)
    return pd.Index(values, dtype=values.dtype, name=name)


def _write_mixed_labels(values: np.ndarray[Any, Any]) -> tuple[pa.Array, Spec] | None:
    """Labels such as ["a", 0, None], which are too few to matter, as JSON; None for others."""
    types = set(map(type, values))
    if types <= {str, type(None)} or not types <= {str, int, float, bool, type(None)}:
        return None
    return pa.array([json.dumps(value) for value in values], pa.large_string()), {"kind": "mixed"}


def _write_label(label: Any) -> Any:
    if _is_plain(label):
        return label
    if type(label) is tuple:
        return {"tuple": [_write_label(part) for part in label]}
    if isinstance(label, np.generic) and label.dtype.kind in "biuf" and _is_plain(label.item()):
        return {"numpy": label.dtype.str, "value": label.item()}
    raise Inexact(f"label {label!r}")


def _read_label(spec: Any) -> Any:
    if not isinstance(spec, dict):
        return spec
    if "tuple" in spec:
        return tuple(_read_label(part) for part in spec["tuple"])
    return np.dtype(spec["numpy"]).type(spec["value"])


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value))


def _pack(arrays: list[pa.Array]) -> str:
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return base64.b64encode(sink.getvalue()).decode("ascii")


def _unpack(packed: str) -> list[pa.Array]:
    columns: list[pa.Array] = pa.ipc.open_stream(base64.b64decode(packed)).read_next_batch().columns
    return columns


def _copied(buffer: pa.Buffer, dtype: Any, length: int) -> np.ndarray[Any, Any]:
    return np.frombuffer(buffer, dtype, length).copy() if length else np.empty(0, dtype)


# --------------------------------------------------------------------------------------------------------- arrays


def _array_of(owner: Any) -> Any:
    """The NumPy array of a Series or Index of NumPy dtype, else its extension array."""
    return owner.to_numpy() if isinstance(owner.dtype, np.dtype) else owner.array


def _write_array(values: Any) -> tuple[pa.Array, Spec]:
    dtype = values.dtype
    if isinstance(values, np.ndarray):
        return _write_objects(values) if dtype.kind == "O" else _write_numpy(values)
    if isinstance(dtype, pd.StringDtype):
        na = "nan" if getattr(dtype, "na_value", pd.NA) is not pd.NA else "NA"
        return _text(values), {"kind": "string", "storage": dtype.storage, "na": na}
    if isinstance(dtype, pd.CategoricalDtype):
        categories, spec = _write_entries(dtype.categories)
        array = _dictionary(values.codes, categories, dtype.ordered)
        return array, {"kind": "categorical", "categories": spec, "ordered": dtype.ordered}
    if isinstance(dtype, pd.DatetimeTZDtype):
        zone = _write_zone(dtype.tz)
        stamps = values.to_numpy(f"M8[{dtype.unit}]")
        array = _over(stamps, pa.timestamp(dtype.unit, str(dtype.tz)), np.isnat(stamps))
        return array, {"kind": "zoned", "unit": dtype.unit, "zone": zone}
    if isinstance(dtype, pd.PeriodDtype):
        if pd.api.types.pandas_dtype(dtype.name) != dtype:
            raise Inexact(f"dtype {dtype}")
        return _over(values.view("i8"), pa.int64(), values.isna()), {"kind": "period", "dtype": dtype.name}
    if isinstance(dtype, pd.IntervalDtype):
        ends = [_write_array(_array_of(end)) for end in (values.left, values.right)]
        array = pa.StructArray.from_arrays([end for end, _ in ends], ["left", "right"])
        return array, {"kind": "interval", "closed": dtype.closed, "ends": [spec for _, spec in ends]}
    if isinstance(values, pd.arrays.BooleanArray):
        mask = values.isna()
        return pa.array(values.to_numpy(bool, na_value=False), mask=mask), {
            "kind": "masked",
            "dtype": "boolean",
        }
    if isinstance(values, pd.arrays.IntegerArray | pd.arrays.FloatingArray):
        data = values.to_numpy(dtype.numpy_dtype, na_value=0)
        array = _over(data, pa.from_numpy_dtype(data.dtype), values.isna())
        return array, {"kind": "masked", "dtype": dtype.name}
    if isinstance(dtype, pd.ArrowDtype):
        return _one_array(values.__arrow_array__()), {"kind": "arrow"}
    raise Inexact(f"dtype {dtype}")


def _read_array(array: pa.Array, spec: Spec, overlay: Overlay) -> Any:
    match spec["kind"]:
        case "numpy":
            return _read_numpy(array, np.dtype(spec["dtype"]), overlay)
        case "objects":
            objects = array.to_numpy(zero_copy_only=False)
            if spec["missing"] == "nan":
                objects[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
            return objects
        case "mixed":
            return np.array([json.loads(text) for text in array.to_pylist()], dtype=object)
        case "string":
            options = {"na_value": np.nan} if spec["na"] == "nan" else {}
            return _untyped.StringDtype(spec["storage"], **options).__from_arrow__(array)
        case "categorical":
            packed = spec.get("packed")
            entries = _unpack(packed)[0] if packed else array.dictionary
            categories = _read_index(entries, spec["categories"], _copied if packed else overlay)
            kind = pd.CategoricalDtype(categories, spec["ordered"])
            return pd.Categorical.from_codes(_codes(array, overlay, len(categories)), dtype=kind, validate=False)
        case "zoned":
            stamps = _read_numpy(array, np.dtype(f"M8[{spec['unit']}]"), overlay)
            return pd.DatetimeIndex(stamps).tz_localize("UTC").tz_convert(_read_zone(spec["zone"])).array
        case "period":
            ordinals = _read_numpy(array, np.dtype("i8"), overlay)
            return _untyped.arrays.PeriodArray(ordinals, dtype=pd.api.types.pandas_dtype(spec["dtype"]))
        case "interval":
            ends = (_read_array(array.field(i), end, overlay) for i, end in enumerate(spec["ends"]))
            return _untyped.arrays.IntervalArray.from_arrays(*ends, closed=spec["closed"], copy=True)
        case "masked":
            dtype = _untyped.api.types.pandas_dtype(spec["dtype"])
            mask = array.is_null().to_numpy(zero_copy_only=False)
            return dtype.construct_array_type()(_read_numpy(array, dtype.numpy_dtype, overlay), mask)
        case "arrow":
            return _untyped.ArrowDtype(array.type).__from_arrow__(array)
        case other:
            raise ValueError(f"unknown kind of column {other!r}")


def _write_numpy(values: np.ndarray[Any, Any]) -> tuple[pa.Array, Spec]:
    dtype, missing = values.dtype, None
    if dtype.kind == "b":
        return pa.array(values), {"kind": "numpy", "dtype": dtype.str}
    if dtype.kind in "mM" and np.datetime_data(dtype)[0] in _UNITS and np.datetime_data(dtype)[1] == 1:
        missing = np.isnat(values)
    elif dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise Inexact(f"dtype {dtype}")
    if not dtype.isnative:
        raise Inexact(f"byte order of {dtype}")
    return _over(values, pa.from_numpy_dtype(dtype), missing), {"kind": "numpy", "dtype": dtype.str}


def _read_numpy(array: pa.Array, dtype: np.dtype[Any], overlay: Overlay) -> np.ndarray[Any, Any]:
    if dtype.kind == "b":  # one bit each in Arrow
        bits: np.ndarray[Any, Any] = array.fill_null(False).to_numpy(zero_copy_only=False)
        return bits
    return overlay(array.buffers()[1], dtype, len(array))


def _write_objects(values: np.ndarray[Any, Any]) -> tuple[pa.Array, Spec]:
    """An object array of str and one kind of missing value: None, or NaN as older pandas has it."""
    types = set(map(type, values))
    if types <= {str, type(None)}:
        missing = "none"
    elif types == {str, float} and all(math.isnan(value) for value in values if type(value) is float):
        missing = "nan"
    else:
        raise Inexact("objects other than str")
    return _text(values), {"kind": "objects", "missing": missing}


def _text(values: Any) -> pa.Array:
    try:
        array = pa.array(values, from_pandas=True)
        return _one_array(array if len(array) and array.type != pa.null() else array.cast(pa.large_string()))
    except UnicodeEncodeError as error:  # lone surrogates
        raise Inexact(str(error)) from None


def _dictionary(codes: np.ndarray[Any, Any], values: pa.Array, ordered: bool | None) -> pa.DictionaryArray:
    indices = _over(codes, pa.from_numpy_dtype(codes.dtype), codes == -1)
    return pa.DictionaryArray.from_arrays(indices, values, ordered=bool(ordered), safe=False)


def _codes(array: pa.Array, overlay: Overlay, entries: int) -> np.ndarray[Any, Any]:
    """The codes of a dictionary array, or of its indices alone. pandas would read wherever they point to."""
    kind = array.type.index_type if pa.types.is_dictionary(array.type) else array.type
    codes = overlay(array.buffers()[1], kind.to_pandas_dtype(), len(array))
    if len(codes) and (codes.min() < -1 or codes.max() >= entries):
        raise ValueUnreadable("the Arrow file has codes that stand for nothing")
    return codes


def _over(values: np.ndarray[Any, Any], kind: pa.DataType, missing: np.ndarray[Any, Any] | None) -> pa.Array:
    """An Arrow array over the memory of `values`."""
    validity = None if missing is None or not missing.any() else pa.array(~missing).buffers()[1]
    data = pa.py_buffer(np.ascontiguousarray(values).view(np.uint8))
    return pa.Array.from_buffers(kind, len(values), [validity, data])


def _one_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # more text than 32-bit offsets can address
        raise Inexact("text too large for one Arrow array")
    check_arrow_type(array.type)
    return compact(array)


# ----------------------------------------------------------------------------------------------------- time zones


def _write_zone(zone: datetime.tzinfo) -> str | float:
    """The key of a zone of the IANA database, or an offset in seconds."""
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        if repr(zone) == repr(datetime.timezone(offset)):  # a zone with a name of its own differs
            return offset.total_seconds()
    raise Inexact(f"time zone {zone!r}")


def _read_zone(spec: str | float) -> datetime.tzinfo:
    if isinstance(spec, str):
        return zoneinfo.ZoneInfo(spec)
    return datetime.timezone(datetime.timedelta(seconds=spec))
