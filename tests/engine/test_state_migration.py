"""State migrations: runs and sessions whose state an older version of the code wrote go on with the newer code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from wfkernel import Session, StateMigrationError, Workflow, state_migration, step, workflow
from wfkernel.errors import DefinitionError
from wfkernel.store.store import Store

OLDER = """
import sys
from pydantic import BaseModel
from wfkernel import Workflow, Session, step
from wfkernel.store.store import Store

class Person(BaseModel):
    name: str = "?"
    seen: int = 0

@step
def meet(x, ctx):
    ctx.set_state({"name": x, "seen": 1})

@step
def confirm(x, ctx):
    return ctx.suspend(message="ok?")

@step
def greet(x, ctx):
    return f"hello {ctx.state['name']}"

store = Store(sys.argv[1])
wf = Workflow("onboard", state=Person, store=store).then(meet).then(confirm).then(greet).commit()
for name in ("r1", "r2", "r3"):
    assert wf.create_run(name).sync.start("Ada Lovelace").status == "suspended"
session = Session("ada", sys.argv[2])
session.set(name="Ada Lovelace", visits=2)
store.close()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a store and a session that another process, with an older version of the code, wrote."""
    made = tmp_path_factory.mktemp("older")
    done = subprocess.run(
        [sys.executable, "-c", OLDER, made / "store.duckdb", made / "sessions"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def older(folder):
    opened = Store(folder / "store.duckdb")
    yield opened
    opened.close()


@state_migration(1, 2)
def split_name(state):
    first, _, last = state.pop("name").partition(" ")
    return {**state, "first": first, "last": last}


@state_migration(2, "2025-06")
def count_visits(state):
    return {"visits": state.pop("seen"), **state}


class Person(BaseModel):
    first: str
    last: str
    visits: int


@step
def meet(x, ctx):
    raise AssertionError("finished steps are not executed again")


@step
def confirm(x, ctx):
    return "confirmed"


@step
def greet(x, ctx):
    return f"hello {ctx.state['first']}, visit {ctx.state['visits']}"


def newer(store: Store, *migrations, state=Person) -> Workflow:
    wf = Workflow("onboard", state=state, store=store, migrations=migrations)
    return wf.then(meet).then(confirm).then(greet).commit()


def test_a_suspended_run_of_an_older_version_is_resumed_through_the_chain(older):
    run = newer(older, count_visits, split_name).create_run("r1")  # in whatever order they are given
    result = run.sync.resume({"fine": True})
    assert (result.status, result.result) == ("success", "hello Ada, visit 1")
    assert result.state == {"first": "Ada", "last": "Lovelace", "visits": 1}
    assert [e.payload["to"] for e in older.events("r1") if e.type == "run.migrated"] == ["2025-06"]
    assert older.load("r1") == run.state  # migrated once: the stored fold is the same
    assert older.load("r1").state_version == "2025-06"


@pytest.mark.parametrize(
    ("migrations", "state", "message"),
    [
        ([count_visits], Person, r"run 'r2' has state version 1, the code has version 2025-06, and no migration leads on from 1"),
        ([state_migration(1, 2)(lambda state: state["nobody"])], None, r"migration <lambda> \(1 to 2\) of run 'r2' failed: KeyError"),
        ([state_migration(1, 2)(lambda state: None)], None, r"returned NoneType, not the state"),
        ([split_name], Person, r"after its migration from version 1 to 2 does not fit the workflow's: .*visits"),
    ],
    ids=["a link is missing", "raises", "returns nothing", "does not fit"],
)  # fmt: skip
def test_what_cannot_be_migrated_is_refused_and_stays_as_it_is(older, migrations, state, message):
    before = older.events("r2")
    with pytest.raises(StateMigrationError, match=message) as caught:
        newer(older, *migrations, state=state).create_run("r2").sync.resume({"fine": True})
    assert "Nothing was changed" in str(caught.value)
    assert older.events("r2") == before
    assert older.load("r2").status == "suspended"


def test_an_older_version_of_the_code_refuses_a_run_of_a_newer_one(older):
    newer(older, split_name, count_visits).create_run("r3").sync.resume({"fine": True})
    with pytest.raises(StateMigrationError, match="run 'r3' has state version 2025-06, the code has version 1"):
        newer(older).create_run("r3").sync.time_travel("greet")


def test_new_runs_begin_with_the_newest_version(store):
    @workflow(store=store, migrations=[split_name])
    async def flow(ctx, x: int) -> int:
        return x

    run = flow.create_run("r")
    run.sync.start(1)
    assert store.load("r").state_version == 2


def test_migrations_that_lead_to_no_one_version_are_refused():
    other = state_migration(1, 3)(dict)
    with pytest.raises(DefinitionError, match="two state migrations from version 1"):
        Workflow("w", migrations=[split_name, other])
    with pytest.raises(DefinitionError, match="lead to 2 and 9"):
        Workflow("w", migrations=[split_name, state_migration(8, 9)(dict)])
    with pytest.raises(DefinitionError, match="go in a circle"):
        Workflow("w", migrations=[split_name, state_migration(2, 1)(dict)])


def test_a_session_is_migrated_when_it_is_first_used(folder):
    @state_migration(1, 2)
    def shorten(state):
        return {"who": state["name"].split()[0], "visits": state["visits"]}

    session = Session("ada", folder / "sessions", migrations=[shorten])
    assert session.state == {"who": "Ada", "visits": 2}
    session.set(visits=3)
    assert Session("ada", folder / "sessions", migrations=[shorten]).state == {"who": "Ada", "visits": 3}
    with pytest.raises(StateMigrationError, match="session 'ada' has state version 2, the code has version 1"):
        _ = Session("ada", folder / "sessions").state
    assert Session("new", folder / "sessions", migrations=[shorten]).state == {}
