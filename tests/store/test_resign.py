"""A store from elsewhere: nothing in it runs before its values are trusted, and they open afterwards."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.store.test_checkpoints import run_of, sql
from wfkernel.errors import StoreError, ValueNotTrusted, ValueUnreadable
from wfkernel.store.codecs import decode_names, encode_names
from wfkernel.store.fsck import check
from wfkernel.store.history import history
from wfkernel.store.resign import trust, untrusted
from wfkernel.store.store import Store


class Evil:
    """Unpickling it creates a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.proof}",)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    return tmp_path / "proof"


@pytest.fixture
def foreign(store: Store, proof: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """Another user's store with values of every kind, and one that was made to do harm."""
    run = run_of(store)
    step = run.begin("train", "c", {}, [], ["model", "large", "np", "plain"])
    step.start()
    values = {"model": {"weights": (1, 2)}, "large": ("x" * 100_000,), "np": json, "plain": [1]}
    records = encode_names(values, store.blobs)
    evil = {"name": "evil", "type": "Model", "codec": "pickle", "size": 1, "digest": "d",
            "data": base64.b64encode(pickle.dumps({"evil": Evil(proof)})).decode()}  # fmt: skip
    step.succeed([*records, evil], 0.1)
    store.checkpoint("r1", "trained")
    store.close()
    monkeypatch.setenv("WFKERNEL_KEY_FILE", str(tmp_path / "mine" / "key"))
    return Store(store.path)


def save(store: Store, record: dict[str, Any]) -> None:
    step = run_of(store).begin("train", "c", {}, [], ["evil"])
    step.start()
    step.succeed([record], 0.1)


def outputs(store: Store) -> list[dict[str, Any]]:
    return store.load("r1").step("train").done["outputs"]


def test_nothing_runs_before_and_everything_opens_after(foreign, proof):
    for name in ("model", "large", "np", "evil"):
        with pytest.raises(ValueNotTrusted, match="wf trust"):
            decode_names(outputs(foreign), foreign.blobs, [name], step="train")
    assert decode_names(outputs(foreign), foreign.blobs, ["plain"]) == {"plain": [1]}
    found = {one.name: one for one in untrusted(foreign)}
    assert not proof.exists()
    assert {name: one.codec for name, one in found.items()} == {
        "model": "pickle", "large": "pickle", "np": "module", "evil": "pickle",
    }  # fmt: skip
    assert found["evil"].imports == ("posix.system",)
    assert found["np"].imports == ("json",)
    assert (found["model"].imports, found["model"].step, found["model"].run_id) == ((), "train", "r1")

    assert trust(foreign) == 4
    assert [(deed.what, deed.detail) for deed in history(foreign) if not deed.run_id] == [
        ("trusted", "values signed: 4")
    ]
    assert not proof.exists()
    assert untrusted(foreign) == []
    assert check(foreign) == []
    restored = decode_names(outputs(foreign), foreign.blobs, ["model", "large", "np"])
    assert restored == {"model": {"weights": (1, 2)}, "large": ("x" * 100_000,), "np": json}
    decode_names(outputs(foreign), foreign.blobs, ["evil"])  # who trusts, trusts
    assert proof.exists()


def test_values_of_ones_own_need_no_trust(store):
    run = run_of(store)
    step = run.begin("a", "c", {}, [], ["x"])
    step.start()
    step.succeed(encode_names({"x": (1,)}, store.blobs), 0.1)
    assert untrusted(store) == []
    assert trust(store) == 0


def test_a_damaged_store_is_not_signed(foreign):
    sql(foreign, "UPDATE wf.events SET payload = replace(payload, 'Model', 'Modem')")
    with pytest.raises(StoreError, match="is damaged and nothing was signed"):
        trust(foreign)
    assert len(untrusted(foreign)) == 4


def wf_trust(store: Store, *options: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wfkernel", "trust", str(store.path), *options]
    return subprocess.run(command, input=answer, capture_output=True, text=True, timeout=60, check=False)


HIDDEN = b"\x80\x04\x8c\x02os\x940\x8c\x06system\x940\x8c\x0bcollections0\x8c\x0bOrderedDict0h\x00h\x01\x93\x8c\x04true\x85R."
"""``os.system("true")`` with names that nothing uses where those of a module and a function are to be expected."""
PUT_TOGETHER = b"\x80\x04(\x8c\x02os\x8c\x06system\x8c\x01xl0\x8c\x06system\x93."


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (base64.b64encode(HIDDEN).decode(), ("os.system",)),
        (base64.b64encode(PUT_TOGETHER).decode(), ("(unknown)",)),
        (base64.b64encode(b"\x80\x04\x82\x07.").decode(), ("(unknown: extension 7)",)),
        (base64.b64encode(b"cos\nsystem\n.").decode(), ("os.system",)),
        (base64.b64encode(b"\x00").decode(), ("(unknown: not a pickle that can be read: at position 0, opcode b'\\x00' unknown)",)),
    ],
)  # fmt: skip
def test_what_a_value_would_import_is_told_whatever_it_was_made_to_look_like(store, data, told):
    save(store, {"name": "evil", "type": "Model", "codec": "pickle", "size": 1, "data": data})
    assert [found.imports for found in untrusted(store)] == [told]


@pytest.mark.parametrize(
    "content",
    [
        {"codec": "module", "blob": "0" * 64},
        {"data": "@@a"},
        {"data": 5},
        {"data": "é"},
        {"blob": "../../x"},
        {"blob": None},
        {},
    ],
)
def test_what_nobody_can_open_needs_no_trust_and_is_told_as_damaged(store, content):
    record = {"name": "evil", "type": "Model", "codec": "pickle", "size": 1, **content}
    save(store, record)
    assert untrusted(store) == []
    assert trust(store) == 0
    with pytest.raises(ValueUnreadable, match=r"damaged|cannot be restored"):
        store.decode(record)


class TestTheCommand:
    def test_shows_what_it_holds_and_asks(self, foreign, proof):
        refused = wf_trust(foreign, answer="n\n")
        assert refused.returncode == 2
        assert "posix.system" in refused.stdout
        assert "Trust all 4?" in refused.stderr
        assert len(untrusted(foreign)) == 4
        accepted = wf_trust(foreign, answer="y\n")
        assert (accepted.returncode, accepted.stdout.splitlines()[-1].strip()) == (
            0,
            "signed 4 values; kernels that use it: restart them",
        )
        assert untrusted(foreign) == []
        assert not proof.exists()

    def test_can_be_told_yes_beforehand(self, foreign):
        assert json.loads(wf_trust(foreign, "--json").stdout)["signed"] == 0
        assert json.loads(wf_trust(foreign, "--yes", "--json").stdout)["signed"] == 4
        assert wf_trust(foreign).stdout == "every value in it can be opened already\n"

    def test_needs_a_store(self, tmp_path):
        done = wf_trust(Store(tmp_path / "none.duckdb"))
        assert (done.returncode, done.stderr) == (
            2,
            f"wf: there is no store {tmp_path / 'none.duckdb'}. `wf db path` prints the one used in this folder.\n",
        )


def test_a_key_others_can_read_is_refused(tmp_path, monkeypatch):
    from wfkernel.store.trust import sign

    key = tmp_path / "shared-key"
    monkeypatch.setenv("WFKERNEL_KEY_FILE", str(key))
    sign("00")
    key.chmod(0o640)
    with pytest.raises(StoreError, match=f"can be read by others, who could sign values as you: chmod 600 {key}"):
        sign("00")
    key.chmod(0o600)
    assert sign("00")
