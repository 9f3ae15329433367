"""What looks like a secret is left out of errors that are written down and of texts that can be searched.

Secrets are told by names: of environment variables, whose values are left out wherever they stand, of keys and fields
(``api_key``, ``clientSecret``, ``PGPASSWORD``), and of what stands before ``=`` or in an address (``://user:password@``).
What is no text stays: ``tokens: 128`` is no secret. Values themselves are stored as they are, since steps need them again:
`SecretStr` is what seals one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

from wfkernel.plan.secrets import MASK

__all__ = ["is_secret_name", "redactor"]

SHORTEST: Final = 8
"""Characters of a variable's value from which on it is looked for: shorter ones stand in ordinary words."""
_KINDS: Final = (
    r"(?:\w*password|\w*passwd|(?:\w*_)?(?:pwd|passphrase|secret|token|credentials?|authorization"
    r"|(?:api|access|private|secret|account)_?key))"
)
_NAME: Final = re.compile(_KINDS, re.I)
_INNER_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_QUOTED: Final = r"\"[^\"]*\"|'[^']*'"
_GIVEN: Final = re.compile(rf"(\b{_KINDS}=|(?P<quote>[\"']){_KINDS}(?P=quote): ?)({_QUOTED})", re.I)
_BARE: Final = re.compile(rf"(\b{_KINDS}=)(?!{re.escape(MASK)}|Secret|None\b|=)[^\s,;&(){{}}\"']+", re.I)
_ADDRESS: Final = re.compile(r"(://[^\s/:@]*:)[^\s/@]+@")
_CODE: Final = re.compile(r"^(?:\s|at )")
"""A line of a traceback that shows code: what stands there without quotes is an expression."""


def is_secret_name(name: str) -> bool:
    """Whether what is called so should not be shown."""
    return _NAME.fullmatch(_INNER_CAPITAL.sub("_", name).replace("-", "_")) is not None


def redactor() -> Callable[[str], str]:
    """What leaves out the secrets of a text, with the variables of the environment as they are now."""
    values = {value for name, value in os.environ.items() if len(value) >= SHORTEST and is_secret_name(name)}
    known = re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True)))) if values else None

    def redacted(text: str) -> str:
        if known is not None:
            text = known.sub(MASK, text)
        text = _GIVEN.sub(rf"\1{MASK}", _ADDRESS.sub(rf"\1{MASK}@", text))
        if _BARE.search(text) is None:
            return text
        return "".join(
            line if _CODE.match(line) else _BARE.sub(rf"\1{MASK}", line) for line in text.splitlines(keepends=True)
        )

    return redacted
