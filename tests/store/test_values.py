"""What a step bound is saved and comes back: exactly, sharing what was shared, or with a reason why not."""

from __future__ import annotations

import asyncio
import collections
import copy
import datetime as dt
import decimal
import enum
import io
import json
import math
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wfkernel.errors import StoreError, ValueUnreadable
from wfkernel.store import blobs as blobs_module
from wfkernel.store.blobs import BlobDir
from wfkernel.store.codecs import decode_names, decode_value, encode_names, encode_value
from wfkernel.store.digest import digest_value
from wfkernel.store.encoder import INLINE_BYTES, OWN_FILE_BYTES

reusing_fixtures = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDir:
    return BlobDir(tmp_path / "values")


@pytest.fixture
def main() -> dict[str, Any]:
    """A namespace like that of a notebook; `run` executes a cell in it."""
    return {"__name__": "__main__"}


def run(cell: str, namespace: dict[str, Any]) -> dict[str, Any]:
    exec(compile(textwrap.dedent(cell), "cell", "exec", dont_inherit=True), namespace)
    return namespace


def codecs_of(values: dict[str, Any], blobs: BlobDir) -> dict[str, str]:
    return {record["name"]: record["codec"] for record in encode_names(values, blobs)}


def through_json(records: list[dict[str, Any]]) -> Any:
    return json.loads(json.dumps(records, allow_nan=False, ensure_ascii=False).encode())


def round_trip(values: dict[str, Any], blobs: BlobDir) -> dict[str, Any]:
    records = through_json(encode_names(values, blobs))
    restored = decode_names(records, blobs)
    for record in records:
        name = record["name"]
        assert record["digest"] == digest_value(values[name])
        if name in restored:
            assert record["digest"] == digest_value(restored[name])
    return restored


def assert_identical(mine: Any, theirs: Any) -> None:
    """Equal in value, type and order, at every depth."""
    assert type(mine) is type(theirs)
    if isinstance(theirs, list | tuple):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            assert_identical(a, b)
    elif isinstance(theirs, dict):
        assert_identical(list(mine), list(theirs))
        assert_identical(list(mine.values()), list(theirs.values()))
    elif isinstance(theirs, collections.deque):
        assert_identical(list(mine), list(theirs))
    elif isinstance(theirs, float):
        assert repr(mine) == repr(theirs)
    else:
        assert mine == theirs


def file_count(blobs: BlobDir) -> int:
    return sum(1 for p in blobs.path.rglob("*") if p.is_file()) if blobs.path.exists() else 0


# --------------------------------------------------------------------------------------------------------- records

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
any_values = st.recursive(
    scalars | st.binary() | st.decimals(allow_nan=False) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
    ),
)


@given(json_values)
@reusing_fixtures
def test_values_of_json_types_are_json_and_come_back_exactly(blobs: BlobDir, value: Any) -> None:
    (record,) = encode_names({"x": value}, blobs)
    assert record["codec"] == "json"
    assert record["data"] == value
    assert_identical(decode_names(through_json([record]), blobs)["x"], value)


@given(st.dictionaries(st.text(), any_values, max_size=4))
@reusing_fixtures
def test_any_value_comes_back_exactly(blobs: BlobDir, values: dict[str, Any]) -> None:
    assert_identical(round_trip(values, blobs), values)


class Level(enum.IntEnum):
    LOW = 1


class Words(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        float("nan"),
        [1.0, float("inf")],
        {"a": float("-inf")},
        {1: "int key"},
        {None: 0},
        Level.LOW,
        [Level.LOW],
        Words("a"),
        {Words("a"): 1},
        collections.OrderedDict(a=1),
        np.float64(1.0),
        np.int64(1),
        [np.str_("a")],
        b"bytes",
        "lone surrogate \ud800",
        dt.date(2024, 1, 1),
        decimal.Decimal("1.10"),
    ],
    ids=repr,
)
def test_what_json_would_change_is_pickled(blobs: BlobDir, value: Any) -> None:
    assert codecs_of({"x": value}, blobs) == {"x": "pickle"}
    restored = round_trip({"x": value}, blobs)["x"]
    assert type(restored) is type(value)
    assert repr(restored) == repr(value)


def test_records_say_what_a_person_wants_to_know(blobs: BlobDir) -> None:
    records = encode_names({"n": 1, "df": pd.DataFrame({"a": [1]}), "when": dt.date(2024, 1, 1)}, blobs)
    assert [(r["name"], r["type"], r["codec"]) for r in records] == [
        ("n", "int", "json"),
        ("df", "pandas.DataFrame" if pd.DataFrame.__module__ == "pandas" else "pandas.core.frame.DataFrame", "arrow"),
        ("when", "datetime.date", "pickle"),
    ]
    assert all(r["size"] > 0 for r in records)


def test_small_content_lies_in_the_record_and_large_content_in_a_file(blobs: BlobDir) -> None:
    small = {"json": "x" * (INLINE_BYTES - 2), "npy": np.zeros(100), "pickle": (b"x" * 1000,)}
    records = encode_names(small, blobs)
    assert ["data" in r and "blob" not in r for r in records] == [True] * 3
    assert file_count(blobs) == 0
    large = {"json": "x" * INLINE_BYTES, "npy": np.zeros(INLINE_BYTES), "pickle": (b"x" * INLINE_BYTES,)}
    records = encode_names(large, blobs)
    assert ["blob" in r and "data" not in r for r in records] == [True] * 3
    assert file_count(blobs) == 3
    assert len(json.dumps(records)) < 2000
    assert_identical(round_trip({"json": large["json"], "pickle": large["pickle"]}, blobs)["json"], large["json"])


def test_a_record_is_not_changed_by_what_happens_to_the_value_later(blobs: BlobDir) -> None:
    value = {"list": [1]}
    records = encode_names({"x": value}, blobs)
    value["list"].append(2)
    first = decode_names(records, blobs)["x"]
    assert first == {"list": [1]}
    first["list"].append(3)
    assert decode_names(records, blobs)["x"] == {"list": [1]}


def test_only_the_names_asked_for_are_restored(blobs: BlobDir) -> None:
    records = encode_names({"a": 1, "b": (2,), "c": np.zeros(2)}, blobs)
    assert decode_names(records, blobs, {"b"}) == {"b": (2,)}
    assert decode_names([], blobs) == {}


def test_a_single_value_can_be_saved_without_a_name(blobs: BlobDir) -> None:
    for value in (None, {"a": [1]}, (1, 2), b"x" * 100_000):
        assert_identical(decode_value(encode_value(value, blobs), blobs), value)
    with pytest.raises(
        ValueUnreadable, match=r"a value of step 'load' was not saved .TypeError: .*lock.*: run the step"
    ):
        decode_value(encode_value(threading.Lock(), blobs), blobs, step="load")


def test_an_unchanged_large_value_is_stored_once(blobs: BlobDir) -> None:
    frame = pd.DataFrame({"a": np.arange(100_000)})
    first, second = encode_names({"x": frame}, blobs), encode_names({"y": frame.copy()}, blobs)
    assert first[0]["blob"] == second[0]["blob"]
    assert file_count(blobs) == 1


def test_a_disk_that_refuses_is_not_taken_for_a_value_that_cannot_be_saved(
    blobs: BlobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blobs_module, "write_all", full)
    for value in (b"x" * 10_000_000, [b"x" * 10_000_000], np.zeros(1_000_000)):
        with pytest.raises(StoreError, match="No space left"):
            encode_names({"x": value}, blobs)


# ---------------------------------------------------------------------------------------- frames, arrays, modules


def test_frames_of_all_libraries_and_arrays_have_codecs_of_their_own(blobs: BlobDir) -> None:
    values = {
        "frame": pd.DataFrame({"a": [1.5, None], "t": pd.date_range("2024", periods=2, tz="UTC")}),
        "series": pd.Series(["x", None], name="s"),
        "index": pd.Index([1]),
        "mixed": pd.DataFrame({"o": [1, "a"]}),
        "polars": pl.DataFrame({"a": [1, None]}),
        "table": pa.table({"a": [1]}),
        "array": np.arange(3),
        "objects": np.array([1, "a"], dtype=object),
    }
    assert codecs_of(values, blobs) == {
        "frame": "arrow",
        "series": "arrow",
        "index": "pickle",
        "mixed": "pickle",
        "polars": "arrow",
        "table": "arrow",
        "array": "npy",
        "objects": "pickle",
    }
    restored = round_trip(values, blobs)
    pd.testing.assert_frame_equal(restored["frame"], values["frame"])
    pd.testing.assert_frame_equal(restored["mixed"], values["mixed"])
    assert restored["mixed"]["o"].tolist() == [1, "a"]
    assert restored["polars"].equals(values["polars"])
    assert restored["table"].equals(values["table"])


def test_large_frames_and_arrays_are_restored_writable_and_apart_from_their_file(blobs: BlobDir) -> None:
    values = {"frame": pd.DataFrame({"a": np.zeros(2_000_000)}), "array": np.zeros(2_000_000)}
    records = encode_names(values, blobs)
    for _ in range(2):
        restored = decode_names(records, blobs)
        assert restored["frame"].loc[0, "a"] == restored["array"][0] == 0
        restored["frame"].loc[0, "a"] = 1
        restored["frame"]["b"] = restored["frame"]["a"] * 2
        restored["array"][0] = 1
        assert restored["frame"]["b"].iloc[0] == 2


def test_modules_are_imported_again(blobs: BlobDir) -> None:
    records = encode_names({"np": np, "path": __import__("os.path").path}, blobs)
    assert [r["codec"] for r in records] == ["module", "module"]
    assert decode_names(records, blobs) == {"np": np, "path": __import__("os").path}


def test_a_module_that_was_made_by_hand_is_pickled(blobs: BlobDir) -> None:
    module = types.ModuleType("by_hand")
    module.x = [1]  # type: ignore[attr-defined]
    assert round_trip({"m": module}, blobs)["m"].x == [1]


def test_a_module_that_is_not_installed_is_named(blobs: BlobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "here_only", types.ModuleType("here_only"))
    records = encode_names({"m": sys.modules["here_only"]}, blobs)
    monkeypatch.delitem(sys.modules, "here_only")
    with pytest.raises(
        ValueUnreadable, match=r"'m' of step 'imports' cannot be restored here .*No module named 'here_only'"
    ):
        decode_names(records, blobs, step="imports")


# -------------------------------------------------------------------------------------------------------- unsaved


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


async def coroutine() -> None:
    """Never awaited."""


class Refuses:
    def __reduce__(self) -> Any:
        raise RuntimeError("first line\nsecond line " + "x" * 500)


def test_what_cannot_be_saved_has_a_reason_in_one_line(blobs: BlobDir, tmp_path: Path) -> None:
    waiting = coroutine()
    with socket.socket() as sock, (tmp_path / "f").open("w+") as file, (tmp_path / "f").open("rb") as binary:
        values = {
            "socket": sock,
            "lock": threading.Lock(),
            "thread": threading.Thread(),
            "generator": (i for i in range(3)),
            "coroutine": waiting,
            "file": file,
            "binary file": binary,
            "connection": sqlite3.connect(":memory:"),
            "loop": asyncio.new_event_loop(),
            "deep": deep(),
            "refuses": Refuses(),
            "inside": {"a": [threading.Lock()]},
        }
        records = encode_names(values, blobs)
    waiting.close()
    values["loop"].close()
    assert {r["codec"] for r in records} == {"unsaved"}
    why = {r["name"]: r["why"] for r in records}
    assert why["lock"] == "TypeError: cannot pickle '_thread.lock' object"
    assert why["file"].startswith("TypeError: cannot pickle an open file")
    assert why["refuses"] == "RuntimeError: first line"
    assert all("\n" not in reason and len(reason) <= 200 for reason in why.values())
    assert through_json(records) == records
    assert decode_names(records, blobs) == {}


def test_a_name_that_cannot_be_saved_does_not_take_its_neighbours_along(blobs: BlobDir) -> None:
    shared = [1]
    values = {"a": (shared,), "lock": (shared, threading.Lock()), "b": {"x": shared, "y": (2,)}}
    records = encode_names(values, blobs)
    assert {r["name"]: r["codec"] for r in records} == {"a": "pickle", "lock": "unsaved", "b": "pickle"}
    restored = decode_names(records, blobs)
    assert restored["a"][0] is restored["b"]["x"]


def test_standard_streams_inside_an_object_are_those_of_the_new_process(blobs: BlobDir) -> None:
    assert decode_names(encode_names({"x": (sys.stdout, 1)}, blobs), blobs)["x"][0] is sys.stdout


def test_what_pickles_but_does_not_unpickle_says_so_when_restored(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("""
        class Failed(Exception):
            def __init__(self, code, text):
                super().__init__(text)
        error = Failed(3, "no")
        """, main)  # fmt: skip
    records = encode_names({"error": main["error"]}, blobs, namespace=main)
    with pytest.raises(
        ValueUnreadable, match=r"value 'error' cannot be restored here .TypeError.*: run the step that made"
    ):
        decode_names(records, blobs)


def test_objects_in_memory_are_no_open_files(blobs: BlobDir) -> None:
    restored = round_trip({"b": io.BytesIO(b"ab"), "s": io.StringIO("ab")}, blobs)
    assert (restored["b"].getvalue(), restored["s"].getvalue()) == (b"ab", "ab")


# -------------------------------------------------------------------------------------------------------- sharing


def test_names_that_share_a_container_come_back_sharing_it(blobs: BlobDir) -> None:
    a = [1]
    restored = round_trip({"a": a, "b": {"k": a}, "alone": [1]}, blobs)
    assert restored["b"]["k"] is restored["a"]
    assert restored["alone"] is not restored["a"]


def test_a_value_without_shared_parts_stays_readable_json_beside_others_that_share(blobs: BlobDir) -> None:
    a = [1]
    values = {"a": a, "b": (a,), "params": {"rate": 0.1}, "alone": (1,)}
    records = {r["name"]: r for r in encode_names(values, blobs)}
    assert records["params"]["codec"] == "json"
    assert records["a"]["group"] == records["b"]["group"] == "a"
    assert "group" not in records["alone"]


def test_two_names_for_one_object(blobs: BlobDir) -> None:
    frame, items, tags, array = pd.DataFrame({"a": [1]}), [1], {1}, np.zeros(2)
    values = {"f": frame, "g": frame, "i": items, "j": items, "s": tags, "t": tags, "a": array, "b": array}
    restored = round_trip(values, blobs)
    assert restored["f"] is restored["g"]
    assert restored["i"] is restored["j"]
    assert restored["s"] is restored["t"]
    assert restored["a"] is restored["b"]
    assert codecs_of({"i": items, "j": items}, blobs) == {"i": "json", "j": "json"}


def test_equal_but_distinct_objects_stay_distinct(blobs: BlobDir) -> None:
    restored = round_trip({"f": pd.DataFrame({"a": [1]}), "g": pd.DataFrame({"a": [1]}), "i": [1], "j": [1]}, blobs)
    assert restored["f"] is not restored["g"]
    assert restored["i"] is not restored["j"]


def test_frames_and_arrays_inside_other_values_are_the_ones_bound_to_a_name(blobs: BlobDir) -> None:
    df, weights = pd.DataFrame({"a": [1]}), np.zeros(3)
    table, polars = pa.table({"a": [1]}), pl.Series([1])
    values = {
        "view": {"df": df, "w": [weights]},
        "df": df,
        "weights": weights,
        "t": table,
        "p": polars,
        "o": (table, polars),
    }
    restored = round_trip(values, blobs)
    assert restored["view"]["df"] is restored["df"]
    assert restored["view"]["w"][0] is restored["weights"]
    assert restored["o"] == (restored["t"], restored["p"]) or restored["o"][0] is restored["t"]
    assert restored["o"][1] is restored["p"]
    only_view = decode_names(encode_names(values, blobs), blobs, {"view"})
    pd.testing.assert_frame_equal(only_view["view"]["df"], df)


def test_every_record_can_be_decoded_without_the_others(blobs: BlobDir) -> None:
    a, df = [1], pd.DataFrame({"a": [1]})
    values = {"a": a, "b": {"k": a}, "df": df, "same": df, "inside": (df,), "big": np.zeros(INLINE_BYTES), "n": 1}
    for record in encode_names(values, blobs):
        value = decode_names([record], blobs)[record["name"]]
        assert digest_value(value) == record["digest"]


def test_large_arrays_inside_a_value_get_a_file_of_their_own(blobs: BlobDir) -> None:
    weights = np.arange(OWN_FILE_BYTES // 8, dtype=float)
    model = {"layers": (weights, weights), "name": "m"}
    (record,) = encode_names({"model": model}, blobs)
    assert record["size"] < 2000
    restored = decode_names([record], blobs)["model"]
    assert restored["layers"][0] is restored["layers"][1]
    np.testing.assert_array_equal(restored["layers"][0], weights)
    restored["layers"][0][0] = 5


def test_a_value_that_contains_itself(blobs: BlobDir) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    restored = round_trip({"loop": loop, "other": [2]}, blobs)
    assert restored["loop"][1] is restored["loop"]


@st.composite
def entangled_values(draw: st.DrawFn) -> dict[str, Any]:
    """Values built from a pool of containers, so that names share parts in every way."""
    pool: list[Any] = [draw(st.sampled_from([list, dict, set]))() for _ in range(draw(st.integers(1, 4)))]
    for container in pool:
        for i in range(draw(st.integers(0, 3))):
            member = draw(scalars | st.sampled_from(pool))
            if isinstance(container, set):
                container.add(i)
            elif isinstance(container, list):
                container.append(member)
            else:
                container[str(i)] = member
    wrap = st.sampled_from([lambda x: x, lambda x: (x,), lambda x: [x, 1], lambda x: {"in": x}])
    return {f"name{i}": draw(wrap)(draw(st.sampled_from(pool))) for i in range(draw(st.integers(1, 4)))}


def shape(values: Any) -> list[Any]:
    """The structure with every container numbered in the order in which it is met: equal iff sharing is equal."""
    numbers: dict[int, int] = {}
    found: list[Any] = []

    def walk(value: Any) -> None:
        if isinstance(value, list | dict | set | tuple):
            if not isinstance(value, tuple) and id(value) in numbers:
                found.append(("again", numbers[id(value)]))
                return
            numbers[id(value)] = len(numbers)
            found.append((type(value).__name__, list(value) if isinstance(value, dict) else len(value)))
            for member in value.values() if isinstance(value, dict) else value:
                walk(member)
        else:
            found.append((type(value).__name__, repr(value)))

    walk(list(values.items()))
    return found


@given(entangled_values())
@reusing_fixtures
def test_sharing_survives_whatever_shares_with_whatever(blobs: BlobDir, values: dict[str, Any]) -> None:
    assert shape(round_trip(values, blobs)) == shape(values)


# ------------------------------------------------------------------------------------- functions and classes


def test_functions_and_classes_of_the_notebook_come_back_by_value(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("""
        import math
        factor = 3
        def scale(x): return math.floor(x) * factor
        class Model:
            def __init__(self, n): self.n = n
            def fit(self): return scale(self.n)
        model = Model(2.5)
        """, main)  # fmt: skip
    names = ("scale", "Model", "model")
    records = through_json(encode_names({n: main[n] for n in names}, blobs, namespace=main))
    restored = decode_names(records, blobs)
    assert restored["scale"](2.5) == 6
    assert restored["model"].fit() == 6
    assert isinstance(restored["model"], restored["Model"])


def test_a_restored_function_lives_in_the_namespace_it_is_restored_into(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("factor = 3\ndef scale(x): return x * factor\ndef twice(x): return 2 * scale(x)", main)
    records = encode_names({n: main[n] for n in ("scale", "twice")}, blobs, namespace=main)
    later: dict[str, Any] = {"__name__": "__main__", "factor": 10}
    later.update(decode_names(records, blobs, namespace=later))
    assert later["scale"].__globals__ is later
    assert later["twice"](1) == 20
    run("factor = 100", later)
    assert later["twice"](1) == 200
    run("def scale(x): return -x", later)
    assert later["twice"](1) == -2


def test_globals_a_function_needs_come_along_but_replace_nothing(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("a, b = 1, [2]\ndef f(): return a, b", main)
    records = encode_names({"f": main["f"]}, blobs, namespace=main)
    builtins_before = {"__builtins__": __builtins__}
    later: dict[str, Any] = {"a": "mine", **builtins_before}
    assert decode_names(records, blobs, namespace=later)["f"]() == ("mine", [2])
    assert later["__builtins__"] is builtins_before["__builtins__"]


def test_a_function_shares_what_it_uses_with_the_names_of_its_step(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("""
        import pandas as pd
        cache, df = [], pd.DataFrame({"a": [1]})
        def remember(x): cache.append(x); return df
        """, main)  # fmt: skip
    restored = decode_names(
        encode_names({n: main[n] for n in ("cache", "remember", "df")}, blobs, namespace=main), blobs
    )
    assert restored["remember"](7) is restored["df"]
    assert restored["cache"] == [7]


def test_a_function_is_saved_even_if_something_it_looks_up_is_not(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("""
        import sqlite3
        con, table = sqlite3.connect(":memory:"), "t"
        def query(): return con.execute("select 1").fetchone(), table, helper
        def helper(): return query
        """, main)  # fmt: skip
    records = encode_names({"query": main["query"], "con": main["con"]}, blobs, namespace=main)
    assert [r["codec"] for r in records] == ["pickle", "unsaved"]
    later: dict[str, Any] = {"__name__": "__main__", "con": sqlite3.connect(":memory:")}
    row, table, helper = decode_names(records, blobs, namespace=later)["query"]()
    assert (row, table) == ((1,), "t")
    assert helper()() == (row, table, helper)


def test_a_function_that_uses_a_large_frame_does_not_store_it_again(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("""
        import pandas as pd
        df = pd.DataFrame({"a": range(1_000_000)})
        def head(): return df.head(1)
        """, main)  # fmt: skip
    encode_names({"df": main["df"]}, blobs, namespace=main)
    (record,) = encode_names({"head": main["head"]}, blobs, namespace=main)
    assert record["size"] < 10_000
    assert file_count(blobs) == 1
    assert decode_names([record], blobs)["head"]()["a"].tolist() == [0]


def test_closures_keep_their_cells(blobs: BlobDir, main: dict[str, Any]) -> None:
    run("""
        def make():
            n = 0
            def up():
                nonlocal n
                n += 1
                return n
            def get(): return n
            return up, get
        up, get = make()
        def count():
            def down(n): return down(n - 1) if n else unset is None
            return down
            unset = None
        down = count()
        """, main)  # fmt: skip
    names = ("up", "get", "down")
    restored = decode_names(encode_names({n: main[n] for n in names}, blobs, namespace=main), blobs)
    assert (restored["up"](), restored["get"]()) == (1, 1)
    assert restored["down"].__closure__[0].cell_contents is restored["down"]
    with pytest.raises(NameError, match="unset"):
        restored["down"](3)


class Point(pydantic.BaseModel):
    x: int
    tags: list[str] = []


def test_models_and_imported_functions_come_back(blobs: BlobDir) -> None:
    restored = round_trip({"p": Point(x=1, tags=["a"]), "f": textwrap.dedent, "c": Point, "m": math.floor}, blobs)
    assert restored["p"] == Point(x=1, tags=["a"])
    assert restored["f"] is textwrap.dedent
    assert restored["c"] is Point
    assert restored["m"] is math.floor


def test_another_process_restores_what_this_one_saved(blobs: BlobDir, tmp_path: Path) -> None:
    save = """
        import json, sys, numpy as np, pandas as pd
        from pydantic import BaseModel
        from wfkernel.store.blobs import BlobDir
        from wfkernel.store.codecs import encode_names
        class City(BaseModel):
            name: str
        k = 2
        def double(x): return x * k
        df = pd.DataFrame({"a": np.arange(2_000_000)})
        values = {"double": double, "df": df, "view": {"df": df}, "city": City(name="Bonn"), "n": [1]}
        print(json.dumps(encode_names(values, BlobDir(sys.argv[1]))))
        """
    restore = """
        import json, sys
        from wfkernel.store.blobs import BlobDir
        from wfkernel.store.codecs import decode_names
        from wfkernel.store.digest import digest_value
        records = json.load(sys.stdin)
        values = decode_names(records, BlobDir(sys.argv[1]), namespace=globals())
        assert values["view"]["df"] is values["df"]
        assert values["df"]["a"].iloc[-1] == 1_999_999
        assert values["city"].name == "Bonn"
        k = 5
        assert values["double"](2) == 10
        k = 2
        for record in records:
            assert digest_value(values[record["name"]]) == record["digest"], record["name"]
        """
    records = python(save, str(blobs.path))
    python(restore, str(blobs.path), stdin=records)


def python(code: str, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], input=stdin, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_deep_copy_has_the_digest_of_the_original(blobs: BlobDir) -> None:
    value = {"a": [Point(x=1), {2, 3}, (np.arange(3),)]}
    assert digest_value(copy.deepcopy(value)) == digest_value(value) == encode_names({"v": value}, blobs)[0]["digest"]
