"""Embedders: what turns texts into vectors. One is named by ``FAMILY`` or ``FAMILY:MODEL``.

    wordllama                        the default: averages of word vectors, with a second look by minilm at the best
    minilm                           a sentence encoder for every text: finds a little more, takes far longer
    onnx:FOLDER                      any sentence encoder in a folder, as ONNX
    sentence-transformers:MODEL      needs the package; MODEL is fetched from the Hugging Face hub on first use
    fastembed:MODEL                  the same, through ONNX
    openai:MODEL                     any endpoint that speaks OpenAI's embeddings API: OPENAI_BASE_URL, OPENAI_API_KEY
    python:MODULE:NAME               a function of yours that takes a list of texts and returns a row of numbers for each
    python:FILE.py:NAME              the same; of an object with a method ``embed``, that method

The first two come with their weights in packages, so nothing is downloaded.

Other packages add families at the entry point group ``wfkernel.embedders``: a function that takes the model's name ("" if
none was given) and returns an `Embedder`. Nothing heavy is imported before the first text is embedded.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from wfkernel.errors import EmbedderError

if TYPE_CHECKING:
    from urllib.error import HTTPError

    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = ["DEFAULT", "ENTRY_POINTS", "Embedder", "from_store", "load_embedder", "weight_of"]

DEFAULT: Final = "wordllama"
ENTRY_POINTS: Final = "wfkernel.embedders"
_INNER_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Embedder(Protocol):
    """Turns texts into vectors of one dimension. Its name says which vectors can be compared: the store remembers it.

    It may also say how far to trust it beside the words, see `weight_of`.
    """

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of float32 for every text, of any length; they are normalised by the caller."""


def weight_of(embedder: object) -> float:
    """How much the cosine counts beside the words in a hybrid search, from 0 to 1: the embedder's own ``weight`` if it has one.

    Both weights here are the best of tests/benchmarks/context_recall.py, for a sentence encoder and for averaged word vectors.
    What an embedder that counts less than a sentence encoder finds is looked at by one (`wfkernel.store.second_look`).
    """
    return float(getattr(embedder, "weight", 0.65))


@lru_cache(maxsize=8)
def load_embedder(name: str) -> Embedder:
    """The embedder called ``FAMILY`` or ``FAMILY:MODEL``. Raises `EmbedderError`."""
    family, _, model = name.partition(":")
    factory = _BUILT_IN.get(family)
    if factory is None:
        from importlib.metadata import entry_points

        found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
        if family not in found:
            known = ", ".join([*_BUILT_IN, *found])
            raise EmbedderError(f"there is no embedder '{family}'. Known: {known}; FAMILY:MODEL names a model.")
        factory = found[family].load()
    return factory(model)


class _WordLlama:
    """Averages of token vectors, from the weights in the `wordllama` package (l2_supercat, 256 dimensions).

    Names are taken apart (`ModuleNotFoundError`) and capitals do not count: the tokens of plain words are the best trained.

    The two files are read here and `wordllama` itself is never imported: doing so takes longer than everything else
    together, sets up the root logger of the process, and looks for the tokenizer in a folder where it is not.
    """

    weight: Final = 0.3
    _FILES: Final = ("tokenizers/l2_supercat_tokenizer_config.json", "weights/l2_supercat_256.safetensors")

    def __init__(self, model: str) -> None:
        if model not in ("", "l2_supercat_256"):
            raise EmbedderError(f"wordllama brings one model, l2_supercat_256, not '{model}'.")
        self.name = "wordllama"
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Vectors] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
        tokenizer, weights = self._loaded
        vectors = np.zeros((len(texts), weights.shape[1]), np.float32)
        plain = [_INNER_CAPITAL.sub(" ", text).lower() for text in texts]
        for row, encoding in enumerate(tokenizer.encode_batch_fast(plain, add_special_tokens=False)):
            if encoding.ids:
                vectors[row] = weights[np.asarray(encoding.ids)].mean(axis=0, dtype=np.float32)
        return vectors

    def _load(self) -> tuple[Any, Vectors]:
        import numpy as np

        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise EmbedderError("the embedder wordllama is not installed: pip install wordllama")
        for package in ("safetensors", "tokenizers"):
            _need(package, package, "wordllama")
        from safetensors import safe_open
        from tokenizers import Tokenizer

        tokens, weights = (Path(spec.origin).parent / file for file in self._FILES)
        for file in (tokens, weights):
            if not file.is_file():
                raise EmbedderError(f"the package wordllama lacks {file.name}: pip install 'wordllama>=0.4,<0.5'")
        try:
            with safe_open(weights, framework="np") as file:
                return Tokenizer.from_file(str(tokens)), np.asarray(file.get_tensor("embedding.weight"))
        except Exception as error:  # what Rust makes of a file: Exception itself, and classes of its own
            raise EmbedderError(
                f"a file of the package wordllama cannot be read ({error}): pip install --force-reinstall wordllama"
            ) from error


class _SentenceTransformers:
    """A model of the `sentence-transformers` package."""

    def __init__(self, model: str) -> None:
        self._model = model or "all-MiniLM-L6-v2"
        self.name = f"sentence-transformers:{self._model}"
        self._lock = threading.Lock()
        self._loaded: Any = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        with self._lock:
            if self._loaded is None:
                _need("sentence_transformers", "sentence-transformers")
                from sentence_transformers import SentenceTransformer

                self._loaded = _fetched(self.name, lambda: SentenceTransformer(self._model))
        return np.asarray(self._loaded.encode(list(texts), show_progress_bar=False), np.float32)


class _FastEmbed:
    """A model of the `fastembed` package."""

    def __init__(self, model: str) -> None:
        self._model = model or "BAAI/bge-small-en-v1.5"
        self.name = f"fastembed:{self._model}"
        self._lock = threading.Lock()
        self._loaded: Any = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        with self._lock:
            if self._loaded is None:
                _need("fastembed", "fastembed")
                from fastembed import TextEmbedding

                self._loaded = _fetched(self.name, lambda: TextEmbedding(self._model))
        return np.asarray(list(self._loaded.embed(list(texts))), np.float32)


class _OpenAI:
    """An endpoint that speaks OpenAI's embeddings API: ``POST {OPENAI_BASE_URL}/embeddings``.

    A text is cut after `_BYTES`, which are at most as many tokens: their models refuse more than 8,192, and one long text
    would have them refuse all that are sent with it. What is refused for the moment only is asked for again.
    """

    _AT_ONCE: Final = 256
    _BYTES: Final = 8_000
    _SECONDS: Final = 60.0
    _FOR_THE_MOMENT: Final = frozenset({429, 500, 502, 503, 504})
    _PAUSES: Final = (0.5, 2.0)
    """Seconds before it is asked again, where the endpoint does not say how many."""
    _LONGEST_PAUSE: Final = 20.0

    def __init__(self, model: str) -> None:
        self._model = model or "text-embedding-3-small"
        self.name = f"openai:{self._model}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        cut = [text.encode("utf-8", "replace")[: self._BYTES].decode(errors="ignore") for text in texts]
        rows: list[list[float]] = []
        for first in range(0, len(cut), self._AT_ONCE):
            rows += self._ask(cut[first : first + self._AT_ONCE])
        return np.asarray(rows, np.float32)

    def _ask(self, texts: list[str]) -> list[list[float]]:
        import urllib.error
        import urllib.request

        base = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
        url = f"{base}/embeddings"
        if not url.startswith(("http://", "https://")):
            raise EmbedderError(f"OPENAI_BASE_URL must be an http(s) address, not '{base}'.")
        headers = {"Content-Type": "application/json"}
        if os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {os.environ['OPENAI_API_KEY']}"
        body = json.dumps({"model": self._model, "input": texts}).encode()
        for pause in (*self._PAUSES, None):
            try:
                with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=self._SECONDS) as reply:
                    answer = json.load(reply)
                found = {entry["index"]: entry["embedding"] for entry in answer["data"]}
                return [found[index] for index in range(len(texts))]
            except urllib.error.HTTPError as error:
                if pause is None or error.code not in self._FOR_THE_MOMENT:
                    hint = " Set OPENAI_API_KEY." if error.code == 401 else ""
                    raise EmbedderError(f"{url} answered {error.code} {error.reason}{_reason(error)}.{hint}") from None
                wanted = error.headers.get("Retry-After", "")
                time.sleep(min(float(wanted), self._LONGEST_PAUSE) if wanted.isdecimal() else pause)
            except OSError as error:
                reason = getattr(error, "reason", error)
                raise EmbedderError(f"{url} cannot be reached: {reason}. OPENAI_BASE_URL says where it is.") from None
            except (ValueError, KeyError, TypeError) as error:
                raise EmbedderError(f"{url} does not speak OpenAI's embeddings API: {error!r}") from None
        raise AssertionError("the last time it raises or returns")


def _reason(error: HTTPError) -> str:
    """Why an endpoint refuses, in its own words: OpenAI says ``{"error": {"message": ...}}``."""
    try:
        said = json.loads(error.read())
        said = said.get("error", said.get("detail", said.get("message", "")))
    except (OSError, ValueError, AttributeError):
        return ""
    text = " ".join(str(said.get("message", "") if isinstance(said, dict) else said).split()).rstrip(".")
    return f": {text[:300]}" if text else ""


class _Python:
    """A function of the user's, by its address (`wfkernel.plan.reference`). A store cannot name one, see `from_store`."""

    def __init__(self, address: str) -> None:
        from wfkernel.plan.reference import find, parse_address

        if not address:
            raise EmbedderError("the embedder python needs a function: python:MODULE:NAME or python:FILE.py:NAME")
        found = find(parse_address(address), Path.cwd())
        self.name = f"python:{address}"
        self.weight = weight_of(found)
        self._embed = getattr(found, "embed", found)
        if not callable(self._embed):
            raise EmbedderError(f"the embedder {self.name} is no function: {found!r}")

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        try:
            return np.asarray(self._embed(list(texts)), np.float32)
        except Exception as error:
            raise EmbedderError(f"the embedder {self.name} failed: {type(error).__name__}: {error}") from error


def _onnx(folder: str) -> Embedder:
    from wfkernel.store.onnx_embedder import OnnxEmbedder, folder_encoder

    if not folder:
        raise EmbedderError("the embedder onnx needs the folder its model is in: onnx:FOLDER")
    path = Path(folder).expanduser().resolve()
    return OnnxEmbedder(f"onnx:{path}", lambda: folder_encoder(path))


def _minilm(model: str) -> Embedder:
    from wfkernel.store.onnx_embedder import OnnxEmbedder, packaged_minilm

    if model:
        raise EmbedderError(f"minilm is one model, not '{model}'; onnx:FOLDER takes any.")
    return OnnxEmbedder("minilm", packaged_minilm)


def from_store(name: str) -> str:
    """The embedder a store says its vectors are from. Raises `EmbedderError` where that is code which nobody here has named:
    a store somebody sent must not choose what is executed."""
    if name.startswith("python:"):
        raise EmbedderError(
            f"the store's vectors are from {name}, and a store cannot have code executed: name it with "
            f"WFKERNEL_EMBEDDER={name} or in wfkernel.toml; `wf search --reindex --embedder {DEFAULT}` embeds all texts anew."
        )
    return name


def _need(module: str, package: str, embedder: str = "") -> None:
    if importlib.util.find_spec(module) is None:
        lacks = f"{embedder} needs {package}" if embedder else f"{package} is not installed"
        raise EmbedderError(f"the embedder {lacks}: pip install {package}")


def _fetched(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, RuntimeError) as error:  # what the hub's clients raise without a network or model
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EmbedderError(f"the model of the embedder {name} cannot be loaded: {first}") from error


_BUILT_IN: Final[dict[str, Callable[[str], Embedder]]] = {
    "wordllama": _WordLlama,
    "minilm": _minilm,
    "onnx": _onnx,
    "sentence-transformers": _SentenceTransformers,
    "fastembed": _FastEmbed,
    "openai": _OpenAI,
    "python": _Python,
}
