"""The key that only this user has: 32 random bytes in hex, in a file readable by the user alone, made on first use.

It signs pickles (`wfkernel.store.trust`) and seals secrets (`wfkernel.engine.sealed`). The file is ``key`` in the user's
data folder for wfkernel; the setting `key_file` names another one. Machines that share a key trust each other's values and
read each other's secrets.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final

from wfkernel.errors import StoreError

__all__ = ["key_path", "user_key"]

_KEY: Final = re.compile("[0-9a-f]{64}")


def key_path() -> Path:
    """Where this user's key lies, whether it exists yet or not."""
    from wfkernel.settings import settings

    if (told := settings().key_file) is not None:
        return told
    import platformdirs

    return platformdirs.user_data_path("wfkernel") / "key"


def user_key() -> bytes:
    """This user's key, 32 bytes. Raises `StoreError` where it is unusable."""
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
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_hex(32).encode("ascii"))
            file.flush()
            os.fsync(fd)
        os.link(temporary, path)
    except FileExistsError:
        """Another process was first, its key is the one."""
    finally:
        temporary.unlink()
