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


def milliseconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return (time.perf_counter() - begun) * 1000


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
    times: dict[str, list[float]] = {name: [] for name in names}
    size = 0
    for _ in range(RUNS + 1):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            blobs, file = BlobDir(Path(place) / "values"), Path(place) / "frame.arrow"
            begun = time.perf_counter()
            table = pa.Table.from_pandas(frame)
            conversion = (time.perf_counter() - begun) * 1000
            written = milliseconds(lambda table=table, file=file: write_with_pyarrow(table, file))
            del table
            times["file only"].append(written)
            times["pyarrow"].append(conversion + written)
            records: list[dict[str, object]] = []
            times["checkpoint"].append(
                milliseconds(lambda: records.extend(encode_names({"frame": frame}, blobs)))
            )
            times["pyarrow read"].append(milliseconds(lambda file=file: read_with_pyarrow(file)))
            times["restore"].append(milliseconds(lambda: decode_names(records, blobs)))
            times["digest"].append(milliseconds(lambda: digest_value(frame)))
            size = file.stat().st_size
    medians = {name: statistics.median(runs[1:]) for name, runs in times.items()}  # the first run warms up
    print(f"\n{title}, {size / 1e6:.0f} MB, medians of {RUNS} in ms")
    for name, median in medians.items():
        print(f"  {name:14}{median:8.1f}   {min(times[name]):8.1f} .. {max(times[name]):.1f}")
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
        print(f"  {name:20}{statistics.median(milliseconds(action) for _ in range(5)):8.1f}")


if __name__ == "__main__":
    hashes()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        compare("mixed columns", mixed_frame(), Path(folder))
        compare("numeric columns", numeric_frame(), Path(folder))
