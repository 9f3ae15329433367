"""Whose pickles may be opened: signatures with a key that only this user has.

Opening a pickle runs code of whoever wrote it, and so does importing a module by name. A store can come from
anywhere, so both are signed when saved, as Jupyter signs notebooks, and refused without a valid signature. The
signature is an HMAC-SHA256 over the digest of the content; readers compute that digest from the very bytes they are
about to open.

The key is 32 random bytes in hex, in the file ``key`` of the user's data folder for wfkernel (the setting
`key_file` names another file), readable by the user alone and made on first use. Machines that share a key trust each other's
values.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wfkernel.errors import StoreError
from wfkernel.store.blobs import digest_of
from wfkernel.store.disk import write_all

__all__ = ["content_digest", "is_trusted", "key_path", "sign"]

_SIGNED_CODECS: Final = frozenset({"pickle", "module"})
"""Codecs whose decoding runs code that the record chooses."""
_KEY: Final = re.compile("[0-9a-f]{64}")


def key_path() -> Path:
    """Where this user's key lies, whether it exists yet or not."""
    from wfkernel.settings import settings

    if (told := settings().key_file) is not None:
        return told
    import platformdirs

    return platformdirs.user_data_path("wfkernel") / "key"


def sign(digest: str) -> str:
    """This user's signature of content with this digest, in hex. Raises `StoreError` if the key is unusable."""
    return hmac.digest(_key(), digest.encode("ascii"), "sha256").hex()


def is_trusted(record: Mapping[str, Any]) -> bool:
    """Whether decoding the value record cannot run code, or only code that this user saved.

    A record that belongs to a group without holding the group's pickle is decided by the record that holds it.
    """
    if record["codec"] not in _SIGNED_CODECS or not ("data" in record or "blob" in record):
        return True
    return hmac.compare_digest(str(record.get("sig")), sign(content_digest(record)))


def content_digest(record: Mapping[str, Any]) -> str:
    """The digest that `record`'s signature has to cover; for a blob, its name, which reading verifies."""
    if record["codec"] == "module":
        return digest_of(f"module:{record['data']}".encode())
    return str(record["blob"]) if "blob" in record else digest_of(base64.b64decode(record["data"]))


def _key() -> bytes:
    path = key_path()
    try:
        if not path.exists():
            _create_key(path)
        elif os.name == "posix" and path.stat().st_mode & 0o077:
            raise StoreError(
                f"the key file {path} can be read by others, who could sign values as you: chmod 600 {path}"
            )
        key = path.read_text("ascii", errors="replace").strip()
    except OSError as error:
        raise StoreError(f"cannot use the key file {path}: {error.strerror}") from error
    if not _KEY.fullmatch(key):
        raise StoreError(
            f"the key file {path} is damaged: restore it, or delete it and run `wf trust STORE` for older values"
        )
    return bytes.fromhex(key)


def _create_key(path: Path) -> None:
    """Make a key that appears at once and complete, also when several processes do this together."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}-{secrets.token_hex(6)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(fd, secrets.token_hex(32).encode("ascii"))
        os.fsync(fd)
        os.close(fd)
        os.link(temporary, path)
    except FileExistsError:
        """Another process was first, its key is the one."""
    finally:
        temporary.unlink()
