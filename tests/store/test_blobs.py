"""Content-addressed files: named by content, whole or absent, verified when read."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfkernel.errors import StoreError, ValueUnreadable
from wfkernel.store import blobs as blobs_module
from wfkernel.store.blobs import LARGE_WRITE, MAPPED_SIZE, BlobDir, BlobWriter, checksum_of, digest_of

LARGE = os.urandom(MAPPED_SIZE + 12345)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDir:
    return BlobDir(tmp_path / "values")


def files_in(blobs: BlobDir) -> list[str]:
    return sorted(str(p.relative_to(blobs.path)) for p in blobs.path.rglob("*") if p.is_file())


def test_a_file_is_named_after_its_content_and_lies_in_a_folder_of_two_digits(blobs: BlobDir) -> None:
    digest, size = blobs.put([b"some ", b"content"])
    assert (digest, size) == (digest_of(b"some content"), 12)
    assert files_in(blobs) == [f"{digest[:2]}/{digest}"]
    assert blobs.path_of(digest).read_bytes() == b"some content"


def test_content_can_be_given_as_a_function_that_writes_to_a_file(blobs: BlobDir) -> None:
    digest, size = blobs.put(lambda file: (file.write(b"a"), file.write(memoryview(b"bc"))))
    assert size == 3
    assert blobs.read(digest) == b"abc"


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(LARGE_WRITE), LARGE], ids=["empty", "1", "1 MiB", "8 MiB"])
@pytest.mark.parametrize("durable", [True, False])
def test_what_was_put_is_read_and_mapped(blobs: BlobDir, content: bytes, durable: bool) -> None:
    digest, _ = blobs.put([content], durable=durable)
    assert blobs.read(digest) == content
    assert bytes(blobs.map(digest, checksum_of(content))) == content


@given(st.lists(st.tuples(st.integers(0, 3 * LARGE_WRITE), st.integers(0, 255)), max_size=5))
def test_name_and_checksum_do_not_depend_on_how_content_is_cut_into_writes(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]]
) -> None:
    chunks = [bytes([value]) * length for length, value in pieces]
    with BlobWriter(BlobDir(tmp_path_factory.mktemp("values")), durable=False) as writer:
        for chunk in chunks:
            writer.write(chunk)
        assert writer.checksum == checksum_of(b"".join(chunks))
        assert writer.commit() == digest_of(b"".join(chunks))


def test_equal_content_is_stored_once(blobs: BlobDir) -> None:
    assert blobs.put([LARGE]) == blobs.put([LARGE[:1000], LARGE[1000:]])
    assert len(files_in(blobs)) == 1


def test_content_up_to_the_limit_stays_in_memory(blobs: BlobDir) -> None:
    with BlobWriter(blobs, durable=True, in_memory=4) as writer:
        writer.write(b"1234")
        assert writer.content == b"1234"
        writer.write(b"5")
        assert writer.content is None
    assert not blobs.path.exists()


def test_what_is_not_committed_leaves_no_trace(blobs: BlobDir) -> None:
    with BlobWriter(blobs, durable=True) as writer:
        writer.write(LARGE)
        assert len(files_in(blobs)) == 1
    assert files_in(blobs) == []


def test_content_that_fails_half_way_leaves_no_trace(blobs: BlobDir) -> None:
    with pytest.raises(ZeroDivisionError):
        blobs.put(1 // (2 - i) * LARGE for i in range(3))
    assert files_in(blobs) == []


def test_mapped_memory_can_be_changed_without_changing_the_file(blobs: BlobDir) -> None:
    for content in (b"small", LARGE):
        digest, _ = blobs.put([content])
        memory = blobs.map(digest, checksum_of(content))
        memory[0:1] = bytes([content[0] ^ 255])
        assert blobs.read(digest) == content


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "mapped"])
def test_a_damaged_file_is_named_and_not_returned(blobs: BlobDir, content: bytes) -> None:
    digest, _ = blobs.put([content])
    file = blobs.path_of(digest)
    damaged = bytearray(content)
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    for read in (lambda: blobs.read(digest), lambda: blobs.map(digest, checksum_of(content))):
        with pytest.raises(ValueUnreadable, match=r"is damaged .*; run the step") as error:
            read()
        assert str(file) in str(error.value)


def test_a_missing_file_is_named(blobs: BlobDir) -> None:
    digest = digest_of(b"never written")
    with pytest.raises(ValueUnreadable, match=r"No such file.*; run the step that made it again") as error:
        blobs.read(digest)
    assert digest in str(error.value)


@pytest.mark.parametrize("left", [b"", b"cuntent"], ids=["by a power cut before its fsync", "a bit that changed"])
def test_a_damaged_file_is_replaced_when_its_content_is_saved_again(blobs: BlobDir, left: bytes) -> None:
    digest, _ = blobs.put([b"content"], durable=False)
    blobs.path_of(digest).write_bytes(left)
    blobs.put([b"content"])
    assert blobs.read(digest) == b"content"


@pytest.mark.parametrize("name", ["../../etc/passwd", "ab", "", "G" * 64])
def test_a_name_that_is_no_digest_leads_nowhere(blobs: BlobDir, name: str) -> None:
    with pytest.raises(ValueUnreadable, match="does not name a value file"):
        blobs.path_of(name)


def test_durable_means_file_then_rename_then_folders(blobs: BlobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(Path(f"/proc/self/fd/{fd}").readlink().name), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *names: (steps.append("rename"), replace(*names)))
    digest, _ = blobs.put([b"x"])
    assert steps[0].endswith(".tmp")
    assert steps[1:] == ["rename", "values", digest[:2]]
    steps.clear()
    blobs.put([b"x"])
    assert steps == [digest, digest[:2]]  # the file may stem from a put that was not durable
    steps.clear()
    blobs.put([b"y"], durable=False)
    assert steps == ["rename"]


def test_a_full_disk_is_an_error_of_the_store_in_one_line(blobs: BlobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(blobs_module, "write_all", full)
    with pytest.raises(StoreError, match=r"cannot save a value in .*: No space left on device") as error:
        blobs.put([LARGE])
    assert "\n" not in str(error.value)


def test_many_threads_may_put_the_same_and_different_content(blobs: BlobDir) -> None:
    contents = [bytes([i % 3]) * LARGE_WRITE for i in range(12)]
    threads = [threading.Thread(target=blobs.put, args=([content],)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files_in(blobs)) == 3
    assert all(blobs.read(digest_of(content)) == content for content in contents)
