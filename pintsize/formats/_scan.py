"""Exact top-k over 8-bit rows by the compiled scan.

Integer products bound every score; the few rows whose bound reaches the list are scored in float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pintsize import kernels

if TYPE_CHECKING:
    from pintsize.formats._topk import Filter, Found
    from pintsize.formats.scalar import ScalarTable

__all__ = ["byte_scores", "scan_bytes"]

_MIN_ROWS_A_PART = 1 << 15
_FINITE = np.float32(1e30)


def _fields(table: ScalarTable) -> tuple[Any, ...] | None:
    """The rows as bind_scan.cpp takes them, without their number; None: not rows of that kind."""
    records = table.records
    if table.levels != 256 or table.scale != "float16" or table.groups != 1:
        return None
    if not isinstance(records, np.ndarray) or not records.flags.c_contiguous:
        return None
    at, width = kernels.address(records), records.shape[1]
    return at, width, table.columns, table.code_bytes, table.offset, table.unit, table.bias


def _ordinary(queries: NDArray[np.float32]) -> bool:
    return bool(np.abs(queries).max(initial=0) < _FINITE)


def scan_bytes(table: ScalarTable, queries: NDArray[np.float32], k: int, wanted: Filter) -> Found | None:
    """The k best rows of each query, or None where scores alone can tell.

    Args:
        table: Of 8-bit codes with one float16 scale a row.
        queries: (num_queries, columns) float32, rotated like the rows.
        k: How many are asked for, 1..num_embeddings.
        wanted: Rows that may not be returned.
    """
    native, fields = kernels.native(), _fields(table)
    if native is None or fields is None or not _ordinary(queries):
        return None
    n, count = table.num_embeddings, len(queries)
    parts = max(1, min(native.threads(), n // _MIN_ROWS_A_PART))
    scores, rows = np.empty((parts, count, k), np.float32), np.empty((parts, count, k), np.int64)
    at = kernels.address
    allowed = 0 if wanted.allowed is None else at(wanted.allowed)
    good = native.scan_bytes(
        *fields[:2], n, *fields[2:], at(queries), count, k, at(wanted.starts), at(wanted.hidden), allowed,
        at(scores), at(rows), parts,
    )  # fmt: skip
    return (scores[0], rows[0]) if good else None


def byte_scores(
    table: ScalarTable, queries: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """Scores of (num_queries, width) rows, a line a query, -inf for a row of -1; None where no kernel does it."""
    native, fields = kernels.native(), _fields(table)
    if native is None or fields is None:
        return None
    out = np.empty(rows.shape, np.float32)
    at = kernels.address
    native.scan_scores(*fields, at(queries), len(queries), at(rows), rows.shape[1], at(out))
    return out
