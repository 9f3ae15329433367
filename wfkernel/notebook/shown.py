"""What a step shows is kept with its result, and shown again when the step is restored.

Text, displays and figures are taken down where they leave for the front end, in the context of the step that shows them,
so that steps running at the same time keep their own. At most `LIMIT` bytes are kept of one step; what is beyond is said
to be missing. Live widgets are not kept: nothing would stand behind them.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["LIMIT", "Shown", "flush_figures", "keeping", "show_again", "take_down"]

LIMIT: Final = 1_000_000
"""Bytes kept of what one execution of a step shows."""
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"

_keeping: contextvars.ContextVar[Shown | None] = contextvars.ContextVar("wfkernel_shown", default=None)


class Shown:
    """What one execution of a step has shown so far, as JSON-safe outputs."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Any]] = []
        self._bytes = 0
        self._full = self._clear = False
        self._lock = threading.Lock()

    def text(self, name: str, text: str) -> None:
        with self._lock:
            if not self._room_for(len(text)):
                return
            last = self.outputs[-1] if self.outputs else {}
            if last.get("stream") == name:
                last["text"] += text
            else:
                self.outputs.append({"stream": name, "text": text})

    def display(self, data: dict[str, Any], metadata: dict[str, Any], display_id: str | None, update: bool) -> None:
        from ipykernel.jsonutil import encode_images, json_clean

        if _WIDGET in data and "text/html" not in data:
            return
        bundle = json_clean(encode_images({kind: value for kind, value in data.items() if kind != _WIDGET}))
        with self._lock:
            output = {"data": bundle, "metadata": json_clean(metadata or {}), "id": display_id}
            if not self._room_for(sum(len(str(value)) for value in bundle.values())):
                return
            same = [o for o in self.outputs if display_id is not None and o.get("id") == display_id]
            for known in same:
                known.update(output)
            if not same and not update:
                self.outputs.append(output)

    def clear(self, wait: bool) -> None:
        with self._lock:
            self._clear = True
            if not wait:
                self._room_for(0)

    def _room_for(self, size: int) -> bool:
        if self._clear:
            self._clear, self._full, self._bytes = False, False, 0
            self.outputs.clear()
        if self._full:
            return False
        self._bytes += size
        if self._bytes > LIMIT:
            self._full = True
            self.outputs.append({"stream": "stderr", "text": f"\n[the rest was not kept: more than {LIMIT:,} bytes]\n"})
        return not self._full


@contextmanager
def keeping(shown: Shown | None) -> Iterator[None]:
    """Within the block, what this context shows is kept in `shown`."""
    token = _keeping.set(shown)
    try:
        yield
    finally:
        _keeping.reset(token)


def take_down(shell: InteractiveShell) -> None:
    """Take down, from here on, what `shell` sends to the front end."""
    publisher: Any = shell.display_pub
    hook: Any = shell.displayhook
    publish, clear, write_format = publisher.publish, publisher.clear_output, hook.write_format_data

    def published(
        data: Any, metadata: Any = None, *args: Any, transient: Any = None, update: bool = False, **more: Any
    ) -> None:
        shown = _keeping.get()
        if shown is not None:
            shown.display(data, metadata or {}, (transient or {}).get("display_id"), update)
        publish(data, metadata, *args, transient=transient, update=update, **more)

    def cleared(wait: bool = False) -> None:
        shown = _keeping.get()
        if shown is not None:
            shown.clear(wait)
        clear(wait)

    def written(format_dict: Any, md_dict: Any = None) -> None:
        shown = _keeping.get()
        if shown is not None:
            shown.display(format_dict, md_dict or {}, None, False)
        write_format(format_dict, md_dict)

    publisher.publish, publisher.clear_output, hook.write_format_data = published, cleared, written
    _take_down_text()


def _take_down_text() -> None:
    """Take down what is written to ipykernel's streams.

    For every cell IPython puts another `write` into the streams and afterwards puts back what it found: for the cell that
    loads the extension that is the method from before. Hence a property, which has the last word.
    """
    from ipykernel.iostream import OutStream

    original: Any = OutStream.__dict__["write"]
    if isinstance(original, property):
        return

    def written(stream: Any, text: str) -> Any:
        shown = _keeping.get()
        if shown is not None and isinstance(text, str):
            shown.text(stream.name, text)
        return original(stream, text)

    def found(stream: Any) -> Any:
        stored = stream.__dict__.get("write")
        before = stored is None or getattr(stored, "__func__", None) is original
        return MethodType(written, stream) if before else stored

    def put(stream: Any, write: Any) -> None:
        stream.__dict__["write"] = write

    OutStream.write = property(found, put)  # type: ignore[method-assign,assignment]


def show_again(shell: InteractiveShell, outputs: list[dict[str, Any]]) -> None:
    """Show what a step showed when it was executed."""
    for output in outputs:
        if "stream" in output:
            stream = sys.stderr if output["stream"] == "stderr" else sys.stdout
            stream.write(output["text"])
            stream.flush()
        else:
            shell.display_pub.publish(data=output["data"], metadata=output["metadata"])


def flush_figures() -> None:
    """Show the inline figures of the step that ends, which IPython would do only after the cell."""
    backend = sys.modules.get("matplotlib_inline.backend_inline")
    if backend is not None:
        backend.flush_figures()
