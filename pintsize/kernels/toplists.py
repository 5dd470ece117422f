"""The best rows of a table for each of many queries, without ever holding all scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.kernels import address, native

__all__ = ["merge_top", "merge_top_twin", "top_lists"]

Floats = NDArray[np.float32]
Scorer = Callable[[slice, slice], Floats]

# A block of scores this large still fits the last-level cache between the product that writes it and the scan.
_QUERY_BLOCK = 512
_ROW_BLOCK = 8192


def merge_top_twin(scores: Floats, first: int, best: Floats, ids: NDArray[np.int64]) -> None:
    """`merge_top` in plain NumPy, with the same result."""
    k = best.shape[1]
    block_ids = np.arange(first, first + scores.shape[1])
    offered = np.where(np.isnan(scores), -np.inf, scores)
    all_scores = np.concatenate([best, offered], axis=1)
    all_ids = np.concatenate([ids, np.broadcast_to(block_ids, offered.shape)], axis=1)
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
    best[:] = np.take_along_axis(all_scores, order, 1)
    ids[:] = np.where(np.isneginf(best), -1, np.take_along_axis(all_ids, order, 1))


def merge_top(scores: Floats, first: int, best: Floats, ids: NDArray[np.int64]) -> None:
    """Merge a block of scores into the best lists so far, in place.

    Args:
        scores: (q, m) float32, C-contiguous: of the rows ``first .. first + m - 1``.
        first: Row that the first column of `scores` stands for; blocks come in ascending order.
        best: (q, k) float32, best first; an empty place is ``-inf``.
        ids: (q, k) int64: the rows; an empty place is -1.

    Equal scores keep the lower row. ``-inf`` and NaN are never taken.
    """
    kernels = native()
    if kernels is None:
        merge_top_twin(scores, first, best, ids)
        return
    queries, columns = scores.shape
    if columns and best.shape[1]:
        kernels.topk_merge(
            address(scores), queries, columns, columns, first, best.shape[1], address(best), address(ids)
        )


def _hide(scores: Floats, queries: slice, rows: slice, exclude: tuple[NDArray[Any], NDArray[Any]]) -> None:
    indptr, indices = exclude
    bounds = indptr[queries.start : queries.stop + 1]
    hidden = indices[bounds[0] : bounds[-1]]
    owner = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    inside = (hidden >= rows.start) & (hidden < rows.stop)
    scores[owner[inside], hidden[inside] - rows.start] = -np.inf


def top_lists(
    scorer: Scorer,
    num_queries: int,
    num_rows: int,
    k: int,
    *,
    exclude: tuple[NDArray[Any], NDArray[Any]] | None = None,
    row_block: int = _ROW_BLOCK,
) -> tuple[Floats, NDArray[np.int64]]:
    """The `k` rows of highest score for each query.

    Args:
        scorer: ``scorer(queries, rows)`` gives the (len(queries), len(rows)) float32 scores of two slices. What it
            returns may be written to.
        num_queries: How many queries there are.
        num_rows: How many rows there are.
        k: Length of each list.
        exclude: ``(indptr, indices)``: rows that query q must not get are ``indices[indptr[q]:indptr[q + 1]]``.
        row_block: How many rows are scored at a time.

    Returns:
        Scores (num_queries, k) float32, best first, and rows (num_queries, k) int64. Equal scores go to the lower
        row. Where fewer than `k` rows can be had, the rest is ``-inf`` and -1.
    """
    best = np.full((num_queries, k), -np.inf, np.float32)
    ids = np.full((num_queries, k), -1, np.int64)
    for start in range(0, num_queries, _QUERY_BLOCK):
        queries = slice(start, min(start + _QUERY_BLOCK, num_queries))
        for first in range(0, num_rows, row_block):
            rows = slice(first, min(first + row_block, num_rows))
            scores = np.ascontiguousarray(scorer(queries, rows), np.float32)
            if exclude is not None:
                _hide(scores, queries, rows, exclude)
            merge_top(scores, first, best[queries], ids[queries])
    return best, ids
