"""Embedders: endpoints, functions of the user's and packages; vectors of two of them never mix."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.store.test_context import NOTES, note, wf
from wfkernel.errors import EmbedderError, WorkflowError
from wfkernel.store import context
from wfkernel.store.embedders import load_embedder


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[ThreadingHTTPServer]:
    """A server that speaks OpenAI's embeddings API: vectors of as many dimensions as the model's name says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.requests.append((self.path, self.headers.get("Authorization"), len(body["input"])))  # type: ignore[attr-defined]
            self.server.texts += body["input"]  # type: ignore[attr-defined]
            status = self.server.status  # type: ignore[attr-defined]
            size = int(body["model"].rpartition("-")[2])
            data = []
            for index, text in enumerate(body["input"]):
                vector = np.zeros(size)
                for word in text.lower().split():
                    vector[sum(word.encode()) % size] += 1.0
                data.append({"index": index, "embedding": vector.tolist()})
            answer = json.dumps(
                {"data": data[::-1]} if status == 200 else {"error": {"message": "in its\nwords."}}
            ).encode()
            if self.server.once:  # type: ignore[attr-defined]
                self.server.status = 200  # type: ignore[attr-defined]
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.texts, server.status, server.once = [], [], 200, False  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", "the key")
    yield server
    server.shutdown()
    server.server_close()


def test_an_endpoint_that_speaks_openais_api_embeds(store, endpoint, monkeypatch):
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "openai:words-32")
    note(store, *NOTES)
    assert store.context.search("iris flowers", 1, mode="vectors")[0].text == NOTES[3]
    assert store.query("SELECT value FROM wf.settings WHERE name = 'embedder'")[1] == [
        ('{"name":"openai:words-32","dimension":32}',)
    ]
    assert endpoint.requests == [("/v1/embeddings", "Bearer the key", 4), ("/v1/embeddings", "Bearer the key", 1)]


def test_texts_are_sent_in_batches_and_each_only_once(store, endpoint, monkeypatch):
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "openai:words-8")
    note(store, *(f"remark number {n}" for n in range(3)), "remark number 1")
    monkeypatch.setattr(type(load_embedder("openai:words-8")), "_AT_ONCE", 2)
    store.context.search("remark")
    assert [count for *_, count in endpoint.requests] == [2, 1, 1]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"answered 401 Unauthorized: in its words\. Set OPENAI_API_KEY\.$"),
        (400, r"answered 400 Bad Request: in its words\.$"),
        (500, r"answered 500 .*: in its words\.$"),
    ],
)
def test_an_endpoint_that_refuses_is_named(store, endpoint, monkeypatch, status, message):
    endpoint.status = status
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "openai:words-8")
    note(store, *NOTES)
    with pytest.raises(EmbedderError, match=message):
        store.context.search("kitten")
    assert store.context.search("kitten", mode="words")  # which needs no embedder


@pytest.mark.parametrize("status", [429, 503])
def test_an_endpoint_that_refuses_for_the_moment_is_asked_again(store, endpoint, monkeypatch, status):
    endpoint.status, endpoint.once = status, True
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "openai:words-8")
    note(store, *NOTES)
    assert store.context.search("kitten slept", 1)[0].text == NOTES[0]
    assert [count for *_, count in endpoint.requests] == [4, 4, 1]


def test_a_long_text_is_cut_to_what_an_endpoint_takes(store, endpoint, monkeypatch):
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "openai:words-8")
    note(store, *NOTES, "ü" * 50_000)
    assert store.context.search("kitten slept", 5)
    assert max(len(text.encode()) for text in endpoint.texts) == 8_000


def test_an_endpoint_that_is_not_there_is_named(store, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "openai:words-8")
    note(store, *NOTES)
    with pytest.raises(EmbedderError, match=r"http://127.0.0.1:9/v1/embeddings cannot be reached"):
        store.context.search("kitten")


def test_a_store_refuses_vectors_of_another_embedder_until_it_is_reindexed(store, endpoint, monkeypatch):
    note(store, *NOTES)
    store.context.search("kitten")
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "openai:words-32")
    with pytest.raises(
        EmbedderError, match=r"from wordllama \(256 dimensions\).*wf search --reindex --embedder openai:words-32"
    ):
        store.context.search("kitten")
    assert store.context.reindex() == "openai:words-32"
    assert store.context.search("kitten slept", 1, mode="vectors")[0].text == NOTES[0]
    monkeypatch.delenv("WFKERNEL_EMBEDDER")
    assert store.context.search("kitten slept", 1, mode="vectors")[0].text == NOTES[0]  # the store remembers


def test_an_embedder_chosen_before_there_are_texts_is_kept_to(store, endpoint):
    assert store.context.reindex("openai:words-8") == "openai:words-8"
    store.context.remember("the gearbox was oiled", {})
    assert [found.text for found in store.context.search("gearbox", mode="vectors")] == ["the gearbox was oiled"]
    assert store.context.reindex() == "openai:words-8"


def test_a_reindex_that_fails_leaves_everything_as_it_was(store, monkeypatch):
    note(store, *NOTES)
    before = store.context.search("a cat napping")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(EmbedderError, match="cannot be reached"):
        store.context.reindex("openai:words-8")
    assert store.context.search("a cat napping") == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nosuch",
            "there is no embedder 'nosuch'. Known: wordllama, minilm, onnx, sentence-transformers, fastembed, openai",
        ),
        ("wordllama:big", "brings one model"),
    ],
)
def test_an_unknown_embedder_is_refused(name, message):
    with pytest.raises(EmbedderError, match=message):
        load_embedder(name)


def test_an_embedder_whose_package_is_not_installed_says_what_to_install(store, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("sentence-transformers", "fastembed"):
        with pytest.raises(EmbedderError, match=f"pip install {name}"):
            load_embedder(name).embed(["text"])


@pytest.mark.parametrize(
    "damaged", ["weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"]
)
def test_a_package_with_a_file_that_was_cut_off_is_one_line_and_the_doctor_knows(store, tmp_path, damaged):
    note(store, *NOTES)
    whole = Path(importlib.util.find_spec("wordllama").origin).parent
    for file in ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"):
        copy = tmp_path / "site" / "wordllama" / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((whole / file).read_bytes()[: 100_000 if file == damaged else None])
    (tmp_path / "site" / "wordllama" / "__init__.py").touch()
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))

    def told(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wfkernel", *arguments]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    found = told("search", "kitten")
    assert found.returncode == 2
    assert found.stderr.startswith("wf: a file of the package wordllama cannot be read (")
    assert found.stderr.endswith("): pip install --force-reinstall wordllama\n")
    assert "search: a file of the package wordllama cannot be read" in told("doctor").stdout


def test_vectors_are_those_of_wordllama():
    given = ["a small kitten", "", "größe 12 µm", "def read_csv(path): ..."]
    ours = load_embedder("wordllama").embed(given)
    np.testing.assert_array_equal(load_embedder("wordllama").embed(["aSmall Kitten"])[0], ours[0])  # in plain words
    theirs = subprocess.run(
        [sys.executable, "-c",
         "import json, sys, wordllama, pathlib\n"
         "model = wordllama.WordLlama.load(cache_dir=pathlib.Path(wordllama.__file__).parent, disable_download=True)\n"
         "print(json.dumps(model.embed(json.loads(sys.argv[1])).tolist()))",
         json.dumps([text for text in given if text])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    np.testing.assert_allclose(ours[[0, 2, 3]], json.loads(theirs.stdout), rtol=1e-4, atol=1e-5)
    assert not ours[1].any()


def test_searching_leaves_the_loggers_of_the_process_alone(store):
    note(store, *NOTES)
    store.context.search("kitten")
    assert "wordllama" not in logging.root.manager.loggerDict


def test_an_embedder_that_returns_nonsense_is_named(store, monkeypatch):
    class Broken:
        name = "broken"

        def embed(self, given: list[str]) -> np.ndarray:
            return np.full((len(given), 3), np.nan)

    monkeypatch.setattr(context, "load_embedder", lambda name: Broken())
    note(store, *NOTES)
    with pytest.raises(EmbedderError, match="the embedder broken returned"):
        store.context.search("kitten")


# -- functions of the user's -------------------------------------------------------------------------------------------

MONEY = """
def embed(texts):
    return [[1, 0] if "revenue" in text or "turnover" in text else [0, 1] for text in texts]

class Counting:
    weight = 0.9
    def embed(self, texts):
        return [[len(text), 1.0] for text in texts]

counting = Counting()
broken = [1, 2].index
"""


def test_a_function_embeds(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "money.py").write_text(MONEY)
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "python:money.py:embed")
    note(store, *NOTES)
    assert store.context.search("turnover", 1)[0].text == NOTES[1]
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "python:money:counting")
    with pytest.raises(EmbedderError, match=r"from python:money\.py:embed \(2 dimensions\)"):
        store.context.search("turnover")
    assert store.context.reindex() == "python:money:counting"
    assert store.context.search("turnover", 1, mode="vectors")[0].score > 0.9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:", "needs a function"),
        ("python:money.py:nosuch", "there is no 'nosuch'"),
        ("python:money.py:broken", "python:money.py:broken failed: ValueError"),
        ("python:money.py:MONEY", "there is no 'MONEY'"),
        ("python:money.py:__name__", "is no function"),
    ],
)
def test_a_function_that_is_none_is_named(store, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "money.py").write_text(MONEY)
    with pytest.raises(WorkflowError, match=message):
        store.context.reindex(name)


def test_a_store_cannot_have_a_function_executed(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "money.py").write_text(MONEY)
    note(store, *NOTES)
    assert store.context.reindex("python:money.py:embed") == "python:money.py:embed"
    for again in (lambda: store.context.search("turnover"), store.context.reindex):
        with pytest.raises(EmbedderError, match=r"name it with WFKERNEL_EMBEDDER=python:money\.py:embed"):
            again()
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "python:money.py:embed")
    assert store.context.search("turnover", 1)[0].text == NOTES[1]


# -- the command -------------------------------------------------------------------------------------------------------


def test_wf_search_refuses_and_reindexes(store, tmp_path, endpoint):
    note(store, *NOTES)
    store.context.search("kitten")
    store.close()
    refused = wf(tmp_path, "search", "kitten", "--embedder", "openai:words-16")
    assert refused.returncode == 2
    assert refused.stderr == "wf: --embedder goes with --reindex: one store holds vectors of one embedder\n"
    assert wf(tmp_path, "search").returncode == 2
    done = wf(tmp_path, "search", "--reindex", "--embedder", "openai:words-16")
    assert (done.returncode, done.stderr) == (0, "all texts are embedded with openai:words-16\n")
    assert NOTES[0] in wf(tmp_path, "search", "kitten slept", "--mode", "vectors", "-k", "1").stdout
