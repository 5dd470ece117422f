"""Exact top-k over 8-bit rows in integer arithmetic: a scan that bounds its own error, then float scores of the rest.

Queries are rounded to a few bits. By Cauchy-Schwarz, the score of a row moves by at most |rounding errors| times the
norm of the row's centred codes times its scale, so that a row whose upper bound is below the k-th best lower bound is
out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pintsize import kernels

if TYPE_CHECKING:
    from pintsize.formats.scalar import ScalarTable

__all__ = ["byte_candidates"]

_MIN_ROWS_A_PART = 1 << 15
# Covers the float rounding of the exact scores as well, in units of |query| times |row|.
_ROUNDING = 1e-6


def byte_candidates(table: ScalarTable, queries: NDArray[np.float32], k: int) -> list[NDArray[np.int64]] | None:
    """For each query, rows in rising order among which are its k best; None where the scan does not apply.

    Args:
        table: 8-bit codes, one float16 scale a row; queries are already rotated.
        queries: (num_queries, columns) float32.
        k: How many are asked for, 1..num_embeddings.
    """
    native = kernels.native()
    records = table.records
    if native is None or table.levels != 256 or table.scale != "float16" or table.groups != 1:
        return None
    if not isinstance(records, np.ndarray) or not records.flags.c_contiguous or not len(queries):
        return None
    reach = native.scan_reach(255)
    padded = -(-table.columns // 8) * 8
    peak = np.abs(queries).max(axis=1)
    if not np.isfinite(peak).all():
        return None
    step = np.where(peak > 0, peak / reach, 1).astype(np.float32)
    codes = np.zeros((len(queries), padded), np.int8)
    codes[:, : table.columns] = np.rint(queries / step[:, None])
    left = queries.astype(np.float64) - step[:, None].astype(np.float64) * codes[:, : table.columns]
    sums = queries.sum(axis=1, dtype=np.float64).astype(np.float32)
    residue = left.sum(axis=1).astype(np.float32)
    norm = np.linalg.norm(queries.astype(np.float64), axis=1)
    error = (np.linalg.norm(left, axis=1) * (1 + 1e-6) + _ROUNDING * norm).astype(np.float32)

    n = table.num_embeddings
    parts = max(1, min(native.threads(), n // _MIN_ROWS_A_PART))
    capacity = max(512, 8 * k) + 64
    shape = (parts, len(queries), capacity)
    high, low, rows = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.int64)
    held = np.zeros((parts, len(queries)), np.int64)
    at = kernels.address
    fits = native.scan_bytes(
        at(records), records.shape[1], n, table.columns, table.code_bytes, table.offset, table.unit, table.bias,
        at(codes), len(queries), padded, at(step), at(sums), at(residue), at(error), k, capacity,
        at(high), at(low), at(rows), at(held), parts,
    )  # fmt: skip
    if not fits:
        return None
    return [_merged(high[:, q], low[:, q], rows[:, q], held[:, q], k) for q in range(len(queries))]


def _merged(
    high: NDArray[np.float32], low: NDArray[np.float32], rows: NDArray[np.int64], held: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    every = [np.concatenate([a[part, :count] for part, count in enumerate(held)]) for a in (high, low, rows)]
    if len(every[1]) > k:
        bound = np.partition(every[1], len(every[1]) - k)[len(every[1]) - k]
        return np.sort(every[2][every[0] >= bound])
    return np.sort(every[2])
