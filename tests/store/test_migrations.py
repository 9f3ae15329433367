"""A store written by any released wfkernel opens in this one, and a failed migration changes nothing."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from wfkernel.engine import events as ev
from wfkernel.errors import StoreTooNew
from wfkernel.store import migrations
from wfkernel.store.fsck import check
from wfkernel.store.schema import newest_version
from wfkernel.store.store import Store

DATA = Path(__file__).parent / "data"


@pytest.fixture(params=sorted(DATA.glob("schema-*.duckdb.gz")), ids=lambda file: file.name.partition(".")[0])
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The path of a store as a release left it."""
    path = tmp_path / "store.duckdb"
    path.write_bytes(gzip.decompress(request.param.read_bytes()))
    return path


def versions(path: Path) -> list[int]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return [v for (v,) in connection.execute("SELECT version FROM wf.schema_version ORDER BY version").fetchall()]


def test_a_store_of_an_earlier_release_is_read_and_goes_on(released):
    store = Store(released)
    states = {run_id: store.load(run_id) for run_id in ("finished", "failed", "suspended")}
    assert {run_id: state.status for run_id, state in states.items()} == {
        "finished": "success",
        "failed": "failed",
        "suspended": "suspended",
    }
    assert states["finished"].step("clean").log[0] == "3 rows"
    assert states["failed"].error["message"] == "no rows"
    assert states["suspended"].suspended_steps[0].suspension.message == "Are these rows right?"
    assert check(store) == []
    store.claim("suspended", lambda state: [(ev.RUN_FINISH, "", {"status": "canceled"})])
    store.checkpoint("finished")
    assert check(store) == []
    assert store.query("SELECT run_id, status FROM runs ORDER BY run_id")[1] == [
        ("failed", "failed"),
        ("finished", "success"),
        ("suspended", "canceled"),
    ]
    store.close()
    assert versions(released)[-1] == newest_version()


def test_the_store_as_it_was_is_kept_beside_it(released):
    before = versions(released)[-1]
    Store(released).runs()
    copy = released.with_name(f"store.v{before}.duckdb")
    assert versions(copy)[-1] == before
    with duckdb.connect(str(copy), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (3,)


@pytest.mark.parametrize("name", ['a "store" of mine.duckdb', "it's a store.db", "store"])
def test_a_store_may_be_called_as_one_likes(released, name):
    path = released.rename(released.with_name(name))
    with closing(Store(path)) as store:
        assert len(store.runs()) == 3


def test_every_later_version_is_applied_once_and_in_order(released, monkeypatch):
    now = newest_version()
    monkeypatch.setitem(migrations.MIGRATIONS, now + 2, "INSERT INTO wf.probe VALUES ('second')")
    monkeypatch.setitem(migrations.MIGRATIONS, now + 1, "CREATE TABLE wf.probe AS SELECT 'first' AS word")
    for _ in range(2):
        store = Store(released)
        assert store.query("SELECT word FROM wf.probe")[1] == [("first",), ("second",)]
        assert len(store.runs()) == 3
        store.close()
    assert versions(released)[-2:] == [now + 1, now + 2]


def test_a_migration_that_fails_leaves_the_store_as_it_was(released, monkeypatch):
    before = versions(released)
    now = newest_version()
    broken = "CREATE TABLE wf.probe (x INTEGER); SELECT no_such_function()"
    with monkeypatch.context() as patched:
        patched.setitem(migrations.MIGRATIONS, now + 1, broken)
        with pytest.raises(Exception, match="no_such_function"):
            Store(released).runs()
    assert versions(released) == before
    store = Store(released)
    assert len(store.runs()) == 3
    store.close()


def test_after_a_migration_an_older_wfkernel_says_what_to_do(released, monkeypatch):
    now = newest_version()
    with monkeypatch.context() as newer:
        newer.setitem(migrations.MIGRATIONS, now + 1, "CREATE TABLE wf.probe (x INTEGER)")
        store = Store(released)
        store.runs()
        store.close()
    with pytest.raises(
        StoreTooNew, match=rf"schema version {now + 1}, .* reads up to version {now}\. Upgrade wfkernel"
    ):
        Store(released).runs()


def migrating(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "wfkernel", "db", "migrate", "--json", "--store", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_command_migrates_as_opening_does_and_says_what_it_did(released, tmp_path):
    before, now = versions(released)[-1], newest_version()
    copy = str(released.with_name(f"store.v{before}.duckdb"))
    assert migrating(released) == {"path": str(released), "from": before, "to": now, "backup": copy}
    assert versions(Path(copy))[-1] == before
    assert migrating(released) == {"path": str(released), "from": now, "to": now, "backup": None}
    assert len(Store(released).runs()) == 3

    new = tmp_path / "empty" / "store.duckdb"
    assert migrating(new) == {"path": str(new), "from": 0, "to": now, "backup": None}
    assert Store(new).runs() == []


def test_a_new_store_has_what_a_migrated_one_has(released, tmp_path):
    def shape(path: Path) -> list[tuple[str, ...]]:
        store = Store(path)
        store.runs()
        store.close()
        with duckdb.connect(str(path), read_only=True) as connection:
            return sorted(
                connection.execute(
                    "SELECT schema_name, table_name, column_name, data_type, is_nullable FROM duckdb_columns() "
                    "WHERE NOT internal UNION ALL "
                    "SELECT schema_name, table_name, constraint_text, constraint_type, false FROM duckdb_constraints()"
                ).fetchall()
            )

    assert shape(released) == shape(tmp_path / "new" / "store.duckdb")
