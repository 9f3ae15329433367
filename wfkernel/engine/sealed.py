"""Secrets are kept so that only this user's key opens them.

Sealing is AES-SIV (RFC 5297) with a key derived by HKDF from the user's. A pydantic secret inside a value that is pickled is
sealed by itself: the value comes back whole, and its file holds no secret. It is sealed without a nonce, so that equal
values give equal files. Answers with secret fields (`wfkernel.engine.answers`) are sealed with a random one.
"""

from __future__ import annotations

import base64
import os
from typing import Any, Final

from wfkernel.engine.userkey import key_path, user_key
from wfkernel.errors import SecretUnreadable

__all__ = ["is_secret", "open_secret", "open_text", "seal_secret", "seal_text"]

_NONCE: Final = 16
_KINDS: Final = frozenset({"SecretStr", "SecretBytes", "Secret"})


def seal_text(text: str) -> str:
    """The text, sealed; each time another way."""
    nonce = os.urandom(_NONCE)
    return _ascii(nonce + _cipher().encrypt(text.encode(), [nonce]))


def open_text(sealed: str, what: str) -> str:
    """Inverse of `seal_text`. Raises `SecretUnreadable`, which says that `what` cannot be read."""
    content = base64.urlsafe_b64decode(sealed)
    return _opened(content[_NONCE:], [content[:_NONCE]], what).decode()


def is_secret(value: Any) -> bool:
    """Whether `value` is a pydantic secret."""
    return hasattr(type(value), "get_secret_value") and any(
        kind.__module__ == "pydantic.types" and kind.__name__.partition("[")[0] in _KINDS
        for kind in type(value).__mro__
    )


def seal_secret(secret: Any) -> str:
    """What a pydantic secret holds, for `open_secret`; equal secrets give equal text."""
    import pickle

    return _ascii(_cipher().encrypt(pickle.dumps(secret.get_secret_value(), protocol=5), [b"value"]))


def open_secret(kind: Any, sealed: str) -> Any:
    """The secret again: an instance of `kind`. Raises `SecretUnreadable`."""
    import pickle

    # What is unpickled here carries the authentication of AES-SIV: nobody but this user wrote it.
    return kind(pickle.loads(_opened(base64.urlsafe_b64decode(sealed), [b"value"], "a secret in a value")))


def _opened(sealed: bytes, associated: list[bytes], what: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        content: bytes = _cipher().decrypt(sealed, associated)
    except InvalidTag:
        raise SecretUnreadable(
            f"{what} was sealed with another key than the one in {key_path()}: restore that file, or give it again"
        ) from None
    return content


def _cipher() -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESSIV(HKDF(SHA256(), 64, None, b"wfkernel sealed secrets").derive(user_key()))


def _ascii(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode("ascii")
