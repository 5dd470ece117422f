"""What kernels are told of a table's arrays: addresses and strides as plain ints, worked out once a table.

A table is frozen and keeps its arrays, so the addresses stay right for as long as it lives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rows_at", "shared_at"]


def rows_at(array: Any) -> tuple[int, int] | None:
    """The address of the first row of a two-dimensional array and the bytes from row to row.

    None where the values of a row do not lie side by side, or rows overlap or run backwards: then the twin reads them.
    """
    item, width = array.itemsize, array.shape[1]
    if not array.dtype.isnative or not array.flags.aligned:
        return None
    if array.flags.c_contiguous:
        return _address(array), width * item
    if array.strides[1] != item or array.strides[0] < width * item:
        return None
    return _address(array), array.strides[0]


def shared_at(array: Any, kept: list[NDArray[Any]]) -> int:
    """The address of a small array that all rows share, or 0 for None; a copy that had to be made goes to `kept`."""
    if array is None:
        return 0
    whole = np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])
    if whole is not array:
        kept.append(whole)
    return _address(whole)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
