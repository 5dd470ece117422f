"""Small look-ups, where checking and wrapping cost more than the rows: the shortest way for what nearly all calls are.

Anything out of the ordinary, errors included, is left to the ordinary way, which looks closer.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array
from pintsize.kernels import address

if TYPE_CHECKING:
    from pintsize.formats.base import CompressedTable

__all__ = ["lookup_array", "lookup_tensor"]

# Beyond, results may be large enough to be recycled, and the way there no longer matters.
_MOST_VALUES = 1 << 16
_INT64 = np.dtype(np.int64)


def lookup_array(table: CompressedTable, rows: NDArray[Any]) -> NDArray[np.float32] | None:
    """The rows at these positions of a table in main memory, or None where this is not the way."""
    if rows.dtype != _INT64 or rows.ndim != 1 or not rows.flags.carray:
        return None
    columns = table.embedding_dim
    if rows.shape[0] * columns > _MOST_VALUES:
        return None
    out = np.empty((rows.shape[0], columns), np.float32)
    return out if table._lookup_small(address(rows), rows.shape[0], address(out)) else None


def lookup_tensor(table: CompressedTable, rows: Array) -> Array | None:
    """The same for a torch tensor, of a call that no graph wants."""
    torch = sys.modules.get("torch")
    if torch is None or type(rows) is not torch.Tensor:
        return None
    if rows.dtype is not torch.int64 or not rows.is_cpu or rows.dim() != 1 or not rows.is_contiguous():
        return None
    columns = table.embedding_dim
    if rows.shape[0] * columns > _MOST_VALUES:
        return None
    count = rows.shape[0]
    out = np.empty((count, columns), np.float32)  # with a tensor over it: sooner there than a tensor of torch's own
    return torch.from_numpy(out) if table._lookup_small(rows.data_ptr(), count, address(out)) else None
