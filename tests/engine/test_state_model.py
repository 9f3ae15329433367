"""A run taken up by code whose state model has changed: it goes on where that is safe, and is refused where state would be lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from wfkernel import PlanDrift, StateMigrationError, Workflow, state_migration, step, workflow
from wfkernel.plan.refit import refitted
from wfkernel.plan.shape import Shape
from wfkernel.store.store import Store

OLDER = """
import os, signal, sys
from typing_extensions import TypedDict
from pydantic import BaseModel
from wfkernel import Workflow, step, workflow
from wfkernel.store.store import Store

class Address(BaseModel):
    town: str = "?"

class Person(BaseModel):
    name: str = "?"
    seen: int = 0
    home: Address = Address()

class Counts(TypedDict):
    seen: int

@step
def meet(x, ctx):
    ctx.set_state({"name": x, "seen": "once", "home": Address(town="London"), "note": "not in the model"})

@step
def confirm(x, ctx):
    return ctx.suspend(message="ok?")

@step
def greet(x, ctx):
    return "not reached"

@step
def die(ctx):
    os.kill(os.getpid(), signal.SIGKILL)

store = Store(sys.argv[1])

def started(id, state, runs, **options):
    wf = Workflow(id, state=state, store=store, **options).then(meet).then(confirm).then(greet).commit()
    for name in runs:
        assert wf.create_run(name).sync.start("Ada", state={"seen": 1}).status == "suspended"

started("onboard", Person, sys.argv[2:])
started("counted", Counts, ["typed"])
started("pinned", Person, ["kept to its code"], on_drift="pin")

@workflow(store=store, state=Person)
async def visits(ctx, x: str) -> str:
    await ctx.step(meet, x)
    await ctx.step(die)

visits.create_run("killed").sync.start("Ada")
"""


class Address(BaseModel):
    town: str = "?"


class Person(BaseModel):
    """The same as the older one."""

    name: str = "?"
    seen: int = 0
    home: Address = Address()


class Renamed(BaseModel):
    full_name: str = "?"
    seen: int = 0
    home: Address = Address()


class Grown(Person):
    mood: str = "fine"
    notes: list[str] = []


class Stricter(Person):
    email: str


class Retyped(Person):
    seen: list[str] = []  # type: ignore[assignment]


class Place(BaseModel):
    city: str = "?"


class Moved(BaseModel):
    name: str = "?"
    seen: str = ""
    home: Place = Place()


class Understanding(BaseModel):
    full_name: str = Field("?", validation_alias=AliasChoices("fullName", "name"))
    seen: str = ""
    home: Address = Address()


class CamelCase(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: f"x{name.title()}")
    name: str = "?"
    seen: str = ""
    home: Address = Address()
    mood: str = "fine"


NAMES = [
    "same",
    "renamed",
    "grown",
    "stricter",
    "retyped",
    "moved",
    "understanding",
    "camel",
    "migrated",
    "travels",
    "settled",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a store in which a process with older models left suspended runs, and died in the step of another."""
    made = tmp_path_factory.mktemp("older")
    done = subprocess.run(
        [sys.executable, "-c", OLDER, made / "store.duckdb", *NAMES],
        capture_output=True, text=True, env={**os.environ, "WFKERNEL_KEY_FILE": str(made / "key")},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    return made


@pytest.fixture
def older(folder, monkeypatch) -> Iterator[Store]:
    monkeypatch.setenv("WFKERNEL_KEY_FILE", str(folder / "key"))
    opened = Store(folder / "store.duckdb")
    yield opened
    opened.close()


@step
def meet(x, ctx):
    raise AssertionError("finished steps are not executed again")


@step
def confirm(x, ctx):
    return "confirmed"


@step
def greet(x, ctx):
    return ctx.state


def newer(store: Store, state, id: str = "onboard", **options) -> Workflow:
    return Workflow(id, state=state, store=store, **options).then(meet).then(confirm).then(greet).commit()


def test_the_same_model_goes_on_whatever_steps_put_into_the_state(older):
    result = newer(older, Person).create_run("same").sync.resume({})
    assert result.status == "success"
    assert result.result["seen"] == "once", "a value that does not fit was the older code's affair"
    assert result.result["note"] == "not in the model"


REFUSED = {
    "renamed": (Renamed, "name: Renamed has no such field"),
    "stricter": (Stricter, "email: Field required"),
    "retyped": (Retyped, "seen: Input should be a valid list"),
    "moved": (Moved, "home.town: Place has no such field"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_state_that_does_not_fit_the_model_is_refused_in_one_line_and_stays(older, name):
    model, problem = REFUSED[name]
    before = older.events(name)
    with pytest.raises(PlanDrift) as caught:
        newer(older, model).create_run(name).sync.resume({})
    told = str(caught.value)
    assert told.startswith(f"run '{name}' of workflow 'onboard' stands at step 'confirm'")
    assert problem in told
    assert "@state_migration(1, 2)" in told
    assert "time_travel('confirm', state={...})" in told
    assert "\n" not in told
    assert isinstance(caught.value, StateMigrationError)
    assert older.events(name) == before
    assert older.load(name).status == "suspended"


def test_a_migration_makes_it_go_on(older):
    @state_migration(1, 2)
    def rename(state):
        return {**state, "full_name": state.pop("name"), "seen": 1}

    result = newer(older, Renamed, migrations=[rename]).create_run("migrated").sync.resume({})
    assert (result.status, result.result["full_name"]) == ("success", "Ada")
    assert (
        newer(older, Renamed, migrations=[rename]).create_run("migrated").sync.time_travel("greet").status == "success"
    )
    with pytest.raises(PlanDrift, match=r"@state_migration\(2, 3\)"):
        newer(older, Stricter, migrations=[rename]).create_run("migrated").sync.time_travel("greet")


def test_a_field_with_a_default_is_gained_and_steps_see_it(older):
    run = newer(older, Grown).create_run("grown")
    before = run.state.steps["meet"].changes
    with pytest.raises(PlanDrift, match="seen: Input should be a valid integer"):
        run.sync.resume({})

    class GrownAndOpen(Grown):
        seen: int | str = 0

    result = newer(older, GrownAndOpen).create_run("grown").sync.resume({})
    assert (result.result["mood"], result.result["notes"]) == ("fine", [])
    assert result.result["name"] == "Ada", "what steps set stays theirs"
    assert older.load("grown").steps["meet"].changes == before
    assert [e.payload["gained"] for e in older.events("grown") if e.type == "run.migrated"] != []
    assert older.load("grown") == newer(older, GrownAndOpen).create_run("grown").state


def test_a_model_that_takes_the_older_name_needs_no_migration(older):
    result = newer(older, Understanding).create_run("understanding").sync.resume({})
    assert (result.status, result.result["full_name"]) == ("success", "Ada")


def test_fields_count_by_their_names_whatever_their_aliases_are(older):
    assert newer(older, CamelCase).create_run("camel").sync.resume({}).result["mood"] == "fine"


def test_what_a_property_keeps_in_an_instance_is_no_field():
    class Loud(Address):
        @cached_property
        def shouted(self) -> str:
            return self.town.upper()

    class Living(BaseModel):
        home: Loud

    home = Loud(town="London")
    assert home.shouted == "LONDON"
    assert refitted(Shape(Living), {"home": home}, ["home"]) == ({"home": Loud(town="London")}, [])


def test_a_state_given_for_the_way_back_takes_the_place_of_the_stored_one(older):
    given = {"full_name": "Ada Lovelace", "seen": 2}
    result = newer(older, Renamed).create_run("travels").sync.time_travel("greet", state=given, context={"confirm": 1})
    assert (result.status, result.result["full_name"]) == ("success", "Ada Lovelace")


def test_a_run_that_is_pinned_to_its_code_keeps_its_state(older):
    result = newer(older, Renamed, "pinned", on_drift="pin").create_run("kept to its code").sync.resume({})
    assert (result.status, result.state["name"]) == ("success", "Ada")


class Tally(TypedDict):
    count: int


def test_an_instance_of_the_older_class_counts_by_its_content_in_a_migration_too(older):
    @state_migration(1, 2)
    def settle(state):
        assert type(state["home"]) is not Address
        return {**state, "seen": 1}

    run = newer(older, Person, migrations=[settle]).create_run("settled")
    assert run.sync.resume({}).result["home"] == Address(town="London")


def test_a_typed_dict_is_a_model_too(older):
    with pytest.raises(PlanDrift, match="count: Field required"):
        newer(older, Tally, "counted").create_run("typed").sync.resume({})


def test_a_durable_function_whose_process_died_is_refused_as_well_and_goes_on_once_it_is_migrated(older):
    @step
    def die(ctx):
        return ctx.state["full_name"]

    async def visits(ctx, x: str) -> str:
        await ctx.step(meet, x)
        return await ctx.step(die)

    with pytest.raises(
        PlanDrift, match=r"run 'killed' of workflow 'visits' stands at step 'die' .*name: Renamed has no"
    ):
        workflow(store=older, state=Renamed)(visits).create_run("killed").sync.restart()

    @state_migration(1, 2)
    def rename(state):
        return {"full_name": state["name"]}

    migrating = workflow(store=older, state=Renamed, migrations=[rename])(visits)
    assert migrating.create_run("killed").sync.restart().result == "Ada"
