"""Values written into SQL come back as they were, and pandas stays out of it."""

from __future__ import annotations

import subprocess
import sys

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from wfkernel.store.sql import execute

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(
    st.characters(exclude_categories=["Cs"])
)  # fmt: skip
connection = duckdb.connect()


@settings(deadline=None)  # the first text with a NUL has DuckDB import pandas
@given(st.lists(scalars, min_size=1, max_size=4))
def test_any_value_comes_back(values):
    marks = ", ".join("?" * len(values))
    (row,) = execute(connection, f"SELECT {marks}", values).fetchall()
    assert list(row) == values
    numbered = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    assert execute(connection, f"SELECT {numbered}", values).fetchall() == [row]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.lists(st.text("ab'\"?$1")))
def test_what_looks_like_a_place_is_none_inside_quotes(text, names):
    (row,) = execute(connection, """SELECT '$1 ? it''s', $1, "?" FROM (SELECT $2 AS "?")""", [text, names]).fetchall()
    assert row == ("$1 ? it's", text, names)


def test_writing_and_reading_runs_imports_neither_pandas_nor_pyarrow(tmp_path):
    code = """
import sys
from tests.store.test_store import begin, execute
from wfkernel.store.store import Store
store = Store(sys.argv[1])
execute(begin(store), "a")
assert store.load(store.find("r1")).step("a").status == "success"
assert len(store.runs()) == 1
store.checkpoint("r1")
store.close()
print([name for name in ("pandas", "pyarrow") if name in sys.modules])
"""
    path = str(tmp_path / "s.duckdb")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
