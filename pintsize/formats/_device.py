"""Rows, bags and scores of tables that hold torch tensors: by Triton kernels where they serve, else by the twin."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array
from pintsize.kernels import on_device

if TYPE_CHECKING:
    from pintsize.formats.base import CompressedTable

__all__ = ["fill_on_device", "pool_on_device", "scores_on_device"]

_TWIN_ROWS = 1 << 14
_BLOCK_VALUES = 1 << 22


def fill_on_device(table: CompressedTable, rows: Array, out: Array) -> None:
    """Writes the rows, already checked, into `out`; both lie where the table's tensors do."""
    kernels = on_device(table._device)
    if kernels is not None and table._gather_triton(kernels, rows, out):
        return
    for begin in range(0, out.shape[0], _TWIN_ROWS):
        out[begin : begin + _TWIN_ROWS] = table._gather(rows[begin : begin + _TWIN_ROWS])


def pool_on_device(
    table: CompressedTable, rows: Array, bounds: NDArray[np.int64], mean: bool, weights: Array | None, out: Array
) -> None:
    """Writes the bags ``rows[bounds[b]:bounds[b + 1]]`` into `out`.

    Without a kernel for bags, rows are decoded in blocks of whole bags and torch sums them: memory is bounded by
    `_BLOCK_VALUES` floats or the largest bag.
    """
    kernels = on_device(table._device)
    if kernels is not None and table._bag_triton(kernels, rows, bounds, mean, weights, out):
        return
    torch: Any = sys.modules["torch"]
    each = max(1, _BLOCK_VALUES // table.embedding_dim)
    first = 0
    while first < out.shape[0]:
        begin = int(bounds[first])
        last = max(first + 1, int(np.searchsorted(bounds, begin + each, side="right")) - 1)
        last = min(last, out.shape[0])
        end = int(bounds[last])
        if begin == end:
            out[first:last] = 0
        else:
            decoded = out.new_empty((end - begin, table.embedding_dim))
            fill_on_device(table, rows[begin:end], decoded)
            out[first:last] = torch.nn.functional.embedding_bag(
                torch.arange(end - begin, device=out.device),
                decoded,
                torch.as_tensor(bounds[first:last] - begin, device=out.device),
                mode="mean" if mean else "sum",
                per_sample_weights=None if weights is None else weights[begin:end],
            )
        first = last


def scores_on_device(table: CompressedTable, queries: Array, start: int, stop: int) -> Array:
    """(len(queries), stop - start) inner products, in blocks of rows."""
    torch: Any = sys.modules["torch"]
    out = queries.new_empty((queries.shape[0], stop - start))
    for begin in range(start, stop, _TWIN_ROWS):
        end = min(begin + _TWIN_ROWS, stop)
        block = out.new_empty((end - begin, table.embedding_dim))
        fill_on_device(table, torch.arange(begin, end, device=out.device), block)
        out[:, begin - start : end - start] = queries @ block.T
    return out
