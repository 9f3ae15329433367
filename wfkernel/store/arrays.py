"""The `npy` codec: NumPy arrays as ``.npy`` files.

Taken are plain `numpy.ndarray`s whose dtype the format describes completely, with ``allow_pickle=False``: no objects,
no dtype metadata, no dtypes of other packages. Reading lays a writable array over the bytes, as for frames. Arrays that
are views of one another come back as independent arrays.
"""

from __future__ import annotations

import mmap
import sys
from io import BytesIO
from typing import Any, Final

from wfkernel.errors import ValueUnreadable

__all__ = ["is_array", "read_array", "write_array"]

_KINDS: Final = "biufcmMSUV"
_HEADER_LIMIT: Final = 1 << 16


def is_array(value: Any) -> bool:
    """Whether this is an array that a ``.npy`` file holds exactly."""
    numpy = sys.modules.get("numpy")
    # Another thread may be just importing numpy: then the module is there and the class is not yet.
    array = getattr(numpy, "ndarray", None)
    return array is not None and type(value) is array and _is_plain(value.dtype)


def _is_plain(dtype: Any) -> bool:
    from numpy.lib import format as npy

    if dtype.hasobject or dtype.kind not in _KINDS or dtype.metadata:
        return False
    description = npy.dtype_to_descr(dtype)
    if len(repr(description)) > _HEADER_LIMIT // 2 or not repr(description).isascii():
        return False  # would need a later version of the format
    restored = npy.descr_to_dtype(description)
    return bool(restored == dtype) and restored.isalignedstruct == dtype.isalignedstruct


def write_array(value: Any, sink: Any) -> None:
    """Write the array to the file object `sink`."""
    from numpy.lib import format as npy

    npy.write_array(sink, value, version=(1, 0), allow_pickle=False)


def read_array(data: bytearray | mmap.mmap) -> Any:
    """Restore an array over `data`, which must be writable and not be used for anything else."""
    import numpy as np
    from numpy.lib import format as npy

    header = BytesIO(data[: _HEADER_LIMIT + 16])
    if npy.read_magic(header) != (1, 0):
        raise ValueUnreadable("the .npy file has an unknown version")
    shape, fortran, dtype = npy.read_array_header_1_0(header)
    if dtype.hasobject:  # the bytes would be taken for addresses of Python objects
        raise ValueUnreadable("the .npy file says that it holds Python objects")
    return np.ndarray(shape, dtype, data, header.tell(), order="F" if fortran else "C")
