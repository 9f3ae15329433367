"""Equal content has equal digests in every process, and a change of content changes the digest."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import decimal
import enum
import functools
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import textwrap
import threading
import types
import uuid
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfkernel.store.digest import digest_value

D = digest_value


def cell(code: str, **names: Any) -> dict[str, Any]:
    """The namespace of a notebook after this cell."""
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    exec(compile(textwrap.dedent(code), "cell", "exec", dont_inherit=True), namespace)
    return namespace


def function(code: str, **names: Any) -> str:
    """The digest of the function `f` that a cell defines."""
    return D(cell(code, **names)["f"])


# ------------------------------------------------------------------------------------------------- plain values

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.booleans(), inner, max_size=4)
        | st.sets(st.integers() | st.text(), max_size=4)
    ),
)


def fingerprint(value: Any) -> Any:
    """What a digest should tell apart, computed in another way."""
    if isinstance(value, dict):
        return "dict", frozenset((fingerprint(k), fingerprint(v)) for k, v in value.items())
    if isinstance(value, set):
        return "set", frozenset(map(fingerprint, value))
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(map(fingerprint, value))
    if isinstance(value, float | complex):
        return type(value).__name__, struct.pack("dd", value.real, value.imag)
    return type(value).__name__, repr(value)


@given(values, values)
@settings(deadline=None)
def test_digests_are_equal_exactly_when_types_and_contents_are(one: Any, other: Any) -> None:
    assert D(one) == D(copy.deepcopy(one)) == D(pickle.loads(pickle.dumps(one)))
    assert (D(one) == D(other)) == (fingerprint(one) == fingerprint(other))
    assert re.fullmatch("[0-9a-f]{32}", D(one))


@given(st.lists(values, min_size=1, max_size=30))
@settings(max_examples=5, deadline=None)
def test_digests_are_the_same_in_a_process_with_another_hash_seed(examples: list[Any]) -> None:
    code = """
        import pickle, sys
        from wfkernel.store.digest import digest_value
        for value in pickle.load(sys.stdin.buffer):
            print(digest_value(value))
        """
    for seed in ("1", "2"):
        assert in_process(code, pickle.dumps(examples), seed) == [D(value) for value in examples]


def in_process(code: str, stdin: bytes = b"", seed: str = "1") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=stdin,
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": seed},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


@pytest.mark.parametrize("kind", [float, int, str], ids=lambda kind: kind.__name__)
def test_long_lists_of_one_type_are_told_apart_from_each_other(kind: Any) -> None:
    long = [kind(i) for i in range(1000)]
    digests = {D(long), D(tuple(long)), D(long[:-1]), D([*long, kind(0)]), D(long[::-1]), D([*long[:-1], None])}
    assert len(digests) == 6
    assert D(list(long)) == D(long)


def test_long_lists_of_any_member_are_digested() -> None:
    for member in (2**63, -(2**63) - 1, "\ud800", "ab", True, 1.5, (1,)):
        assert D([member] * 100) != D([member] * 101)
    assert D(["ab", "c"] * 50) != D(["a", "bc"] * 50)
    assert D([1.0] * 100) != D([1] * 100)


def test_order_counts_in_lists_but_not_in_dicts_and_sets() -> None:
    assert D([1, 2]) != D([2, 1])
    assert D({"a": 1, "b": 2}) == D({"b": 2, "a": 1})
    assert D({"a", "b", "c"}) == D({"c", "b", "a"})
    assert D(collections.OrderedDict(a=1, b=2)) != D(collections.OrderedDict(b=2, a=1))


def test_identity_does_not_count() -> None:
    x = [1]
    assert D([x, x]) == D([[1], [1]])
    text = "".join(["a", "b"])
    assert D([text, "ab"]) == D(["ab", "ab"])


def test_values_that_contain_themselves_have_a_digest() -> None:
    def loop(member: Any) -> list[Any]:
        value: list[Any] = [member]
        value.append({"self": value})
        return value

    assert D(loop(1)) == D(loop(1)) != D(loop(2))


def test_a_change_deep_inside_a_value_shows() -> None:
    def chain(end: Any) -> Any:
        for _ in range(150):
            end = Plain(next=end)
        return end

    assert D(chain(1)) == D(chain(1)) != D(chain(2))


def test_a_value_too_deep_to_walk_has_a_digest() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert D(value) == D(copy.copy(value)) != D(())


# -------------------------------------------------------------------------------------------------------- objects


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any) -> None:
        self.a = a


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class City(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    size: int = 0


OBJECTS: list[Any] = [
    dt.date(2024, 1, 1),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    dt.timedelta(1),
    decimal.Decimal("1.0"),
    decimal.Decimal("1.00"),
    uuid.UUID(int=1),
    Path("a"),
    re.compile("a"),
    re.compile("a", re.IGNORECASE),
    range(3),
    slice(1, 2),
    collections.Counter("aab"),
    collections.deque([1], maxlen=3),
    collections.defaultdict(list, a=[1]),
    frozenset({1}),
    bytearray(b"a"),
    types.SimpleNamespace(a=1),
    Colour.RED,
    Colour.BLUE,
    Slotted(1),
    Slotted(2),
    Plain(a=1),
    Plain(a=1, b=Plain()),
    City(name="Bonn"),
    City(name="Bonn", size=1),
    City(name="Bonn", mayor="x"),
    ValueError("a"),
    np.float64(1),
    np.int64(1),
    np.dtype("f8"),
    functools.partial(textwrap.indent, prefix="-"),
    random.Random(1),
    random.Random(2),
    "x".upper,
    [].append,
    len,
    textwrap.dedent,
    textwrap.indent,
    Plain,
    City,
    str,
    np,
    np.sum,
    np.add,
    ...,
    NotImplemented,
]


def test_objects_count_by_class_and_state() -> None:
    assert len({D(value) for value in OBJECTS}) == len(OBJECTS)
    for value in OBJECTS:
        assert D(cloudpickle.loads(cloudpickle.dumps(value))) == D(value), value


def test_the_state_that_counts_is_the_one_at_the_time() -> None:
    value = Plain(items=[1])
    before = D(value)
    value.items.append(2)
    assert D(value) != before


def test_which_fields_of_a_model_were_set_does_not_count() -> None:
    assert D(City(name="Bonn", size=0)) == D(City(name="Bonn"))


class Refuses:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError


@pytest.mark.parametrize("make", [threading.Lock, Refuses, lambda: (i for i in "ab")], ids=["lock", "refuses", "gen"])
def test_only_the_type_of_opaque_objects_counts(make: Any) -> None:
    assert D(make()) == D(make()) != D(object())
    assert D({"a": make(), "b": 1}) == D({"a": make(), "b": 1}) != D({"a": make(), "b": 2})


def test_no_address_shows_in_a_digest() -> None:
    code = """
        import functools, threading
        from wfkernel.store.digest import digest_value
        padding = [object() for _ in range(int("{}"))]
        class C:
            f = functools.partial(lambda self, x=object(): x)
            table = {{lambda: 1: object}}
            members = {{object(), C_before}} if (C_before := None) else {{threading.Lock}}
            def method(self): return C, padding[:0]
        for value in (C, C(), C().method, object(), [object()], C.f, (lambda: C), threading.Thread):
            print(digest_value(value))
        """
    code = code.replace("padding[:0]", "len")
    assert in_process(code.format(1)) == in_process(code.format(100_000), seed="2")


# ------------------------------------------------------------------------------------------------ frames, arrays


def test_arrays_count_by_dtype_shape_and_content() -> None:
    arrays = [
        np.arange(4),
        np.arange(4.0),
        np.arange(4).reshape(2, 2),
        np.array([0, 1, 2, 4]),
        np.array(["a", 1], dtype=object),
        np.array(["a", 2], dtype=object),
        np.array([(1, "x")], dtype=[("a", "i4"), ("o", object)]),
        np.zeros(2, "M8[s]"),
        np.ma.masked_array([1, 2], [True, False]),
        np.zeros(2).view(np.recarray),
    ]
    assert len(set(map(D, arrays))) == len(arrays)
    for array in arrays:
        assert D(array.copy()) == D(array)
    assert D(np.arange(10)[::2]) == D(np.array([0, 2, 4, 6, 8]))


def test_frames_count_by_everything_that_can_be_seen() -> None:
    def frame(**change: Any) -> pd.DataFrame:
        made = pd.DataFrame({"a": [1.0, 2.0], "s": ["x", None]}).assign(**change.pop("columns", {}))
        made = made.set_axis(change.pop("index", [0, 1])).rename(columns=change.pop("labels", {}))
        made.attrs = change.pop("attrs", {})
        return made

    frames = [
        frame(),
        frame(columns={"a": [1.0, 3.0]}),
        frame(columns={"a": [1, 2]}),
        frame(columns={"new": 1}),
        frame(index=[1, 0]),
        frame(index=["p", "q"]),
        frame(labels={"a": 0}),
        frame(attrs={"unit": "K"}),
        frame(columns={"s": pd.Categorical(["x", None])}),
        frame(columns={"o": [1, "mixed"]}),
        frame(columns={"o": [2, "mixed"]}),
        frame(columns={"o": [1, "mixed"]}, index=[1, 0]),
        frame(columns={"o": [1, "mixed"]}, attrs={"unit": "K"}),
        frame(columns={"o": [[1], {"a": 1}]}),
        frame()["a"],
        frame()["a"].rename("b"),
        frame(columns={"o": [1, "mixed"]})["o"],
        frame(columns={"o": [1, "mixed"]})["o"].rename("p"),
    ]
    assert len(set(map(D, frames))) == len(frames)
    for made in frames:
        assert D(made.copy()) == D(made) == D(pickle.loads(pickle.dumps(made)))


def test_how_a_frame_came_about_does_not_count() -> None:
    whole = pd.DataFrame({"i": range(10), "s": ["a", None] * 5, "n": pd.array([1, None] * 5, "Int64"), "f": 0.5})
    part = whole.iloc[3:7].reset_index(drop=True)
    again = pd.DataFrame({name: part[name].tolist() for name in part}).astype(part.dtypes)
    assert D(part) == D(again)
    masked = whole["n"].where([False, True] * 5).iloc[:4]
    assert D(masked) == D(pd.Series(pd.array([None] * 4, "Int64"), name="n"))
    grown = pd.DataFrame({"i": range(10)})
    grown["s"], grown["n"], grown["f"] = whole["s"], whole["n"], whole["f"]
    assert D(grown) == D(whole)


def test_frames_of_other_libraries() -> None:
    frames = [
        pl.DataFrame({"a": [1, None]}),
        pl.DataFrame({"a": [1, 2]}),
        pl.DataFrame({"a": [1, 2]})["a"],
        pl.DataFrame({"a": [2**100]}, schema={"a": pl.Int128}),
        pa.table({"a": [1, 2]}),
        pa.record_batch({"a": [1, 2]}),
        pa.array([1, 2]),
    ]
    assert len(set(map(D, frames))) == len(frames)
    for frame in frames:
        assert D(pickle.loads(pickle.dumps(frame))) == D(frame)


# ----------------------------------------------------------------------------------------------- functions, classes


def test_layout_comments_and_docstrings_do_not_count() -> None:
    plain = function("def f(x):\n    return x + 1")
    assert plain == function("""


        # moved, commented
        def f(x):
            '''documented'''

            return (x
                    + 1)  # same
        """)
    assert D(cell("class C:\n  def f(self): return 1")["C"]) == D(
        cell("class C:\n  'doc'\n  # c\n  def f(self):\n    'doc'\n    return 1")["C"]
    )


@pytest.mark.parametrize(
    "code",
    [
        "def f(x): return x + 2",
        "def f(x): return x - 1",
        "def f(x): return x + 1.0",
        "def f(x): return x + True",
        "def f(x=0): return x + 1",
        "def f(*x): return x + 1",
        "def f(*, x): return x + 1",
        "def f(x, y=1): return x + 1",
        "def f(y): return y + 1",
        "async def f(x): return x + 1",
        "def f(x): yield x + 1",
        "def f(x):\n    try: return x + 1\n    except ValueError: pass",
        "f = lambda x: x + 1",
    ],
)
def test_what_a_function_does_counts(code: str) -> None:
    assert function(code) != function("def f(x): return x + 1")
    assert function(code) == function(code)


def test_globals_count_when_the_function_looks_them_up() -> None:
    code = "def f(x): return x + k"
    assert function(code, k=1) == function(code, k=1, other=2)
    assert len({function(code), function(code, k=1), function(code, k=2), function(code, k=[1])}) == 4
    inner = "def f(xs): return [x + k for x in xs if (lambda: k)()]"
    assert function(inner, k=1) != function(inner, k=2)
    attribute = "def f(x): return x.k"
    assert function(attribute, k=1) == function(attribute, k=2)


def test_functions_that_call_each_other_count_together() -> None:
    code = """
        def f(n): return g(n - 1) if n else {}
        def g(n): return f(n - 1) if n else 0
        """
    assert function(code.format(1)) == function(code.format(1)) != function(code.format(2))
    assert function(code.format(1)) != function(code.format(1).replace("0", "5"))


def test_many_functions_that_all_use_each_other_are_digested_quickly() -> None:
    names = [f"f{i}" for i in range(40)]
    code = "".join(f"def {name}(): return {', '.join(names)}\n" for name in names)
    assert D(cell(code)["f0"]) == D(cell(code)["f0"])


def test_closures_count() -> None:
    code = "def make(n):\n  def f(): return n\n  return f\n"
    assert function(code + "f = make(1)") == function(code + "f = make(1)") != function(code + "f = make(2)")
    recursive = "def make():\n  def f(n): return f(n - 1)\n  return f\nf = make()"
    assert function(recursive) == function(recursive)


@pytest.mark.parametrize(
    "change",
    [
        ("return self.x", "return self.x + 1"),
        ("limit = 3", "limit = 4"),
        ("x: int", "x: float"),
        ("class C:", "class C(Base):"),
        ("@property", "@staticmethod"),
        ("helper = 1", "helper = 2"),
    ],
    ids=lambda change: change[1],
)
def test_the_content_of_a_class_counts(change: tuple[str, str]) -> None:
    code = """
        helper = 1
        class Base: pass
        class C:
            limit = 3
            x: int = 0
            @property
            def y(self): return self.x
            def z(self): return helper
        c = C()
        """
    assert D(cell(code)["C"]) == D(cell(code)["C"]) != D(cell(code.replace(*change))["C"])
    assert D(cell(code)["c"]) == D(cell(code)["c"]) != D(cell(code.replace(*change))["c"])


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("from dataclasses import dataclass\n@dataclass\nclass C:\n  x: int = 1", ("= 1", "= 2")),
        ("from enum import Enum\nclass C(Enum):\n  A = 1", ("= 1", "= 2")),
        ("from typing import NamedTuple\nclass C(NamedTuple):\n  x: int = 1", ("int", "str")),
        ("from collections import namedtuple\nC = namedtuple('C', 'x')", ("'x'", "'y'")),
        ("from pydantic import BaseModel\nclass C(BaseModel):\n  x: int = 1", ("int", "str")),
        ("from pydantic import BaseModel, Field\nclass C(BaseModel):\n  x: int = Field(1, gt=0)", ("gt=0", "gt=1")),
        (
            "from pydantic import BaseModel, field_validator\nclass C(BaseModel):\n  x: int\n"
            "  @field_validator('x')\n  @classmethod\n  def check(cls, v): return v",
            ("return v", "return v + 1"),
        ),
        (
            "from abc import ABC, abstractmethod\nclass C(ABC):\n  @abstractmethod\n  def f(self): ...",
            ("def f", "def g"),
        ),
        ("import functools\nclass C:\n  @functools.cached_property\n  def f(self): return 1", ("return 1", "return 2")),
        ("from typing import Generic, TypeVar\nT = TypeVar('T')\nclass C(Generic[T]):\n  x: list[T]", ("list", "set")),
    ],
    ids=["dataclass", "enum", "NamedTuple", "namedtuple", "model", "field", "validator", "abc", "cached", "generic"],
)
def test_classes_of_every_make(code: str, change: tuple[str, str]) -> None:
    first = cell(code)["C"]
    assert D(first) == D(cell(code)["C"]) != D(cell(code.replace(*change))["C"])
    program = f"{code}\nfrom wfkernel.store.digest import digest_value\nprint(digest_value(C))"
    assert in_process(program, seed="1") == in_process(program, seed="2") == [D(first)]


@pytest.mark.parametrize(
    "code", ["@dataclass\nclass C:\n  x: int", "class C(BaseModel):\n  x: int"], ids=["dataclass", "model"]
)
def test_an_instance_that_was_saved_and_restored_is_what_it_was(code: str) -> None:
    program = f"""
from dataclasses import dataclass
import cloudpickle
from pydantic import BaseModel
from wfkernel.store.digest import digest_value
{code}
before = digest_value(C(x=1))
restored = cloudpickle.loads(cloudpickle.dumps(C(x=1)))
assert digest_value(restored) == digest_value(C(x=1)) == before != digest_value(C(x=2))
print(before)
"""
    assert in_process(program, seed="1") == in_process(program, seed="2")


def test_using_a_class_does_not_change_it() -> None:
    main = cell("""
        from pydantic import BaseModel
        class M(BaseModel):
            x: int = 1
        class P:
            def f(self): return self
        """)
    before = D(main["M"]), D(main["P"])
    made = main["M"](x=2)
    made.x = 3
    main["M"].model_json_schema()
    main["P"]().f()
    assert (D(main["M"]), D(main["P"])) == before


def test_cached_functions_count_by_what_they_wrap() -> None:
    code = "import functools\n@functools.cache\ndef f(x): return x + 1"
    assert function(code) == function(code) != function(code.replace("+ 1", "+ 2"))


def test_a_restored_function_has_the_digest_of_the_original() -> None:
    main = cell("""
        import math
        k = [1]
        class C:
            def m(self): return g(k)
        def g(x): return math.floor(x[0])
        def f(x, c=C): return c().m() + g(x)
        """)
    for name in ("f", "g", "C"):
        assert D(cloudpickle.loads(cloudpickle.dumps(main[name]))) == D(main[name])


def test_an_edit_of_a_local_module_counts_for_what_comes_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "local_helpers.py"
    file.write_text("def helper(): return inner()\ndef inner(): return 1\nclass C: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import local_helpers  # type: ignore[import-not-found]

    code = "def f(): return helpers.helper()"
    things = (local_helpers, local_helpers.helper, local_helpers.C, local_helpers.C())
    before = [*map(D, things), function(code, helpers=local_helpers)]
    file.write_text(file.read_text().replace("return 1", "return 2"))
    after = [*map(D, things), function(code, helpers=local_helpers)]
    monkeypatch.delitem(sys.modules, "local_helpers")
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_the_version_of_an_installed_package_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = D(np), D(np.mean)
    monkeypatch.setattr(np, "__version__", "0")
    assert D(np) != before[0]
    assert D(np.mean) != before[1]
