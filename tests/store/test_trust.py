"""Nothing of a foreign store runs before its owner is trusted."""

from __future__ import annotations

import base64
import os
import pickle
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wfkernel.engine import events as ev
from wfkernel.engine.events import Event
from wfkernel.engine.userkey import key_path
from wfkernel.errors import StoreError, ValueNotTrusted, ValueUnreadable
from wfkernel.store.blobs import BlobDir, digest_of
from wfkernel.store.codecs import decode_names, decode_value, encode_names, encode_value
from wfkernel.store.encoder import INLINE_BYTES
from wfkernel.store.store import Store
from wfkernel.store.trust import content_digest, is_trusted, sign


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDir:
    return BlobDir(tmp_path / "values")


def become_somebody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WFKERNEL_KEY_FILE", str(tmp_path / "another" / "key"))


class Evil:
    """Unpickling it creates a file."""

    def __init__(self, proof: Path, padding: int = 0) -> None:
        self.proof, self.padding = proof, padding

    def __reduce__(self) -> Any:
        return _run, (str(self.proof), b"x" * self.padding)


def _run(proof: str, padding: bytes) -> None:
    Path(proof).write_text("executed")


def forged(record: dict[str, Any], content: bytes, blobs: BlobDir) -> dict[str, Any]:
    """`record` with other content but with its old signature."""
    without = {k: v for k, v in record.items() if k not in ("data", "blob")}
    if len(content) > INLINE_BYTES:
        return without | {"blob": blobs.put([content])[0]}
    return without | {"data": base64.b64encode(content).decode()}


@pytest.mark.parametrize("padding", [0, INLINE_BYTES], ids=["inline", "blob"])
@pytest.mark.parametrize("signature", ["missing", "of something else", "of another user", "no text"])
def test_a_malicious_pickle_does_not_run(
    blobs: BlobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: int, signature: str
) -> None:
    proof = tmp_path / "proof"
    honest = encode_names({"model": (1, 2)}, blobs)[0]
    content = pickle.dumps({"model": Evil(proof, padding)})
    record = forged(honest, content, blobs)
    if signature == "missing":
        del record["sig"]
    elif signature == "no text":
        record["sig"] = None
    elif signature == "of another user":
        mine = os.environ["WFKERNEL_KEY_FILE"]
        become_somebody_else(monkeypatch, tmp_path)
        record["sig"] = sign(content_digest(record))
        monkeypatch.setenv("WFKERNEL_KEY_FILE", mine)
    assert not is_trusted(record)
    with pytest.raises(ValueNotTrusted, match="If you trust it: wf trust STORE") as error:
        decode_names([record], blobs, step="train")
    assert "value 'model' of step 'train' was saved by another user or machine" in str(error.value)
    assert "\n" not in str(error.value)
    assert not proof.exists()
    record["sig"] = sign(content_digest(record))  # what `wf trust` does
    decode_names([record], blobs)
    assert proof.exists()


def test_a_file_that_was_exchanged_under_a_signed_name_does_not_run(blobs: BlobDir, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (record,) = encode_names({"model": (b"x" * INLINE_BYTES,)}, blobs)
    blobs.path_of(record["blob"]).write_bytes(pickle.dumps({"model": Evil(proof)}))
    assert is_trusted(record)
    with pytest.raises(ValueUnreadable, match="is damaged"):
        decode_names([record], blobs)
    assert not proof.exists()


def test_a_group_with_a_forged_pickle_does_not_run(blobs: BlobDir, tmp_path: Path) -> None:
    proof, shared = tmp_path / "proof", [1]
    records = encode_names({"a": (shared,), "b": (shared,)}, blobs)
    content = pickle.dumps({"a": Evil(proof), "b": 1})
    for record in records:
        with pytest.raises(ValueNotTrusted):
            decode_names([forged(record, content, blobs)], blobs)
    assert not proof.exists()


def test_a_foreign_store_does_not_choose_what_is_imported(
    blobs: BlobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    (record,) = encode_names({"np": np}, blobs)
    with pytest.raises(ValueNotTrusted):
        decode_names([record | {"data": "planted"}], blobs)
    assert not (tmp_path / "proof").exists()
    assert "planted" not in sys.modules


@pytest.mark.parametrize("owner", ["../../project/uv", "a/../../../project/uv", "x" * 300, "a\0b", ""])
def test_a_foreign_store_does_not_choose_which_files_are_looked_at(tmp_path: Path, owner: str) -> None:
    mine = tmp_path / "project" / "uv.lock"
    mine.parent.mkdir()
    mine.touch()
    store = Store(tmp_path / "foreign" / "store.duckdb")
    store.append([Event("r", 1, 1.0, ev.RUN_START, "", 0, {"status": "running", "owner": owner})])
    assert [row["interrupted"] for row in store.runs()] == [True]
    assert mine.exists()
    store.close()


def test_what_cannot_run_code_needs_no_trust(blobs: BlobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"json": {"a": [1]}, "frame": pd.DataFrame({"a": ["x"]}), "array": np.arange(3)}
    records = encode_names(values | {"pickle": (1,)}, blobs)
    become_somebody_else(monkeypatch, tmp_path)
    assert [is_trusted(record) for record in records] == [True, True, True, False]
    assert decode_names(records, blobs, values.keys()).keys() == values.keys()
    with pytest.raises(ValueNotTrusted, match="value 'pickle'"):
        decode_names(records, blobs)
    with pytest.raises(ValueNotTrusted, match="a value was saved by another user"):
        decode_value(records[3] | {"name": ""}, blobs)


def test_one_signature_is_not_good_for_another_codec(blobs: BlobDir) -> None:
    record = encode_value(np, blobs)
    as_pickle = record | {"codec": "pickle", "data": base64.b64encode(b"numpy").decode()}
    assert is_trusted(record)
    assert not is_trusted(as_pickle)


# -------------------------------------------------------------------------------------------------------- the key


def test_the_key_is_made_on_first_use_for_the_user_alone() -> None:
    assert not key_path().exists()
    signature = sign(digest_of(b"content"))
    assert sign(digest_of(b"content")) == signature
    assert sign(digest_of(b"other")) != signature
    assert stat.S_IMODE(key_path().stat().st_mode) == 0o600
    assert len(bytes.fromhex(key_path().read_text())) == 32
    assert [p.name for p in key_path().parent.iterdir() if p.name.startswith(key_path().name)] == [key_path().name]


def test_without_a_setting_the_key_lies_in_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WFKERNEL_KEY_FILE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_path().is_relative_to(tmp_path)
    assert key_path().name == "key"


def test_processes_and_threads_that_start_together_agree_on_one_key() -> None:
    code = "from wfkernel.store.trust import sign; print(sign('00'))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    signatures = [process.communicate()[0].strip() for process in processes]
    threads = [threading.Thread(target=lambda: signatures.append(sign("00"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signatures) == 8
    assert set(signatures) == {sign("00")}


@pytest.mark.parametrize("content", ["", "short", "x" * 64, "0" * 63])
def test_a_damaged_key_is_named_with_what_to_do(content: str) -> None:
    key_path().write_text(content)
    key_path().chmod(0o600)
    with pytest.raises(StoreError, match="is damaged: restore it, or delete it and run `wf trust STORE`") as error:
        sign("00")
    assert str(key_path()) in str(error.value)


def test_a_key_that_others_can_read_is_refused() -> None:
    sign("00")
    key_path().chmod(0o644)
    with pytest.raises(StoreError, match="can be read by others, who could sign values as you: chmod 600"):
        sign("00")


def test_a_key_that_cannot_be_made_is_an_error_of_the_store(
    blobs: BlobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("WFKERNEL_KEY_FILE", str(tmp_path / "a file" / "key"))
    with pytest.raises(StoreError, match="cannot use the key file"):
        encode_names({"x": (1,)}, blobs)
