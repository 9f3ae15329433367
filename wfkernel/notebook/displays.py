"""Displays of a step's body that a worker executes: its own figures, and rich output from a process without a kernel.

matplotlib keeps the open figures of a process in one place, so pyplot calls of steps that run at the same time would draw
into each other's figures, and IPython would show them under whichever cell ends next. Here every body has figures of its
own, shown when it ends. In a worker process ``display`` makes the same formats as in the kernel and hands them to the step.
"""

from __future__ import annotations

import contextvars
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, Final

from wfkernel.engine.context import current_step

__all__ = ["display", "displaying"]

_PLOTTING: Final = ("matplotlib", "pylab", "seaborn")
_figures: contextvars.ContextVar[OrderedDict[Any, Any] | None] = contextvars.ContextVar(
    "wfkernel_figures", default=None
)


def display(*values: Any, **options: Any) -> Any:
    """IPython's ``display``, in a worker process too (there: without updating displays)."""
    from IPython import display as ipython
    from IPython.core.getipython import get_ipython

    step: Any = current_step()
    if get_ipython() is not None or step is None:
        return ipython.display(*values, **options)
    for value in values:
        if options.get("raw"):
            step.display(value, options.get("metadata") or {})
        else:
            data, metadata = _formatter().format(value)
            step.display(data, {**metadata, **(options.get("metadata") or {})})
    return None


@contextmanager
def displaying(code: CodeType) -> Iterator[None]:
    """Within the block, the body's figures are its own, and what it displays arrives where the step shows things."""
    from IPython.core.getipython import get_ipython

    if get_ipython() is None:
        _replace_display()
    if "matplotlib.pyplot" not in sys.modules and not any(name.startswith(_PLOTTING) for name in code.co_names):
        yield
        return
    _separate_figures()
    token = _figures.set(OrderedDict())
    try:
        yield
        _show_figures()
    finally:
        _figures.reset(token)


def _show_figures() -> None:
    from matplotlib._pylab_helpers import Gcf

    for manager in Gcf.get_all_fig_managers():
        display(manager.canvas.figure)
    Gcf.destroy_all()


class _ByContext:
    """matplotlib's table of open figures: of the body this context belongs to, else the process's."""

    def __init__(self, usual: OrderedDict[Any, Any]) -> None:
        self._usual = usual

    def _table(self) -> OrderedDict[Any, Any]:
        own = _figures.get()
        return self._usual if own is None else own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table(), name)

    def __iter__(self) -> Any:
        return iter(self._table())

    def __reversed__(self) -> Any:
        return reversed(self._table())

    def __len__(self) -> int:
        return len(self._table())

    def __contains__(self, number: object) -> bool:
        return number in self._table()

    def __getitem__(self, number: Any) -> Any:
        return self._table()[number]

    def __setitem__(self, number: Any, manager: Any) -> None:
        self._table()[number] = manager

    def __delitem__(self, number: Any) -> None:
        del self._table()[number]


def _separate_figures() -> None:
    from matplotlib._pylab_helpers import Gcf

    if not isinstance(Gcf.figs, _ByContext):
        Gcf.figs = _ByContext(Gcf.figs)  # type: ignore[assignment]


def _replace_display() -> None:
    """In a process without a kernel IPython's own would print; matplotlib's inline backend imports it by name."""
    from IPython import display as ipython
    from IPython.core import display_functions

    ipython.display = display_functions.display = display
    backend = sys.modules.get("matplotlib_inline.backend_inline")
    if backend is not None:
        backend.display = display  # type: ignore[attr-defined]


def _formatter() -> Any:
    global _made
    if _made is None:
        from IPython.core.formatters import DisplayFormatter
        from IPython.core.pylabtools import print_figure

        _made = DisplayFormatter()
        _made.formatters["image/png"].for_type_by_name(
            "matplotlib.figure", "Figure", lambda figure: print_figure(figure, "png", base64=True)
        )
    return _made


_made: Any = None
