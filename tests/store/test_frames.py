"""Frames and arrays come back exactly, writable, and with the same bytes when saved again."""

from __future__ import annotations

import datetime as dt
import decimal
import zoneinfo
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra import pandas as pandas_strategies
from polars.testing import assert_frame_equal as assert_polars_equal
from polars.testing.parametric import dataframes as polars_frames

from wfkernel.errors import ValueUnreadable
from wfkernel.store.arrays import is_array, read_array, write_array
from wfkernel.store.frames import Inexact, is_frame, read_frame, write_frame

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def saved(value: Any) -> bytes:
    assert is_frame(value)
    file = BytesIO()
    write_frame(value, file)
    return file.getvalue()


def restored(value: Any) -> Any:
    """The value after a round trip; saving it again must give the same bytes."""
    content = saved(value)
    again = read_frame(bytearray(content))
    assert saved(again) == content
    return again


def assert_same(restored: Any, value: Any) -> None:
    """Equal in everything pandas can tell, and in what its own assertions overlook."""
    assert type(restored) is type(value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(restored, value, check_exact=True, check_freq=True)
        assert_same_index(restored.columns, value.columns)
        columns = [(restored.iloc[:, i], value.iloc[:, i]) for i in range(value.shape[1])]
    else:
        pd.testing.assert_series_equal(restored, value, check_exact=True, check_freq=True)
        assert type(restored.name) is type(value.name)
        columns = [(restored, value)]
    assert_same_index(restored.index, value.index)
    assert restored.attrs == value.attrs
    for mine, theirs in columns:
        assert mine.dtype == theirs.dtype
        assert repr(mine.dtype) == repr(theirs.dtype)
        assert_same_elements(mine.tolist(), theirs.tolist())


def assert_same_index(restored: pd.Index, index: pd.Index) -> None:
    pd.testing.assert_index_equal(restored, index, exact=True, check_exact=True)
    assert type(restored) is type(index)
    assert list(map(type, restored.names)) == list(map(type, index.names))
    assert getattr(restored, "freq", None) == getattr(index, "freq", None)
    if isinstance(index, pd.MultiIndex):
        assert isinstance(restored, pd.MultiIndex)
        for mine, theirs in zip(restored.levels, index.levels, strict=True):
            assert_same_index(mine, theirs)  # unused entries included
    else:
        assert_same_elements(list(restored), list(index))


def assert_same_elements(restored: list[Any], elements: list[Any]) -> None:
    for mine, theirs in zip(restored, elements, strict=True):
        assert type(mine) is type(theirs)  # None, NaN, NaT and NA are different things
        assert mine is theirs or mine == theirs or (mine != mine and theirs != theirs), (mine, theirs)


# One line per kind of column. Four elements each, so that they fit into one frame.
COLUMNS: dict[str, Any] = {
    "float": [1.5, -0.0, float("inf"), 4.0],
    "float with NaN": [1.5, np.nan, 3.0, 4.0],
    "float32": np.array([1, 2, np.nan, 4], "f4"),
    "float16": np.array([1, 2, np.nan, 4], "f2"),
    "int8": np.array([-128, 0, 1, 127], "i1"),
    "int64": [-(2**63), 0, 1, 2**63 - 1],
    "uint64": np.array([0, 1, 2, 2**64 - 1], "u8"),
    "bool": [True, False, True, True],
    "str": ["a", "", "ü\U0001f600", "d"],
    "str with missing": ["a", None, "c", "d"],
    "object of str": pd.Series(["a", "b", "", "d"], dtype=object),
    "object of str and None": pd.Series(["a", None, "c", None], dtype=object),
    "object of str and NaN": pd.Series(["a", np.nan, "c", np.nan], dtype=object),
    "object of None": pd.Series([None] * 4, dtype=object),
    "string[python]": pd.array(["a", None, "c", "d"], dtype="string[python]"),
    "string[pyarrow]": pd.array(["a", None, "c", "d"], dtype="string[pyarrow]"),
    "datetime[s]": pd.array(["2020-01-01", None, "2021-01-01", "2022-01-01"], dtype="datetime64[s]"),
    "datetime[ns]": pd.array(["2020-01-01", None, "2021-01-01", "2022-01-01"], dtype="datetime64[ns]"),
    "datetime with zone": pd.date_range("2024-03-30", periods=4, tz=BERLIN),
    "datetime with zone and NaT": pd.DatetimeIndex(["2024-10-27", None, "2024-10-28", "2024-10-29"], tz=BERLIN),
    "datetime in UTC": pd.date_range("2024-01-01", periods=4, tz="UTC"),
    "datetime with offset": pd.date_range("2024-01-01", periods=4, tz=dt.timezone(-dt.timedelta(hours=3.5))),
    "timedelta": pd.to_timedelta([1, None, 3, 4], unit="s"),
    "period": pd.PeriodIndex(["2024-01", None, "2024-03", "2024-04"], freq="M"),
    "period of two days": pd.period_range("2024-01-01", periods=4, freq="2D"),
    "interval": pd.arrays.IntervalArray.from_tuples([(0, 1), (1, 2), None, (2.5, 3)], closed="left"),
    "interval of int": pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3, 4]),
    "interval of datetime": pd.arrays.IntervalArray.from_breaks(pd.date_range("2024-01-01", periods=5, tz=BERLIN)),
    "categorical": pd.Categorical(["u", "v", None, "u"], categories=["v", "unused", "u"]),
    "categorical ordered": pd.Categorical(["u", "v", None, "u"], categories=["v", "u"], ordered=True),
    "categorical of int": pd.Categorical([30, 10, 30, 10]),
    "categorical of interval": pd.cut(np.array([1, 5, 7, 11]), [0, 5, 10]),
    "categorical of datetime": pd.Categorical(pd.date_range("2024-01-01", periods=4, tz=BERLIN)),
    "categorical of range": pd.Categorical.from_codes([0, 1, 1, -1], categories=pd.RangeIndex(2)),
    "categorical with named categories": pd.Categorical(["a"] * 4, categories=pd.Index(["a", "b"], name="letters")),
    "Int16": pd.array([1, None, 3, 4], dtype="Int16"),
    "UInt64": pd.array([1, None, 3, 2**64 - 1], dtype="UInt64"),
    "Float32": pd.array([1, None, 3, 4], dtype="Float32"),
    "Float64 with NaN beside NA": pd.arrays.FloatingArray(
        np.array([1, np.nan, 3, 4]), np.array([False, False, True, False])
    ),
    "boolean": pd.array([True, None, False, True], dtype="boolean"),
    "arrow int": pd.array([1, None, 3, 4], dtype="int64[pyarrow]"),
    "arrow str": pd.array(["a", None, "c", "d"], dtype=pd.ArrowDtype(pa.string())),
    "arrow timestamp": pd.array([dt.datetime(2024, 1, 1), None] * 2, dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    "arrow decimal": pd.array([decimal.Decimal("1.20"), None] * 2, dtype=pd.ArrowDtype(pa.decimal128(9, 2))),
    "arrow list": pd.array([[1], None, [], [2, 3]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "arrow struct": pd.array([{"x": 1}, None] * 2, dtype=pd.ArrowDtype(pa.struct([("x", pa.int8())]))),
    "arrow dictionary": pd.array(["a", None, "b", "a"], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
}
NOT_FOR_AN_INDEX = {"float16", "arrow list", "arrow struct"}


def column(name: str) -> pd.Series:
    data = COLUMNS[name]
    return pd.Series(data, name=name) if not isinstance(data, pd.Series) else data.rename(name)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_kind_of_column_comes_back_exactly(name: str) -> None:
    assert_same(restored(column(name)), column(name))
    assert_same(restored(column(name).to_frame()), column(name).to_frame())


@pytest.mark.parametrize("name", COLUMNS)
def test_every_kind_of_column_comes_back_empty_and_sliced(name: str) -> None:
    assert_same(restored(column(name).iloc[:0]), column(name).iloc[:0])
    part = column(name).iloc[1:3]
    assert_same(restored(part), part)
    assert saved(part.reset_index(drop=True)) == saved(part.reset_index(drop=True).copy())


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in NOT_FOR_AN_INDEX])
def test_every_kind_of_index_and_of_column_labels_comes_back_exactly(name: str) -> None:
    index = pd.Index(COLUMNS[name], name=("a tuple", 1))
    frame = pd.DataFrame({"x": np.arange(4), "y": list("abcd")}, index=index)
    assert_same(restored(frame), frame)
    wide = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=index)
    assert_same(restored(wide), wide)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_kind_of_column_can_be_changed_after_it_came_back(name: str) -> None:
    series = column(name)
    frame = restored(pd.DataFrame({"c": series, "other": range(4)}))
    element = series.iloc[0]
    if name not in ("arrow list", "arrow struct"):  # pandas itself cannot assign these
        frame.loc[1, "c"] = element
        assert frame["c"].iloc[1] == element
    frame.loc[0, "other"] = 7
    frame["new"] = frame["other"] * 2
    frame.loc[9] = frame.loc[0]
    assert frame["new"].tolist() == [14, 2, 4, 6, 14]


def test_all_columns_together() -> None:
    frame = pd.concat([column(name) for name in COLUMNS], axis=1)
    assert_same(restored(frame), frame)


INDEXES: dict[str, pd.Index] = {
    "range": pd.RangeIndex(3, 11, 4, name="r"),
    "empty range": pd.RangeIndex(0),
    "int": pd.Index([5, 3]),
    "with duplicates": pd.Index(["a", "a"]),
    "with frequency": pd.date_range("2024-01-31", periods=2, freq="ME"),
    "with frequency and zone": pd.date_range("2024-03-30", periods=2, freq="2h", tz=BERLIN, name="t"),
    "timedelta with frequency": pd.timedelta_range("1h", periods=2, freq="30min"),
    "mixed": pd.Index(["a", 1]),
    "mixed with None": pd.Index([True, None], dtype=object),
    "huge int": pd.Index([2**70, "x"], dtype=object),
    "object of str": pd.Index(["a", "b"], dtype=object),
    "two levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
    "levels of any kind": pd.MultiIndex.from_arrays(
        [pd.date_range("2024-01-01", periods=2, tz=BERLIN), pd.Categorical(["u", "v"]), [1.5, np.nan], ["s", None]]
    ),
    "unused level entries": pd.MultiIndex.from_product([list("abc"), [1, 2]], names=["l", "n"])[:2],
    "named by a number": pd.Index([1, 2], name=np.int64(3)),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_and_labels_keep_class_names_levels_and_frequency(name: str) -> None:
    index = INDEXES[name]
    frame = pd.DataFrame(np.arange(len(index) * 2.0).reshape(-1, 2), index=index)
    assert_same(restored(frame), frame)
    assert_same(restored(frame.T), frame.T)
    assert_same(restored(frame[0]), frame[0])
    assert_same(restored(frame[[]]), frame[[]])


@pytest.mark.parametrize("label", [None, "x", 1, 2.5, True, ("a", 1), ("nested", ("t", None)), np.int64(3)])
def test_the_name_of_a_series_keeps_its_type(label: Any) -> None:
    series = pd.Series([1.0, 2.0], name=label)
    assert_same(restored(series), series)


def test_attrs_come_back() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"source": "sensor", "scale": 0.5, "checked": True, "by": None}
    frame["a"].attrs = {"unit": "K"}
    assert_same(restored(frame), frame)
    assert_same(restored(frame["a"]), frame["a"])


def test_a_wide_frame_is_not_fragmented_after_it_came_back(recwarn: pytest.WarningsRecorder) -> None:
    frame = pd.DataFrame(np.zeros((3, 500)))
    again = restored(frame)
    assert_same(again, frame)
    again["new"] = 1
    assert not recwarn.list


def test_restored_columns_lie_over_the_memory_they_were_read_from() -> None:
    content = bytearray(saved(pd.DataFrame({"a": np.arange(1000.0)})))
    frame = read_frame(content)
    assert np.shares_memory(frame["a"].to_numpy(), np.frombuffer(content, np.uint8))


@given(
    pandas_strategies.data_frames(
        [
            pandas_strategies.column("f", dtype=float),
            pandas_strategies.column("i", dtype=int),
            pandas_strategies.column("b", dtype=bool),
            pandas_strategies.column("t", dtype="datetime64[ns]"),
            pandas_strategies.column("o", elements=st.text() | st.none(), dtype=object),
        ],
        index=st.one_of(
            pandas_strategies.range_indexes(max_size=5),
            pandas_strategies.indexes(elements=st.text() | st.integers(), dtype=object, max_size=5),
            pandas_strategies.indexes(dtype=float, max_size=5),
        ),
    )
)
@settings(max_examples=50, deadline=None)
def test_any_frame_of_numbers_and_text_comes_back_exactly(frame: pd.DataFrame) -> None:
    assert_same(restored(frame), frame)


class Subclass(pd.DataFrame):
    pass


def flagged() -> pd.DataFrame:
    return pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)


def with_attrs(attrs: dict[Any, Any]) -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = attrs
    return frame


@pytest.mark.parametrize(
    "value",
    [
        pd.Series([1, "a"], dtype=object),
        pd.Series([["nested"], None], dtype=object),
        pd.Series(["a", None, np.nan], dtype=object),
        pd.Series(["a", pd.NA], dtype=object),
        pd.Series([b"bytes"], dtype=object),
        pd.Series([np.str_("subclass of str")], dtype=object),
        pd.Series(["lone surrogate \ud800"], dtype=object),
        pd.Series([dt.date(2024, 1, 1)], dtype=object),
        pd.Series([1 + 2j]),
        pd.Series(pd.arrays.SparseArray([0, 0, 1])),
        pd.Series(pd.Categorical.from_codes([0], categories=pd.Index([1.5, dt.date(2024, 1, 1)], dtype=object))),
        pd.Series([1], name=pd.Timestamp("2024-01-01")),
        pd.Series([1], name=float("nan")),
        pd.Series([1, 2], index=pd.bdate_range("2024-01-01", periods=2, freq="C", holidays=["2024-05-01"])),
        pd.Series(pd.date_range("2024-01-01", periods=2, tz=dt.timezone(dt.timedelta(hours=1), "named"))),
        pd.DataFrame({"a": [1]}, index=pd.Index([dt.date(2024, 1, 1)])),
        flagged(),
        with_attrs({"nested": {"x": [1]}}),
        with_attrs({1: "no str"}),
    ],
    ids=lambda value: str(value.to_dict())[:50],
)
def test_pandas_objects_that_would_not_come_back_exactly_are_refused_before_anything_is_written(value: Any) -> None:
    file = BytesIO()
    with pytest.raises(Inexact):
        write_frame(value, file)
    assert file.getvalue() == b""


def test_subclasses_are_no_frames() -> None:
    assert not is_frame(Subclass({"a": [1]}))
    assert not is_frame({"a": 1})


POLARS: dict[str, pl.Series] = {
    "int": pl.Series([1, None, 3]),
    "float": pl.Series([1.0, None, float("nan")]),
    "str": pl.Series(["a", None, "ü"]),
    "bool": pl.Series([True, None, False]),
    "binary": pl.Series([b"a", None, b""]),
    "null": pl.Series([None, None, None]),
    "date": pl.Series([dt.date(2024, 1, 1), None, dt.date(1, 1, 1)]),
    "time": pl.Series([dt.time(1, 2, 3), None, dt.time(0)]),
    "datetime": pl.Series([dt.datetime(2024, 1, 1), None, None], dtype=pl.Datetime("ms", "Europe/Berlin")),
    "duration": pl.Series([dt.timedelta(1), None, None], dtype=pl.Duration("ns")),
    "decimal": pl.Series([decimal.Decimal("1.20"), None, None], dtype=pl.Decimal(12, 2)),
    "categorical": pl.Series(["x", None, "y"], dtype=pl.Categorical),
    "enum": pl.Series(["p", "q", None], dtype=pl.Enum(["q", "unused", "p"])),
    "list": pl.Series([[1], None, []]),
    "list of str": pl.Series([["a", None], None, []]),
    "array": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int8, 2)),
    "struct": pl.Series([{"x": 1, "y": "a"}, {"x": None, "y": None}, {"x": 3, "y": "c"}]),
    "nested": pl.Series([[{"x": [1.5]}], None, []]),
}


@pytest.mark.parametrize("name", POLARS)
def test_polars_comes_back_exactly(name: str) -> None:
    series = POLARS[name].alias(name)
    again = restored(series)
    assert isinstance(again, pl.Series)
    assert again.name == name
    for mine, theirs in (
        (again.to_frame(), series.to_frame()),
        (restored(series.to_frame()[1:]), series.to_frame()[1:]),
    ):
        assert_polars_equal(mine, theirs, check_exact=True, categorical_as_str=False)
        assert mine.schema == theirs.schema
    assert pl.concat([again, series]).len() == 6


@given(polars_frames(max_cols=4, max_size=6, excluded_dtypes=[pl.Object]))
@settings(max_examples=50, deadline=None)
def test_any_polars_frame_comes_back_exactly_or_is_refused(frame: pl.DataFrame) -> None:
    try:
        again = restored(frame)
    except Inexact:
        assert any(dtype in (pl.Int128, pl.UInt128) or dtype.is_nested() for dtype in frame.dtypes)
        return
    assert_polars_equal(again, frame, check_exact=True)
    assert again.schema == frame.schema


def test_polars_chunks_do_not_show_in_the_bytes() -> None:
    whole = pl.DataFrame({"a": [1, 2], "s": ["x", "y"]})
    parts = pl.concat([whole[:1], whole[1:]], rechunk=False)
    assert parts.n_chunks() == 2
    assert saved(parts) == saved(whole)


def test_polars_objects_are_refused() -> None:
    with pytest.raises(Inexact):
        saved(pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))


def dictionary(values: list[str]) -> pa.Array:
    return pa.array(values).dictionary_encode()


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": [1, None], "s": ["x", "y"]}),
        pa.table({"a": [1]}).replace_schema_metadata({"made": "by hand"}),
        pa.table({"a": pa.chunked_array([[1, 2], [], [3]])}),
        pa.table({"d": pa.chunked_array([dictionary(["x", "y"]), dictionary(["x", "y"])])}),
        pa.table({"l": [[1], None], "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8()))}),
        pa.table({"u": pa.array([b"0" * 16], pa.uuid())}),
        pa.table([[1], [2]], names=["same", "same"]),
        pa.table({}),
        pa.schema([("a", pa.int8())]).empty_table(),
        pa.table({"a": range(100)}).slice(10, 5),
        pa.record_batch({"a": [1, 2]}),
        pa.record_batch({"a": [1, 2]}).replace_schema_metadata({"k": "v"}),
    ],
    ids=lambda table: str(table.schema)[:40].replace("\n", " "),
)
def test_pyarrow_comes_back_exactly(table: Any) -> None:
    again = restored(table)
    assert type(again) is type(table)
    assert again.equals(table, check_metadata=True)
    assert again.num_rows == table.num_rows
    again.validate(full=True)


class Celsius(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.float64(), "test.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


def test_pyarrow_tables_that_would_not_come_back_exactly_are_refused() -> None:
    own_type = pa.ExtensionArray.from_storage(Celsius(), pa.array([1.5]))
    for table in (
        pa.table({"c": own_type}),
        pa.table({"d": pa.chunked_array([dictionary(["x"]), dictionary(["y"])])}),
        pa.table({"a": [1]}).replace_schema_metadata({"wfkernel": "taken"}),
    ):
        with pytest.raises(Inexact):
            saved(table)


def test_a_file_whose_metadata_claim_more_than_it_holds_is_refused() -> None:
    content = saved(pd.Series(np.ones(1000, "f4")))
    with pytest.raises(ValueUnreadable, match="holds less than its metadata say"):
        read_frame(bytearray(content.replace(b'"dtype":"<f4"', b'"dtype":"<f8"')))


@pytest.mark.parametrize(
    "value",
    [
        pd.Series(pd.Categorical(["a", "b"] * 32)),
        pd.Series(range(64), pd.MultiIndex.from_arrays([["a", "b"] * 32, ["c"] * 64])),
    ],
    ids=["categorical", "index"],
)
def test_a_file_whose_codes_point_outside_its_categories_is_refused(value: Any) -> None:
    content, codes = saved(value), b"\0\1" * 32
    assert codes in content
    with pytest.raises(ValueUnreadable, match="codes that stand for nothing"):
        read_frame(bytearray(content.replace(codes, b"\0\x7f" * 32)))


# ------------------------------------------------------------------------------------------------------------ npy


def array_round_trip(array: Any) -> Any:
    assert is_array(array)
    file = BytesIO()
    write_array(array, file)
    return read_array(bytearray(file.getvalue()))


def assert_same_array(restored: Any, array: Any) -> None:
    assert type(restored) is np.ndarray
    assert restored.dtype == array.dtype
    assert restored.shape == array.shape
    assert restored.flags.writeable
    assert restored.tobytes() == array.tobytes()


@given(hnp.arrays(hnp.scalar_dtypes() | hnp.array_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
@settings(deadline=None)
def test_any_plain_array_comes_back_exactly_and_writable(array: Any) -> None:
    if is_array(array):
        assert_same_array(array_round_trip(array), array)
    else:
        assert array.dtype.names is not None


@pytest.mark.parametrize(
    "array",
    [
        np.array(5.0),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(20)[::-3],
        np.arange(6, dtype=">i4"),
        np.array(["2024", "NaT"], "M8[25s]"),
        np.array([(1, b"x", [1.0, 2.0])], np.dtype([("a", "i2"), ("b", "S3"), ("c", "f8", (2,))])),
        np.zeros((0, 3), "c16"),
        np.array(["ü", ""]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_many_kinds(array: Any) -> None:
    restored = array_round_trip(array)
    assert_same_array(restored, array)
    assert restored.flags.fnc == array.flags.fnc  # Fortran order is kept


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.zeros(2, np.dtype([("o", object)])),
        np.zeros(2, np.dtype("f8", metadata={"unit": "K"})),
        np.zeros(2, np.dtype([("ü", "f8")])),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.zeros(2).view(np.recarray),
        np.ma.masked_array([1, 2], [True, False]),
        np.float64(1.0),
        [1.0],
    ],
    ids=lambda array: type(array).__name__,
)
def test_what_a_npy_file_cannot_hold_is_no_array(array: Any) -> None:
    assert not is_array(array)


def test_a_file_that_says_its_bytes_are_addresses_of_objects_is_refused() -> None:
    file = BytesIO()
    write_array(np.arange(4), file)
    with pytest.raises(ValueUnreadable, match="Python objects"):
        read_array(bytearray(file.getvalue().replace(b"'<i8'", b"'|O8'")))
