"""Checkpointing and restoring a 100 MB pandas frame, next to pyarrow doing the same.

Run ``python tests/benchmarks/frame_checkpoint.py [folder]``. Runs are interleaved; printed are medians and the ratio
of the medians. The targets are 1.3 in both directions.

* checkpoint: `encode_names` (content digest, Arrow file, fsync, rename, fsync of the folder), against
  ``pa.Table.from_pandas`` + ``pa.ipc.new_file`` + fsync. "file only" leaves the conversion out of pyarrow's time.
* restore: `decode_names` (mapping, verification of the digest, exact pandas dtypes and index), against
  ``pa.memory_map`` + ``read_all`` + ``to_pandas``, which verifies nothing and yields read-only columns.
* digest: `digest_value`, the check whether an input changed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from blake3 import blake3
from xxhash import xxh3_128

from wfkernel.store.blobs import BlobDir
from wfkernel.store.codecs import decode_names, encode_names
from wfkernel.store.digest import digest_value

RUNS = 9


def mixed_frame() -> pd.DataFrame:
    rows, random = 1_750_000, np.random.default_rng(0)
    words = np.array(["alpha", "beta-gamma", "x", "longer text here"])
    return pd.DataFrame(
        {
            "f": random.standard_normal(rows),
            "g": random.standard_normal(rows),
            "i": random.integers(0, 1 << 40, rows),
            "j": random.integers(0, 100, rows),
            "t": pd.date_range("2020", periods=rows, freq="s"),
            "s": words[random.integers(0, 4, rows)],
        }
    )


def numeric_frame() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).standard_normal((1_250_000, 10)), columns=list("abcdefghij"))


def timed(action: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """(milliseconds, result)"""
    begun = time.perf_counter()
    result = action(*arguments)
    return (time.perf_counter() - begun) * 1000, result


def write_with_pyarrow(table: pa.Table, file: Path) -> None:
    with file.open("wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        sink.flush()
        os.fsync(sink.fileno())


def read_with_pyarrow(file: Path) -> pd.DataFrame:
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all().to_pandas()


def compare(title: str, frame: pd.DataFrame, folder: Path) -> None:
    names = ("pyarrow", "file only", "checkpoint", "pyarrow read", "restore", "digest")
    runs: list[tuple[float, ...]] = []
    size = 0
    for _ in range(RUNS + 1):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            blobs, file = BlobDir(Path(place) / "values"), Path(place) / "frame.arrow"
            conversion, table = timed(pa.Table.from_pandas, frame)
            written, _ = timed(write_with_pyarrow, table, file)
            del table
            checkpoint, records = timed(encode_names, {"frame": frame}, blobs)
            read, _ = timed(read_with_pyarrow, file)
            restore, _ = timed(decode_names, records, blobs)
            digest, _ = timed(digest_value, frame)
            runs.append((conversion + written, written, checkpoint, read, restore, digest))
            size = file.stat().st_size
    times = dict(zip(names, zip(*runs[1:], strict=True), strict=True))  # the first run warms up
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"\n{title}, {size / 1e6:.0f} MB, medians of {RUNS} in ms")
    for name, values in times.items():
        print(f"  {name:14}{medians[name]:8.1f}   {min(values):8.1f} .. {max(values):.1f}")
    print(f"  checkpoint / pyarrow + fsync    {medians['checkpoint'] / medians['pyarrow']:.2f}")
    print(f"  checkpoint / file only + fsync  {medians['checkpoint'] / medians['file only']:.2f}")
    print(f"  restore / pyarrow read          {medians['restore'] / medians['pyarrow read']:.2f}")


def hashes() -> None:
    import hashlib

    data = np.random.default_rng(0).bytes(100_000_000)
    candidates: dict[str, Callable[[], object]] = {
        "sha256": lambda: hashlib.sha256(data).digest(),
        "blake2b": lambda: hashlib.blake2b(data).digest(),
        "blake3, one thread": lambda: blake3(data).digest(),
        "blake3, all threads": lambda: blake3(data, max_threads=blake3.AUTO).digest(),
        "xxh3_128": lambda: xxh3_128(data).digest(),
    }
    print("hashing 100 MB, medians of 5 in ms")
    for name, action in candidates.items():
        print(f"  {name:20}{statistics.median(timed(action)[0] for _ in range(5)):8.1f}")


if __name__ == "__main__":
    hashes()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        compare("mixed columns", mixed_frame(), Path(folder))
        compare("numeric columns", numeric_frame(), Path(folder))
