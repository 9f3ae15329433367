"""Context search: what runs leave behind is found by meaning and by words, and vectors of two embedders never mix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wfkernel
from tests.store.test_store import begin
from wfkernel.engine import events as ev
from wfkernel.engine.context import running
from wfkernel.engine.durable import workflow
from wfkernel.engine.events import Event
from wfkernel.engine.workflow import Workflow
from wfkernel.errors import DefinitionError, RunNotFound, StoreError
from wfkernel.plan.step import step
from wfkernel.store import context
from wfkernel.store.about import about, render_json
from wfkernel.store.codecs import encode_names
from wfkernel.store.context import forget_runs
from wfkernel.store.context_text import ContextRow
from wfkernel.store.ranking import words
from wfkernel.store.read import transaction
from wfkernel.store.store import Store


def texts(store: Store, **filters) -> dict[tuple[str, str], str]:
    """(kind, step) -> text of everything that can be found."""
    store.context.gather()
    _, rows = store.query("SELECT kind, step, text FROM context ORDER BY noted_at DESC, id")
    return {(kind, path): text for kind, path, text in rows}


def note(store: Store, *lines: str, **meta) -> None:
    for line in lines:
        store.context.remember(line, meta)


# -- what is gathered from runs ----------------------------------------------------------------------------------------


def test_docs_outputs_and_errors_of_steps_become_texts(store):
    run = begin(store)
    load = run.begin("load", "code", {}, [], ["flights", "n"], doc="Read the departures of a year")
    load.start()
    frame = pd.DataFrame({"airline": ["UA"], "delay_minutes": [3]})
    load.succeed(encode_names({"flights": frame, "n": 1}, store.blobs), 0.1)
    train = run.begin("train", "code", {}, [], [])
    train.start()
    try:
        frame["carrier"]
    except KeyError as error:
        train.fail(error)
    found = texts(store)
    assert found["doc", "load"] == "load: Read the departures of a year"
    assert found["output", "load"] == (
        "load: flights = pandas.DataFrame 1 rows x 2 columns: airline, delay_minutes\nn = 1"
    )
    assert found["error", "train"] == "train: KeyError: 'carrier'\nat frame[\"carrier\"]"


def test_step_functions_leave_their_docs_inputs_and_outputs(store):
    @step
    def summarise(city: str) -> dict[str, str]:
        """Describe the weather of a city."""
        return {"summary": f"mild winters in {city}"}

    workflow = Workflow("weather", store=store).then(summarise).commit()
    assert workflow.run("Lisbon").status == "success"
    found = texts(store)
    assert found["doc", "summarise"] == "summarise: Describe the weather of a city."
    assert found["input", ""] == "weather: Lisbon"
    assert found["output", "summarise"] == "summary: mild winters in Lisbon"


def test_workflows_are_found_by_what_they_are_for(store):
    async def summarise(city: str) -> str:
        return city

    @workflow(id="almanac", store=store)
    async def almanac(ctx, year: int) -> int:
        """Tides and moons for fishermen."""
        return year

    plan = Workflow("weather", store=store, description="A forecast for sailors.").then(summarise).commit()
    assert [plan.run("Lisbon").status, plan.run("Porto").status, almanac.run(1999).status] == ["success"] * 3
    docs = [(one.text, one.step, one.workflow) for one in store.context.search("forecast for sailors", kind="doc")]
    assert docs[0] == ("weather: A forecast for sailors.", "", "weather")
    assert store.context.search("moons fishermen", 1)[0].text == "almanac: Tides and moons for fishermen."


def test_numbers_leave_no_texts(store):
    @step
    def double(n: int) -> int:
        return 2 * n

    Workflow("numbers", store=store).then(double).commit().run(4)
    assert texts(store) == {}


def test_a_step_that_runs_again_replaces_its_output_and_keeps_its_errors(store):
    run = begin(store)
    for attempt in ("first", "second"):
        work = run.begin("work", f"code of {attempt}", {}, [], ["x"])
        work.start()
        work.failed(ValueError(f"the {attempt} attempt failed"), retries=1, delay=0.0)
        work.succeed(encode_names({"x": f"result of the {attempt} attempt"}, store.blobs), 0.1)
    store.context.gather()
    _, rows = store.query("SELECT kind, text FROM context ORDER BY kind, text")
    assert [(kind, text) for kind, text in rows] == [
        ("error", "work: ValueError: the first attempt failed"),
        ("error", "work: ValueError: the second attempt failed"),
        ("output", "work: x = result of the second attempt"),
    ]


def test_events_that_come_later_are_found_by_the_next_search(store):
    run = begin(store)
    work = run.begin("work", "c", {}, [], [])
    work.start()
    work.remember("turnstile counts are missing on Sundays", {})
    assert store.context.search("Sundays")[0].step == "work"
    work.remember("the harbour sensor reports in knots", {})
    assert store.context.search("harbour", 1)[0].text == "the harbour sensor reports in knots"


def test_a_search_beside_a_run_that_goes_on_writing_ends(store, monkeypatch):
    work = begin(store).begin("work", "c", {}, [], [])
    work.start()
    made = context.texts_of
    written = iter(range(9))

    def texts_while_it_writes(events: Iterator[Event]) -> list[ContextRow]:
        rows = made(events)
        work.remember(f"remark {next(written)} on pumps", {})
        return rows

    monkeypatch.setattr(context, "texts_of", texts_while_it_writes)
    assert store.context.search("pumps") == []
    assert [one.text for one in store.context.search("pumps", mode="words")] == ["remark 0 on pumps"]
    monkeypatch.setattr(context, "GATHERED_AT_ONCE", 1)
    monkeypatch.setattr(context, "texts_of", made)
    begin(store, "r2")
    assert len(store.context.search("pumps", mode="words")) == 2


def test_a_run_begun_with_context_off_leaves_only_what_it_remembers(store, monkeypatch):
    @step
    def secret() -> str:
        """Compute something confidential."""
        wfkernel.remember("a remark somebody wanted to keep")
        return "confidential salaries"

    monkeypatch.setenv("WFKERNEL_CONTEXT", "0")
    Workflow("off", store=store).then(secret).commit().run("confidential input")
    monkeypatch.delenv("WFKERNEL_CONTEXT")  # it is the run that counts, not who searches
    assert texts(store) == {("note", "secret"): "a remark somebody wanted to keep"}


def test_the_context_view_is_up_to_date_whenever_it_is_queried(store):
    begin(store).finish("failed", {"type": "DeadKernelError", "message": "the kernel died"})
    assert store.query("SELECT kind, text, workflow FROM context")[1] == [
        ("error", "DeadKernelError: the kernel died", "w")
    ]


def test_forgotten_runs_take_their_texts_and_index_along(store):
    run = begin(store)
    work = run.begin("work", "c", {}, [], [])
    work.start()
    work.remember("a remark about turbines", {})
    note(store, "a remark about bicycles")
    assert len(store.context.search("remark")) == 2
    with store.database.open() as connection, transaction(connection):
        connection.execute("DELETE FROM wf.events WHERE run_id = 'r1'")
        connection.execute("DELETE FROM wf.runs WHERE run_id = 'r1'")
        forget_runs(connection, ["r1"])
    assert [found.text for found in store.context.search("remark")] == ["a remark about bicycles"]
    for table in ("context_indexed", "context_vectors"):
        assert store.query(f"SELECT count(*) FROM wf.{table}")[1] == [(1,)]


# -- remember ----------------------------------------------------------------------------------------------------------


def test_remember_in_a_step_is_an_event_of_its_run(store):
    run = begin(store)
    work = run.begin("clean", "c", {}, [], [])
    work.start()
    with running(work):
        wfkernel.remember("UA leaves the delay of cancelled flights empty", topic="data", kind="finding")
    (event,) = [e for e in store.events("r1") if e.type == ev.CONTEXT_REMEMBER]
    assert event.payload == {
        "text": "UA leaves the delay of cancelled flights empty", "kind": "finding", "meta": {"topic": "data"},
    }  # fmt: skip
    (found,) = store.context.search("cancelled flights")
    assert (found.run_id, found.step, found.workflow, found.kind, found.meta) == (
        "r1", "clean", "w", "finding", {"topic": "data"},
    )  # fmt: skip


@pytest.mark.parametrize("worker", ["inline", "threads", "processes"])
def test_a_step_remembers_wherever_it_runs(store, worker):
    from tests.store.remembering import remark

    Workflow("w", store=store).then(step(remark, worker=worker)).commit().run("pumps")
    (found,) = store.context.search("pumps", kind="note")
    assert (found.text, found.step, dict(found.meta)) == ("maintenance of pumps is due", "remark", {"by": "step"})


def test_remember_outside_steps_needs_no_run(store, monkeypatch):
    wfkernel.remember("call the airport before the holidays", who="Ines")
    (found,) = wfkernel.search("airport")
    assert (found.text, found.run_id, found.meta) == ("call the airport before the holidays", None, {"who": "Ines"})


@pytest.mark.parametrize(
    ("text", "meta", "message"),
    [
        ("  ", {}, "takes a text with words in it"),
        (None, {}, "takes a text with words in it"),
        ("text", {"x": object()}, "not JSON-safe"),
        ("text", {"kind": 3}, "kind is a word"),
    ],
)
def test_what_cannot_be_remembered_is_refused_in_one_line(store, text, meta, message):
    with pytest.raises(DefinitionError, match=message):
        store.context.remember(text, meta)


# -- search ------------------------------------------------------------------------------------------------------------

NOTES = (
    "The kitten slept on the sofa",
    "Quarterly revenue rose by four percent",
    "connection to the database timed out",
    "petals and sepals of iris flowers",
)


def test_a_text_is_found_by_its_meaning_without_a_common_word(store):
    note(store, *NOTES)
    assert store.context.search("a cat napping", 1, mode="vectors")[0].text == NOTES[0]
    assert store.context.search("a cat napping", 1)[0].text == NOTES[0]
    assert store.context.search("a cat napping", mode="words") == []


def test_a_text_is_found_by_a_word_no_embedder_knows(store):
    note(store, *NOTES, "ticket WFX-90817 is about the same")
    assert store.context.search("WFX-90817", 1)[0].text == "ticket WFX-90817 is about the same"


def test_words_are_found_in_every_form_and_inside_names(store):
    note(store, "read_csv fails on quoted fields", "a HTTPError was raised while downloading")
    assert store.context.search("quote field", 1, mode="words")[0].text.startswith("read_csv")
    assert store.context.search("csv", 1, mode="words")[0].text.startswith("read_csv")
    assert store.context.search("download http", 1, mode="words")[0].text.startswith("a HTTPError")


class Axes:
    """Everything about money lies on one axis, the rest on the other; how far to trust that is set by a test."""

    name = "axes"

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def embed(self, given: list[str]) -> np.ndarray:
        return np.array([[1, 0] if "revenue" in text or "turnover" in text else [0, 1] for text in given], np.float32)


@pytest.mark.parametrize(("weight", "first"), [(1.0, "turnover"), (0.65, "turnover"), (0.1, "growth")])
def test_an_embedder_says_how_much_its_vectors_count_beside_the_words(store, monkeypatch, weight, first):
    monkeypatch.setattr(context, "load_embedder", lambda name: Axes(weight))
    note(store, "turnover by quarter", "growth of the plants")
    found = store.context.search("growth of revenue")
    assert found[0].text.startswith(first)
    assert all(0 < one.score <= 1 for one in found)


def test_an_encoder_to_which_all_texts_are_alike_still_tells_them_apart(store, monkeypatch):
    class Narrow(Axes):
        def embed(self, given: list[str]) -> np.ndarray:
            vectors = super().embed(given)
            return np.hstack([vectors, np.full((len(given), 1), 3, np.float32)])  # every cosine is 0.9 or more

    monkeypatch.setattr(context, "load_embedder", lambda name: Narrow(0.65))
    store.context.add([ContextRow(str(n), "note", f"entry {n} of the diary") for n in range(200)])
    note(store, "turnover by quarter", "growth of the plants")
    assert [one.text for one in store.context.search("growth of revenue", 2)] == [
        "turnover by quarter",
        "growth of the plants",
    ]


def test_of_texts_equally_near_the_shorter_comes_first(store, monkeypatch):
    monkeypatch.setattr(context, "load_embedder", lambda name: Axes(0.65))
    short = "revenue of spring"
    note(store, f"{short} and of {'many other things ' * 20}", short)
    assert [one.text == short for one in store.context.search("turnover")] == [True, False]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": None}, "search needs some words"),
        ({"text": " "}, "search needs some words"),
        ({"k": "5"}, "at least 1, not '5'"),
        ({"k": 0}, "at least 1, not 0"),
        ({"where": 5}, "a condition in SQL, or a dict of what columns and details are, not 5"),
        ({"where": {1: "x"}}, "1 is no name of a column or a detail"),
        ({"mode": "meaning"}, "there is no mode 'meaning'"),
    ],
)
def test_what_is_no_question_is_refused_in_one_line(store, asked, message):
    note(store, *NOTES)
    with pytest.raises(DefinitionError) as caught:
        wfkernel.search(**{"text": "iris", "store": store, **asked})
    assert message in str(caught.value)


def test_a_run_is_named_as_everywhere(store):
    for run_id in ("r1", "r2"):
        work = begin(store, run_id).begin("work", "c", {}, [], [])
        work.start()
        work.remember(f"the disk of {run_id} is full", {})
    assert [one.text for one in wfkernel.search("disk full", run="latest", store=store)] == ["the disk of r2 is full"]
    with pytest.raises(RunNotFound, match="there is no run 'r3'"):
        wfkernel.search("disk full", run="r3", store=store)


def test_the_same_text_is_found_once_from_where_it_was_left_last(store):
    for run_id in ("r1", "r2"):
        work = begin(store, run_id).begin("work", "c", {}, [], [])
        work.start()
        work.remember("the disk is full", {})
    assert [found.run_id for found in store.context.search("disk full")] == ["r2"]
    assert [found.run_id for found in store.context.search("disk full", run="r1")] == ["r1"]


def test_filters(store):
    note(store, "pumps in the north", topic="a", n=1)
    note(store, "pumps in the south", topic="b", n=2, kind="finding")
    store.context.add([ContextRow("t1", "template", "pumps in general")])

    def found(**filters) -> set[str]:
        return {one.text.rpartition(" ")[2] for one in store.context.search("pumps", 10, **filters)}

    assert found() == {"north", "south", "general"}
    assert found(kind="finding") == {"south"}
    assert found(kind=["finding", "template"]) == {"south", "general"}
    assert found(where={"topic": "a"}) == {"north"}
    assert found(where={"topic": ["a", "b"]}) == {"north", "south"}
    assert found(where={"n": 2, "kind": "finding"}) == {"south"}
    assert found(where={"nosuch": 1}) == found(where={'a"\\': 1}) == set()
    assert found(where="kind = 'note' AND meta->>'topic' = 'a' AND meta ->> '$.topic' IN ('a', 'meta->>''b')") == {
        "north"
    }
    assert found(where="meta->>'topic' = 'a' OR kind = 'template' -- a comment") == {"north", "general"}


def test_a_session_sees_its_own_texts(store):
    for run_id, session in (("r1", "monday"), ("r2", "friday")):
        payload = {"status": "running", "workflow": "w", "mode": "workflow", "owner": store.owner, "session": session}
        said = {"text": f"remark of {session}", "kind": "note", "meta": {}}
        store.append([Event(run_id, 1, 1.0, ev.RUN_START, "", 0, payload),
                      Event(run_id, 2, 2.0, ev.CONTEXT_REMEMBER, "a", 0, said)])  # fmt: skip
    (found,) = store.context.search("remark", session="friday")
    assert (found.text, found.session) == ("remark of friday", "friday")
    with pytest.raises(
        DefinitionError, match="not a condition"
    ):  # it would end the condition and stand beside the session
        store.context.search("remark", session="friday", where="1=1) OR (1=1")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text": " "}, DefinitionError, "needs some words"),
        ({"text": "x", "k": 0}, DefinitionError, "at least 1"),
        ({"text": "x", "mode": "magic"}, DefinitionError, "no mode 'magic': hybrid, vectors, words"),
        ({"text": "x", "where": "kind ="}, DefinitionError, "not a condition in SQL"),
        ({"text": "x", "where": "1) ; DROP TABLE wf.context; SELECT (1"}, DefinitionError, "more than a condition"),
        ({"text": "x", "where": "nosuch = 1"}, StoreError, 'column "nosuch" not found'),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(store, arguments, error, message):
    note(store, *NOTES)
    with pytest.raises(error, match=message) as raised:
        store.context.search(**arguments)
    assert "\n" not in str(raised.value)
    assert len(store.context.search("kitten sofa iris database revenue", 10)) >= 1


def test_an_empty_store_has_nothing_to_find(store):
    assert store.context.search("anything") == []


def test_results_come_best_first_and_not_more_than_asked_for(store):
    note(store, *(f"remark number {n} on pumps" for n in range(30)))
    found = store.context.search("pumps remark", 7)
    assert len(found) == 7
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 < one.score <= 1 for one in found)


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("温度", "冷却塔的温度传感器坏了"),
        ("タワー", "東京タワーの高さは三百三十三メートル"),
        ("센서", "압력센서가 고장났습니다"),
        ("Überströmventil", "Das Überströmventil klemmt bei Frost"),
        ("датчик", "датчик давления сломан"),
    ],
)
def test_a_word_is_found_in_any_writing(store, asked, first):
    note(
        store,
        "冷却塔的温度传感器坏了",
        "東京タワーの高さは三百三十三メートル",
        "압력센서가 고장났습니다",
        "датчик давления сломан",
    )
    note(store, "Das Überströmventil klemmt bei Frost", "the pump leaks")
    assert [store.context.search(asked, 1, mode=mode)[0].text for mode in ("words", "hybrid")] == [first, first]


@given(st.text())
def test_words_of_any_text_are_lower_case_and_without_spaces(text):
    for word in words(text):
        assert word == word.lower()
        assert word.split() == [word]


# -- renderings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (pd.DataFrame({"a": [1], "b": [2]}), "1 rows x 2 columns: a, b"),
        (pd.Series([1.0, 2.0], name="delay"), "2 values of float64, named delay"),
        (np.zeros((2, 3), np.float32), "float32 array of 2 x 3"),
        ((1, "two"), "[1, two]"),
        (object(), ""),
        (wfkernel.Store, ""),
    ],
)
def test_values_are_described_in_a_line(value, text):
    assert about(value) == text


def test_a_repr_that_raises_is_the_classes_own_mistake():
    from dataclasses import dataclass

    @dataclass(repr=False)
    class Broken:
        n: int

        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert about(Broken(1)) == ""


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_of_any_size_becomes_a_short_text(value):
    assert len(render_json(value, 100)) <= 100


# -- the command -------------------------------------------------------------------------------------------------------


def wf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wfkernel", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )


def test_wf_search_prints_and_filters(store, tmp_path):
    note(store, *NOTES, topic="misc")
    note(store, "a template for cats", kind="template")
    store.close()
    shown = wf(tmp_path, "search", "a cat napping", "-k", "2")
    assert shown.returncode == 0, shown.stderr
    assert "template for cats" in shown.stdout
    assert "kitten" in shown.stdout
    as_json = json.loads(
        wf(tmp_path, "search", "kitten", "--kind", "note", "--where", "meta->>'topic' = 'misc'", "--json").stdout
    )
    assert as_json[0]["text"] == NOTES[0]
    assert set(as_json[0]) == {"text", "score", "kind", "run_id", "step", "workflow", "notebook", "session", "meta"}
