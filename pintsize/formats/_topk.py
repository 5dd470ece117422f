"""Exact top-k over any format: by a format's own search, or scores block by block and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, to_numpy
from pintsize.errors import TableError
from pintsize.formats._inputs import checked_rows
from pintsize.kernels.toplists import merge_top

if TYPE_CHECKING:
    from pintsize.formats.base import CompressedTable

__all__ = ["Filter", "Found", "exact_topk", "filter_of"]

_BLOCK_ROWS = 1 << 13
_BLOCK_QUERIES = 512
_FEW = 16

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Filter:
    """Rows that a search may not return.

    Args:
        starts: (num_queries + 1,) int64: where the rows hidden from each query begin in `hidden`.
        hidden: int64, rising within a query.
        allowed: (num_embeddings,) bool: rows that any query may get; None: all.
    """

    starts: NDArray[np.int64]
    hidden: NDArray[np.int64]
    allowed: NDArray[np.bool_] | None

    @property
    def widest(self) -> int:
        """The most rows hidden from one query."""
        return int(np.diff(self.starts).max(initial=0))


def exact_topk(
    table: CompressedTable,
    queries: Array,
    k: int,
    exclude: Sequence[Array] | tuple[Array, Array] | None = None,
    within: Array | None = None,
    min_recall: float = 1.0,
) -> Found:
    """See `CompressedTable.topk`; `queries` are checked, results are NumPy arrays."""
    n = table.num_embeddings
    if not 0 < min_recall <= 1:
        raise TableError(f"min_recall lies in (0, 1]; found {min_recall!r}")
    if not isinstance(k, (int, np.integer)) or not 1 <= k <= n:
        raise TableError(f"k is 1 to the number of rows, {n}; found {k!r}")
    wanted = filter_of(exclude, within, len(queries), n)
    if wanted.allowed is not None:
        few = np.flatnonzero(wanted.allowed)
        if len(few) <= n // _FEW:
            return _of_few(table, queries, int(k), wanted, few)
    found = table._search(queries, int(k), wanted)
    if found is None and min_recall < 1:
        found = _nearly(table, queries, int(k), wanted)
    return _by_blocks(table, queries, int(k), wanted) if found is None else found


def _nearly(table: CompressedTable, queries: Array, k: int, wanted: Filter) -> Found | None:
    """By a cheaper scan, and by all scores for the queries of which that is not sure enough."""
    search = getattr(table, "_nearly", None)
    found = None if search is None else search(queries, k, wanted)
    if found is None:
        return None
    (scores, rows), unsure = found
    if unsure.any():
        each = [wanted.hidden[wanted.starts[q] : wanted.starts[q + 1]] for q in np.flatnonzero(unsure)]
        starts = np.concatenate([[0], np.cumsum([len(hidden) for hidden in each])]).astype(np.int64)
        own = Filter(starts, np.concatenate(each), wanted.allowed)
        scores[unsure], rows[unsure] = _by_blocks(table, queries[unsure], k, own)
    return scores, rows


def _by_blocks(table: CompressedTable, queries: Array, k: int, wanted: Filter) -> Found:
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    for first in range(0, len(queries), _BLOCK_QUERIES):
        last = min(first + _BLOCK_QUERIES, len(queries))
        owner = np.repeat(np.arange(last - first), np.diff(wanted.starts[first : last + 1]))
        hidden = wanted.hidden[wanted.starts[first] : wanted.starts[last]]
        for start in range(0, table.num_embeddings, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, table.num_embeddings)
            block = np.ascontiguousarray(to_numpy(table._scores(queries[first:last], start, stop)))
            if wanted.allowed is not None:
                block[:, ~wanted.allowed[start:stop]] = -np.inf
            mine = (hidden >= start) & (hidden < stop)
            block[owner[mine], hidden[mine] - start] = -np.inf
            merge_top(block, start, scores[first:last], found[first:last])
    return scores, found


def _of_few(table: CompressedTable, queries: Array, k: int, wanted: Filter, few: NDArray[np.int64]) -> Found:
    """The k best among these rows, in rising order: the only ones that are read."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    asked = to_numpy(queries)
    owner = np.repeat(np.arange(len(queries)), np.diff(wanted.starts))
    for start in range(0, len(few), _BLOCK_ROWS):
        rows = few[start : start + _BLOCK_ROWS]
        block = asked @ to_numpy(table.lookup(rows)).T
        place = np.minimum(np.searchsorted(rows, wanted.hidden), len(rows) - 1)
        mine = rows[place] == wanted.hidden
        block[owner[mine], place[mine]] = -np.inf
        merge_top(np.ascontiguousarray(block), start, scores, found)
    return scores, np.where(found < 0, -1, few[found]) if len(few) else found


def filter_of(
    exclude: Sequence[Array] | tuple[Array, Array] | None, within: Array | None, queries: int, limit: int
) -> Filter:
    """The checked filter of a search over `limit` rows."""
    starts, hidden = _excluded(exclude, queries, limit)
    if hidden.size:
        owner = np.repeat(np.arange(queries), np.diff(starts))
        hidden = np.ascontiguousarray(hidden[np.lexsort((hidden, owner))])
    return Filter(np.ascontiguousarray(starts), hidden, None if within is None else _allowed(within, limit))


def _allowed(within: Array, limit: int) -> NDArray[np.bool_]:
    array = np.asarray(to_numpy(within))
    if array.dtype == np.bool_:
        if array.shape != (limit,):
            raise TableError(f"within: a mask has one entry a row, ({limit},); found {array.shape}")
        return np.ascontiguousarray(array)
    allowed = np.zeros(limit, np.bool_)
    allowed[checked_rows(array.reshape(-1), limit, None)[0]] = True
    return allowed


def _excluded(
    exclude: Sequence[Array] | tuple[Array, Array] | None, queries: int, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
