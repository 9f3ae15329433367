"""How a value wants to be shown: the methods IPython's display protocol names, without IPython."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

__all__ = ["LIMIT", "mime_bundle"]

LIMIT: Final = 1_000_000
"""Characters; what is larger is not worth keeping in an event and is shown as text."""

_PLAIN: Final = frozenset({str, int, float, bool, type(None), dict, list, tuple, bytes, set})
_METHODS: Final = {
    "text/markdown": "_repr_markdown_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "text/html": "_repr_html_",
}


def mime_bundle(value: Any) -> dict[str, Any] | None:
    """MIME type -> JSON-safe data of a value that shows itself richly; None for any other.

    Raises what the value's own methods raise.
    """
    if value.__class__ in _PLAIN or isinstance(value, type):
        return None
    found = {}
    for kind, name in _METHODS.items():
        method = getattr(value, name, None)
        data = method() if callable(method) else None
        if isinstance(data, tuple):  # (data, metadata)
            data = data[0]
        if data is not None:
            found[kind] = data
    if not found and hasattr(value, "savefig"):  # a matplotlib figure, which leaves this to IPython
        picture = io.BytesIO()
        value.savefig(picture, format="png", bbox_inches="tight")
        found["image/png"] = picture.getvalue()
    shown = {
        kind: base64.b64encode(data).decode() if isinstance(data, bytes) else str(data) for kind, data in found.items()
    }
    shown = {kind: data for kind, data in shown.items() if len(data) <= LIMIT}
    return {"text/plain": repr(value), **shown} if shown else None
