"""The second look of a search: a sentence encoder orders the best of what words and averaged vectors found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from tests.store.test_store import begin
from wfkernel.store import second_look
from wfkernel.store.context import forget_runs
from wfkernel.store.read import transaction
from wfkernel.store.second_look import encoder
from wfkernel.store.store import Store

ERRORS = (
    "ValueError: operands could not be broadcast together with shapes (3,) (4,)",
    "KeyError: 'revenue'",
    "ZeroDivisionError: division by zero",
    "FileNotFoundError: [Errno 2] No such file or directory: 'prices.csv'",
    "ConnectionRefusedError: [Errno 111] Connection refused",
    "JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
)
IN_OTHER_WORDS = {
    "arrays of different lengths": ERRORS[0],
    "the table has no such field": ERRORS[1],
    "a ratio whose denominator was nothing": ERRORS[2],
}


class Noting:
    """The encoder, which notes what it was given."""

    weight = 0.65

    def __init__(self, name: str = "noting") -> None:
        self.name = name
        self.given: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.given += texts
        return encoder().embed(texts)


@pytest.fixture
def noting(monkeypatch) -> Noting:
    noting = Noting()
    monkeypatch.setattr(second_look, "encoder", lambda: noting)
    return noting


def fill(store: Store, *texts: str, **meta: str) -> None:
    for text in texts:
        store.context.remember(text, meta)


def looked_at(store: Store) -> int:
    return store.query("SELECT count(*) FROM wf.context_second_look")[1][0][0]


def test_an_error_asked_for_in_other_words_is_found_first(store):
    fill(store, *ERRORS)
    for question, error in IN_OTHER_WORDS.items():
        assert error not in [found.text for found in store.context.search(question, mode="words")]
        assert store.context.search(question, 1)[0].text == error


def test_a_text_is_encoded_once_however_often_and_by_whomever_it_is_found(store, noting):
    fill(store, *ERRORS)
    first = store.context.search("the table has no such field")
    assert sorted(noting.given) == sorted(["the table has no such field", *ERRORS])
    noting.given.clear()
    assert store.context.search("the table has no such field") == first
    store.context.search("arrays of different lengths")
    other = Store(store.path)
    other.context.search("the server is down")
    other.close()
    assert noting.given == ["the table has no such field", "arrays of different lengths", "the server is down"]


def test_only_the_best_are_looked_at_and_the_others_follow_in_their_order(store, monkeypatch, noting):
    fill(store, *(f"remark number {n} on pumps" for n in range(12)))
    monkeypatch.setattr(second_look, "understood", lambda question, embedder: None)
    monkeypatch.setattr(second_look, "LOOKED_AT", 4)
    once = store.context.search("pumps number 7", 12)
    monkeypatch.undo()
    monkeypatch.setattr(second_look, "encoder", lambda: noting)
    monkeypatch.setattr(second_look, "LOOKED_AT", 4)
    monkeypatch.setattr(second_look, "CHOOSING", 0.3)  # as if it were to order the results
    twice = store.context.search("pumps number 7", 12)
    assert noting.given[0] == "pumps number 7"
    assert sorted(noting.given[1:]) == sorted(found.text for found in once[:4]) == sorted(f.text for f in twice[:4])
    assert [found.text for found in twice[4:]] == [found.text for found in once[4:]]
    scores = [found.score for found in twice]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


def test_filters_act_before_the_texts_to_look_at_are_chosen(store, monkeypatch, noting):
    monkeypatch.setattr(second_look, "LOOKED_AT", 2)
    fill(store, *(f"the table of day {n} has no such field" for n in range(5)))
    fill(store, *ERRORS[:3], kind="error")
    assert store.context.search("the table has no such field", 1, kind="error")[0].text == ERRORS[1]
    assert set(noting.given[1:]) < set(ERRORS)


def test_single_rankings_and_stores_with_a_sentence_encoder_get_none(store, noting):
    fill(store, *ERRORS)
    for mode in ("words", "vectors"):
        store.context.search("the table has no such field", mode=mode)
    store.context.reindex("minilm")
    assert store.context.search("the table has no such field", 1)[0].text == ERRORS[1]
    assert noting.given == []


def test_forgotten_runs_take_along_what_was_made_of_their_texts(store):
    work = begin(store).begin("work", "c", {}, [], [])
    work.start()
    work.remember("a remark about turbines", {})
    fill(store, "a remark about bicycles")
    assert len(store.context.search("remark")) == looked_at(store) == 2
    with store.database.open() as connection, transaction(connection):
        connection.execute("DELETE FROM wf.events WHERE run_id = 'r1'")
        connection.execute("DELETE FROM wf.runs WHERE run_id = 'r1'")
        forget_runs(connection, ["r1"])
    assert [found.text for found in store.context.search("remark")] == ["a remark about bicycles"]
    assert looked_at(store) == 1


def test_what_another_encoder_made_is_made_again(store, monkeypatch):
    class Axes(Noting):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            self.given += texts
            return np.array([[1, 0] if "KeyError" in text else [0, 1] for text in texts], np.float32)

    fill(store, *ERRORS)
    by_packaged = store.context.search("arrays of different lengths", len(ERRORS))
    axes, noting = Axes("axes"), Noting()
    monkeypatch.setattr(second_look, "encoder", lambda: axes)
    assert store.context.search("KeyError or the like", 1)[0].text == ERRORS[1]
    assert set(ERRORS) < set(axes.given)
    monkeypatch.setattr(second_look, "encoder", lambda: noting)
    assert store.context.search("arrays of different lengths", len(ERRORS)) == by_packaged
    assert looked_at(store) == len(ERRORS)


def test_without_the_encoder_searches_go_on_and_the_doctor_says_what_is_missing(store, tmp_path):
    hidden = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'onnxruntime' else found(name, *rest)\n"
        "from wfkernel.cli import main\n"
        "sys.argv[0] = 'wf'\n"
        "main()"
    )

    def wf(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", hidden, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)

    fill(store, *ERRORS)
    store.close()
    found = wf("search", "division of numbers", "-k", "1")
    assert (found.returncode, found.stderr) == (0, "")
    assert ERRORS[2] in found.stdout
    assert "search: the embedder minilm, 128 tokens needs onnxruntime: pip install onnxruntime" in wf("doctor").stdout


def test_looking_tells_nobody_and_writes_nothing_outside_the_store(tmp_path):
    code = (
        "import os; from wfkernel.store.second_look import encoder; print(encoder().embed(['a']).shape);"
        "print('ORT_DISABLE_TELEMETRY' in os.environ)"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS", "TF_BUILD")
    }
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert (done.stdout.split("\n")[:2], done.stderr) == (["(1, 384)", "False"], "")
    assert (
        list(tmp_path.rglob("*")) == []
    )  # onnxruntime writes an id here, with which it tells Microsoft what is loaded


def test_nothing_of_it_is_imported_by_who_does_not_search(store, tmp_path):
    fill(store, *ERRORS)
    store.close()
    code = (
        "import sys\n"
        "import wfkernel\n"
        "from wfkernel.cli import main\n"
        "sys.argv[1:] = ['ls']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print({'onnxruntime', 'tokenizers', 'wfkernel.store.second_look'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.endswith("set()\n")


@pytest.mark.parametrize(
    ("texts", "question", "loaded"),
    [
        ((), {}, "[]"),
        (ERRORS, {"kind": "nosuch"}, "[]"),
        (ERRORS, {"mode": "words"}, "[]"),
        (ERRORS[:1], {}, "['tokenizers']"),
        (ERRORS[:2], {}, "['onnxruntime', 'tokenizers']"),
    ],
    ids=["empty store", "nothing of that kind", "by words", "one text", "two texts"],
)
def test_only_what_there_is_something_to_do_for_is_loaded(store, texts, question, loaded):
    fill(store, *texts)
    store.close()
    code = (
        "import sys\n"
        "from wfkernel.store.store import Store\n"
        f"Store(sys.argv[1]).context.search('division by zero', **{question!r})\n"
        "print(sorted({'onnxruntime', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{loaded}\n", done.stderr
