"""The steps of a notebook as functions: what ``book.ipynb#step`` leads to.

They are those of the module `wfkernel.plan.export` makes of the notebook: the names a cell reads are the function's
parameters, what it binds is its result, imports and helpers stand around it. Nothing but those is executed, no kernel starts.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
import sys
from pathlib import Path
from types import ModuleType

from wfkernel.errors import DefinitionError
from wfkernel.plan.export import SourceCell, export_module
from wfkernel.plan.reading import read_cells

__all__ = ["load_cells"]


def load_cells(notebook: Path) -> ModuleType:
    """The module of a notebook's steps, made once as long as the file stays as it is. Raises `DefinitionError`."""
    try:
        return _loaded(notebook, notebook.stat().st_mtime_ns)
    except OSError as error:
        raise DefinitionError(f"{notebook} cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=64)
def _loaded(notebook: Path, stamp: int) -> ModuleType:
    import cloudpickle

    try:
        cells = [
            SourceCell(number, cell["source"], "parameters" in cell["metadata"].get("tags", ()))
            for number, cell in enumerate(read_cells(notebook), 1)
            if cell["cell_type"] == "code"
        ]
    except ValueError as error:
        raise DefinitionError(f"{notebook} is no notebook: {error}") from None
    source = export_module(cells, notebook.stem, notebook.name, runnable=False)
    name = f"{notebook.stem}_{hashlib.blake2b(str(notebook).encode(), digest_size=4).hexdigest()}"
    module = ModuleType(name)
    module.__file__ = f"<{notebook.name}>"
    module.__wf_file__ = str(notebook)  # type: ignore[attr-defined]
    linecache.cache[module.__file__] = (len(source), None, source.splitlines(True), module.__file__)
    known = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    except Exception as error:
        if known is None:
            del sys.modules[name]
        else:
            sys.modules[name] = known
        raise DefinitionError(f"{notebook}: {type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)  # other processes cannot import it
    return module
