"""Whose pickles may be opened: signatures with a key that only this user has.

Opening a pickle runs code of whoever wrote it, and so does importing a module by name. A store can come from
anywhere, so both are signed when saved, as Jupyter signs notebooks, and refused without a valid signature. The
signature is an HMAC-SHA256 over the digest of the content; readers compute that digest from the very bytes they are
about to open.
The key is the user's (`wfkernel.engine.userkey`).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any, Final

from wfkernel.engine.userkey import user_key
from wfkernel.errors import ValueUnreadable
from wfkernel.store.blobs import checked_name, digest_of

__all__ = ["content_digest", "is_trusted", "sign"]

_SIGNED_CODECS: Final = frozenset({"pickle", "module"})
"""Codecs whose decoding runs code that the record chooses."""


def sign(digest: str) -> str:
    """This user's signature of content with this digest, in hex. Raises `StoreError` if the key is unusable."""
    return hmac.digest(user_key(), digest.encode("ascii"), "sha256").hex()


def is_trusted(record: Mapping[str, Any]) -> bool:
    """Whether decoding the value record cannot run code, or only code that this user saved.

    A record that belongs to a group without holding the group's pickle is decided by the record that holds it. Raises
    `ValueUnreadable` for one that nobody can decode.
    """
    if record["codec"] not in _SIGNED_CODECS or not ("data" in record or "blob" in record):
        return True
    return hmac.compare_digest(str(record.get("sig")), sign(content_digest(record)))


def content_digest(record: Mapping[str, Any]) -> str:
    """The digest that `record`'s signature has to cover; for a blob, its name, which reading verifies.

    Raises `ValueUnreadable` for a record that nobody can decode.
    """
    try:
        if record["codec"] == "module":
            return digest_of(f"module:{record['data']}".encode())
        return checked_name(record["blob"]) if "blob" in record else digest_of(base64.b64decode(record["data"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueUnreadable(f"the record of a value is damaged ({error}); run the step that made it again") from None
