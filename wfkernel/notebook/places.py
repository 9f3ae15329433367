"""Where notebooks lie: on this machine, or wherever papermill can read and write (``s3://``, ``gs://``, ``https://``, ...).

papermill picks a handler by how a path begins; an entry point of the group ``papermill.io`` adds more. So a remote path
stays the text it is: nothing here makes a `Path` of it, which would turn ``s3://`` into ``s3:/``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from wfkernel.errors import DefinitionError
from wfkernel.plan import reading

__all__ = ["absolute", "beside", "folder", "is_remote", "read_cells", "read_metadata", "read_notebook", "stem"]


def is_remote(path: str) -> bool:
    """Whether `path` names something that is not a file of this machine."""
    return "://" in path


def absolute(path: str) -> str:
    """The path as it can be found again from another folder."""
    return path if is_remote(path) else str(Path(path).absolute())


def folder(path: str) -> Path | None:
    """The folder of this machine a notebook lies in; None for a remote one."""
    return None if is_remote(path) else Path(path).absolute().parent


def stem(path: str) -> str:
    """The notebook's name without folder and extension."""
    return Path(path.rpartition("/")[2] if is_remote(path) else path).stem


def beside(path: str, name: str) -> str:
    """The path of `name` in the folder of `path`."""
    return f"{path.rpartition('/')[0]}/{name}" if is_remote(path) else str(Path(path).with_name(name))


def read_notebook(path: str) -> Any:
    """The notebook at `path`. Raises `DefinitionError` where there is none that can be read."""
    from papermill.iorw import load_notebook_node

    _check_there(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # of names that do not end in .ipynb: told below, if it matters
            return load_notebook_node(path)
    except Exception as error:  # every handler raises what its library raises
        raise _unreadable(path, error) from error


def read_cells(path: str) -> list[Any]:
    """The cells of the notebook at `path`, read as quickly as can be. Raises as `read_notebook` does."""
    if is_remote(path):
        return list(read_notebook(path).cells)
    _check_there(path)
    try:
        return reading.read_cells(Path(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_metadata(path: str) -> dict[str, Any]:
    """The metadata of the notebook at `path`. Raises as `read_notebook` does."""
    if is_remote(path):
        return dict(read_notebook(path).metadata)
    _check_there(path)
    try:
        return reading.read_metadata(Path(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _check_there(path: str) -> None:
    if not is_remote(path) and not Path(path).is_file():
        raise DefinitionError(f"there is no notebook {path}")


def _unreadable(path: str, error: Exception) -> DefinitionError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    if path.endswith(".py"):
        return DefinitionError(f"{path} is a file of Python, no notebook")
    return DefinitionError(f"cannot read the notebook {path}: {reason[0]}")
