"""Bags of tables that have a kernel, or none, for rows: rows are decoded in blocks, and a kernel sums them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pintsize.kernels import address, native

__all__ = ["bags_of_decoded"]

_BLOCK_VALUES = 1 << 21


def bags_of_decoded(
    fill: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    mean: bool,
    weights: NDArray[np.float32] | None,
    out: NDArray[np.float32],
) -> bool:
    """Writes the bags of rows that `fill(rows, out)` decodes; False where kernels are not in use.

    Whole bags are taken together, so that memory is bounded by `_BLOCK_VALUES` floats or the largest bag.
    """
    kernels = native()
    if kernels is None:
        return False
    columns = out.shape[1]
    ends = np.append(starts[1:], len(rows))
    first = 0
    while first < len(starts):
        begin = int(starts[first])
        last = max(first + 1, int(np.searchsorted(ends, begin + _BLOCK_VALUES // columns, side="right")))
        end = int(ends[last - 1])
        decoded = np.empty((end - begin, columns), np.float32)
        fill(rows[begin:end], decoded)
        own = starts[first:last] - begin
        factors = 0 if weights is None else address(weights[begin:end])
        layout = (address(decoded), 4 * columns, columns, 0)
        kernels.dense_bag(layout, 0, end - begin, address(own), last - first, mean, factors, address(out[first:last]))
        first = last
    return True
