"""Exact top-k over any format: scores block by block, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, to_numpy
from pintsize.errors import TableError
from pintsize.formats._inputs import checked_rows

if TYPE_CHECKING:
    from pintsize.formats.base import CompressedTable

__all__ = ["exact_topk"]

_BLOCK_ROWS = 1 << 14
_BLOCK_QUERIES = 256
_MOST_HIDDEN = 512
_RESCORED = 1 << 22

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
Csr = tuple[NDArray[np.int64], NDArray[np.int64]]


def exact_topk(
    table: CompressedTable,
    queries: Array,
    k: int,
    exclude: Sequence[Array] | tuple[Array, Array] | None,
    min_recall: float,
) -> Found:
    """See `CompressedTable.topk`; `queries` are checked, results are NumPy arrays."""
    if not isinstance(k, (int, np.integer)) or not 1 <= k <= table.num_embeddings:
        raise TableError(f"k is 1 to the number of rows, {table.num_embeddings}; found {k!r}")
    if not 0 < min_recall <= 1:
        raise TableError(f"min_recall lies in (0, 1]; found {min_recall!r}")
    indptr, seen = _excluded(exclude, len(queries), table.num_embeddings)
    widest = int(np.diff(indptr).max(initial=0))
    if widest <= _MOST_HIDDEN:
        candidates = table._candidates(queries, min(k + widest, table.num_embeddings))
        if candidates is not None:
            if widest:
                candidates = [
                    np.setdiff1d(found, seen[indptr[q] : indptr[q + 1]]) for q, found in enumerate(candidates)
                ]
            return _rescored(table, queries, candidates, k)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    for first in range(0, len(queries), _BLOCK_QUERIES):
        last = min(first + _BLOCK_QUERIES, len(queries))
        owner = np.repeat(np.arange(last - first), np.diff(indptr[first : last + 1]))
        hidden = seen[indptr[first] : indptr[last]]
        best: Found = scores[first:last], found[first:last]
        for start in range(0, table.num_embeddings, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, table.num_embeddings)
            block = to_numpy(table._scores(queries[first:last], start, stop))
            mine = (hidden >= start) & (hidden < stop)
            block[owner[mine], hidden[mine] - start] = -np.inf
            best = _merge(best, block, start, k)
        scores[first:last], found[first:last] = best
    found[np.isneginf(scores)] = -1
    return scores, found


def _rescored(
    table: CompressedTable, queries: NDArray[np.float32], candidates: list[NDArray[np.int64]], k: int
) -> Found:
    """The k best of each query's candidates, which stand in row order."""
    scores, found = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    each = max(1, _RESCORED // (table.embedding_dim * max(k, *(len(c) for c in candidates))))
    for first in range(0, len(queries), each):
        mine = candidates[first : first + each]
        width = max(k, *(len(c) for c in mine))
        rows = np.zeros((len(mine), width), np.int64)
        filled = np.arange(width)[None, :] < np.array([len(c) for c in mine])[:, None]
        rows[filled] = np.concatenate(mine)
        values = np.matmul(table.lookup(rows), queries[first : first + each, :, None])[:, :, 0]
        values[~filled] = -np.inf
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        scores[first : first + each] = np.take_along_axis(values, order, 1)
        found[first : first + each] = np.take_along_axis(rows, order, 1)
    found[np.isneginf(scores)] = -1
    return scores, found


def _merge(best: Found, block: NDArray[np.float32], start: int, k: int) -> Found:
    """The k best of what was found and of a block of scores; equal scores in row order."""
    scores = np.concatenate([best[0], block], axis=1)
    places = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
    rows = np.concatenate([best[1], places], axis=1)
    if scores.shape[1] > 4 * k:
        bound = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        width = int((scores >= bound).sum(axis=1).max())
        # A stable sort on "reaches the bound" keeps, in row order, all that can be among the k best.
        keep = np.argsort(scores < bound, axis=1, kind="stable")[:, :width]
        scores, rows = np.take_along_axis(scores, keep, 1), np.take_along_axis(rows, keep, 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _excluded(exclude: Sequence[Array] | tuple[Array, Array] | None, queries: int, limit: int) -> Csr:
    """CSR of the rows hidden from each query."""
    if exclude is None:
        return np.zeros(queries + 1, np.int64), np.empty(0, np.int64)
    if isinstance(exclude, tuple):
        if len(exclude) != 2:
            raise TableError("exclude is a sequence of row arrays, one a query, or the pair (indptr, rows)")
        indptr = to_numpy(exclude[0]).astype(np.int64)
        seen, shape = checked_rows(exclude[1], limit, None)
        rising = indptr.shape == (queries + 1,) and indptr[0] == 0 and indptr[-1] == shape[0]
        if not rising or (np.diff(indptr) < 0).any():
            raise TableError(f"exclude: indptr has {queries + 1} entries that rise from 0 to the {shape[0]} rows")
        return indptr, seen
    if len(exclude) != queries:
        raise TableError(f"exclude has {len(exclude)} entries for {queries} queries")
    each = [checked_rows(np.asarray(to_numpy(rows)).reshape(-1), limit, None)[0] for rows in exclude]
    indptr = np.concatenate([[0], np.cumsum([len(rows) for rows in each])]).astype(np.int64)
    return indptr, np.concatenate([*each, np.empty(0, np.int64)])
