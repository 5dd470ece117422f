"""Scores of rows that were chosen for each query, and the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pintsize.formats._topk import Found
    from pintsize.formats.base import CompressedTable

__all__ = ["best_of", "scores_of"]

_RESCORED = 1 << 22


def best_of(table: CompressedTable, queries: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> Found:
    """The k best of each query's own rows, by their scores in this table.

    Args:
        table: Of NumPy arrays.
        queries: (num_queries, embedding_dim) float32.
        rows: (num_queries, width) int64, width at least k, no row twice in a line; -1 stands for none.
        k: How many.
    """
    values = scores_of(table, queries, np.ascontiguousarray(rows))
    # Equal scores come in row order.
    kept = np.argpartition(-values, k - 1, axis=1)[:, :k] if rows.shape[1] > 4 * k else None
    if kept is not None:
        bound = np.take_along_axis(values, kept, 1).min(axis=1, keepdims=True)
        if ((values >= bound).sum(axis=1) > k).any():
            kept = None
        else:
            values, rows = np.take_along_axis(values, kept, 1), np.take_along_axis(rows, kept, 1)
    order = np.lexsort((rows, -values), axis=1)[:, :k]
    scores, found = np.take_along_axis(values, order, 1), np.take_along_axis(rows, order, 1)
    found[np.isneginf(scores)] = -1
    return scores, found


def scores_of(table: CompressedTable, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores of (num_queries, width) rows, a line a query; -inf for a row of -1."""
    native = getattr(table, "_scores_of", None)
    found: NDArray[np.float32] | None = None if native is None else native(queries, rows)
    if found is not None:
        return found
    out = np.empty(rows.shape, np.float32)
    each = max(1, _RESCORED // max(1, table.embedding_dim * rows.shape[1]))
    for first in range(0, len(queries), each):
        mine = rows[first : first + each]
        decoded = table.lookup(np.maximum(mine, 0))
        np.matmul(decoded, queries[first : first + each, :, None], out=out[first : first + each, :, None])
    out[rows < 0] = -np.inf
    return out
