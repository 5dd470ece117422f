"""Which products `paired` minds most: for each row of the left table the best rows of the right one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pintsize.kernels.toplists import top_lists
from pintsize.methods._paired_kernels import Floats, Lists, pair_products

__all__ = ["best_rows", "listed", "union"]

# Rows of the left table handled at a time, so that what is computed on the way stays small.
CHUNK = 16384

Rows = Callable[[slice], Floats]


def chunks(count: int) -> list[slice]:
    """Consecutive slices of at most `CHUNK` that cover ``range(count)``."""
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def best_rows(left: Rows, num_left: int, right: Floats, k: int) -> NDArray[np.int32]:
    """The `k` rows of `right` with the highest product, for each row of `left`.

    Args:
        left: Gives the (len, d) float32 rows of a slice.
        num_left: Rows of the left table.
        right: (m, d) float32, ``k <= m``.
        k: Length of the lists.

    Returns:
        (num_left, k) int32.
    """
    columns = np.ascontiguousarray(right.T)
    out = np.empty((num_left, k), np.int32)
    for part in chunks(num_left):
        rows = left(part)
        out[part] = top_lists(lambda q, r, rows=rows: rows[q] @ columns[:, r], len(rows), len(right), k)[1]  # type: ignore[misc]
    return out


def union(
    indptr: NDArray[np.int64], ids: NDArray[np.int32], more: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Rows' lists with further entries, each entry once.

    Args:
        indptr: (n + 1) int64.
        ids: Lists in compressed-row form, distinct within a row.
        more: (n, k) int32 further entries, distinct within a row.

    Returns:
        ``(indptr, ids)``, ids ascending within each row.
    """
    lengths = np.empty(len(more), np.int64)
    pieces = []
    for part in chunks(len(more)):
        held = np.diff(indptr[part.start : part.stop + 1])
        count = len(held)
        owner = np.concatenate([np.repeat(np.arange(count), held), np.repeat(np.arange(count), more.shape[1])])
        entries = np.concatenate([ids[indptr[part.start] : indptr[part.start + count]], more[part].ravel()])
        both = np.unique(owner << 32 | entries)
        lengths[part] = np.bincount(both >> 32, minlength=count)
        pieces.append((both & 0xFFFFFFFF).astype(np.int32))
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return ends, np.concatenate(pieces) if pieces else np.empty(0, np.int32)


def listed(left: Rows, right: Floats, indptr: NDArray[np.int64], ids: NDArray[np.int32]) -> Lists:
    """Lists with the products of the original tables as their targets.

    Args:
        left: Gives the (len, d) float32 rows of a slice.
        right: (m, d) float32.
        indptr: (n + 1) int64.
        ids: (pairs) int32.
    """
    targets = np.empty(len(ids), np.float32)
    for part in chunks(len(indptr) - 1):
        bounds = indptr[part.start : part.stop + 1]
        inside = slice(int(bounds[0]), int(bounds[-1]))
        targets[inside] = pair_products(left(part), right, bounds - bounds[0], ids[inside])
    return Lists(indptr, ids, targets)
