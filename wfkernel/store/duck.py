"""DuckDB without what its Python package loads beside it.

``import duckdb`` asks `importlib.metadata` for the package's version, which loads a parser of e-mails: half of the time
that import takes, and a fifth of what a process needs that goes on with a run. All that is used here the package
takes from one compiled module, and so do we. Import this one only where DuckDB is needed: it takes 50 ms itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
else:
    try:
        import _duckdb as duckdb
    except ImportError:  # nobody promises that name
        import duckdb

__all__ = ["duckdb"]
