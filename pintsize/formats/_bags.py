"""Bags of rows that are decoded in blocks: a kernel sums them, or plain code, the twin of all kernels for bags."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pintsize.kernels import address, native

__all__ = ["bags_by_plain_sums", "bags_of_decoded"]

_BLOCK_VALUES = 1 << 21
_TWIN_ROWS = 1 << 14


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


def bags_by_plain_sums(
    gather: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    mean: bool,
    weights: NDArray[np.float32] | None,
    out: NDArray[np.float32],
) -> None:
    """Writes the bags of rows that `gather` decodes, block by block."""
    ends = np.append(starts[1:], rows.shape[0])
    total = np.zeros((len(starts), out.shape[1]), np.float32)
    filled = ends > starts
    bag_of = np.repeat(np.arange(len(starts)), ends - starts)
    for begin in range(0, rows.shape[0], _TWIN_ROWS):
        values = gather(rows[begin : begin + _TWIN_ROWS])
        if weights is not None:
            values = values * weights[begin : begin + _TWIN_ROWS, None]
        bags = bag_of[begin : begin + _TWIN_ROWS]
        first = np.flatnonzero(np.append(True, bags[1:] != bags[:-1]))
        total[bags[first]] += np.add.reduceat(values, first, axis=0)
    if mean:
        total[filled] /= (ends - starts)[filled, None].astype(np.float32)
    out[...] = total
