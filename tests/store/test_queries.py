"""SQL that people ask: it reads, leaves nothing behind, counts in UTC, and takes values and frames by their names."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.store.test_store import begin, execute
from wfkernel.errors import StoreError


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_what_happened_just_now_is_less_than_an_hour_ago_wherever_the_machine_is(store, zone):
    execute(begin(store), "a")
    store.context.remember("a remark", {})
    asked = """
from wfkernel.store.store import Store
import sys
store = Store(sys.argv[1])
recently = "BETWEEN now() - INTERVAL 1 HOUR AND now()"
print(store.query(f"SELECT count(*) FROM runs WHERE started_at {recently}")[1])
print(store.query("SELECT now()")[1][0][0].utcoffset(), str(store.frame("SELECT now() AS t").t.dt.tz))
print(len(store.context.search("remark", where=f"noted_at {recently}", mode="words")))
"""
    done = subprocess.run(
        [sys.executable, "-c", asked, str(store.path)],
        capture_output=True, text=True, env={**os.environ, "TZ": zone}, check=False,
    )  # fmt: skip
    assert done.stdout == "[(1,)]\n0:00:00 UTC\n1\n", done.stderr


@pytest.mark.parametrize("sql", ["USE wf", "ATTACH ':memory:' AS other; USE other", "SET search_path = 'wf'"])
def test_what_a_query_sets_ends_with_it(store, sql):
    execute(begin(store), "a")
    before = store.query("SELECT * FROM runs")
    store.query(sql)
    assert store.query("SELECT * FROM runs") == before
    assert len(store.runs()) == 1


@pytest.mark.parametrize("sql", ["CHECKPOINT", "SELECT 1; force checkpoint", "DELETE FROM runs"])
def test_what_changes_the_file_is_refused(store, sql):
    execute(begin(store), "a")
    with pytest.raises(StoreError, match="cannot change it"):
        store.query(sql)


@pytest.mark.parametrize(
    ("name", "value", "condition"),
    [
        ("least", np.int64(1), "executions >= $least"),
        ("wanted", ["a", "x"], "step IN $wanted"),
        ("wanted", np.array(["a"]), "step = ANY($wanted)"),
        ("wanted", pd.Series(["a"]), "step = ANY($wanted)"),
        ("since", pd.Timestamp("2020-01-01"), "started_at > $since"),
    ],
)
def test_a_query_takes_values_by_their_names(store, name, value, condition):
    execute(begin(store), "a")
    names = {name: value, "another": object()}
    assert store.query(f"SELECT step FROM steps WHERE {condition}", names)[1] == [("a",)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT $limit", "the query asks for $limit: bind limit in the notebook, or `wf db sql -p limit=VALUE`"),
        ("SELECT ?", "values in a query have names: write $limit in place of ?"),
        ("SELECT * FROM run", 'Table with name run does not exist! Did you mean "runs"?'),
        ("SELECT stat\nFROM runs", 'Candidate bindings: "status", '),
        ("SELECT run_id,\n  secnds\nFROM steps", "(line 2: secnds)"),
        ("SELECT * FROM statements", "Table with name statements does not exist!"),  # a variable of ours has that name
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(store, sql, message):
    with pytest.raises(StoreError) as caught:
        store.query(sql)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_are_tables_under_their_names(store):
    execute(begin(store), "a")
    rows = {"step": ["a"], "price": [3]}
    frames = {
        "costs": pd.DataFrame(rows),
        "prices": pl.DataFrame(rows),
        "table": pa.table(rows),
        "runs": pd.DataFrame(rows),
    }
    for name in ("costs", "prices", '"table"'):
        assert store.query(f"SELECT step, price FROM steps JOIN {name} USING (step)", frames)[1] == [("a", 3)]
    assert store.query("SELECT price + $more FROM costs, runs", {**frames, "more": 1})[1] == [(4,)]  # views come first
    with pytest.raises(StoreError, match="does not exist"):
        store.query("SELECT * FROM costs")


def test_records_hold_what_columns_of_json_say(store):
    begin(store)
    (record,) = store.records("SELECT payload, NULL::JSON AS none, 'text' AS text FROM events LIMIT 1")
    assert record["payload"]["status"] == "running"
    assert (record["none"], record["text"]) == (None, "text")
