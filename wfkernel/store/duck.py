"""DuckDB without what its Python package loads beside it.

``import duckdb`` asks `importlib.metadata` for the package's version, which loads a parser of e-mails: half of the time
that import takes, and a fifth of what a process needs that goes on with a run. All that is used here the package
takes from one compiled module, and so do we. That module's 24,000 calls of functions are bound when they are first made
(RTLD_LAZY) rather than all at once, a third of what is left. Import this one only where DuckDB is needed: it still
takes 30 ms.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
else:
    _chosen = sys.getdlopenflags() if hasattr(sys, "getdlopenflags") else None
    if _chosen is not None:
        sys.setdlopenflags(_chosen & ~os.RTLD_NOW | os.RTLD_LAZY)
    try:
        import _duckdb as duckdb
    except ImportError:  # nobody promises that name
        import duckdb
    finally:
        if _chosen is not None:
            sys.setdlopenflags(_chosen)

__all__ = ["duckdb"]
