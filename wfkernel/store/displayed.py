"""What steps showed, and whose HTML and scripts a front end may be given again.

A display can hold HTML, JavaScript or SVG, and a page that draws them runs their scripts, which can do in the kernel
whatever its user can. A step that is restored shows again what it showed, so such displays are signed with the user's key
as pickles are (`wfkernel.store.trust`): from a store that somebody sent, only what cannot run anything is shown, until
`wf trust`. Text and pictures need no trust.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from wfkernel.store.blobs import digest_of
from wfkernel.store.trust import sign

__all__ = ["Outputs", "active_kinds", "may_show", "sign_displays", "without_active"]

Outputs = Sequence[Mapping[str, Any]]
"""What one execution of a step showed, see `wfkernel.notebook.shown`."""

_PASSIVE: Final = frozenset({"text/plain", "image/png", "image/jpeg", "image/gif", "application/json"})
"""What no front end runs anything of."""


def active_kinds(outputs: Outputs) -> list[str]:
    """The mime types among `outputs` that can run code in a page."""
    return sorted({kind for output in outputs for kind in output.get("data", {}) if kind not in _PASSIVE})


def sign_displays(record: dict[str, Any], outputs: Outputs) -> None:
    """Put this user's signature into the value record of `outputs`, if they need one."""
    if active_kinds(outputs):
        record["sig"] = sign(_digest(outputs))


def may_show(record: Mapping[str, Any], outputs: Outputs) -> bool:
    """Whether `outputs`, read from `record`, run nothing or were shown by this user's own steps."""
    return not active_kinds(outputs) or hmac.compare_digest(str(record.get("sig")), sign(_digest(outputs)))


def without_active(outputs: Outputs) -> list[dict[str, Any]]:
    """`outputs` without what could run code; mostly a text or a picture stands for the same."""
    passive = [
        {**output, "data": {kind: value for kind, value in output["data"].items() if kind in _PASSIVE}}
        if "data" in output
        else dict(output)
        for output in outputs
    ]
    return [output for output in passive if output.get("data", True)]


def _digest(outputs: Outputs) -> str:
    return digest_of(b"displays:" + json.dumps(outputs, sort_keys=True, separators=(",", ":")).encode())
