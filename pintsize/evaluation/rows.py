"""How far the served rows are from the rows that were given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.table import EmbeddingTable

__all__ = ["RowErrors", "Spread", "row_errors"]

_QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}


@dataclass(frozen=True)
class Spread:
    """How a number is spread over rows.

    Attributes:
        mean: Over the rows where the number is defined.
        low: The smallest.
        p05: A twentieth of the rows lie below.
        p50: Half of the rows lie below.
        p95: Nineteen twentieths lie below.
        high: The largest.
    """

    mean: float
    low: float
    p05: float
    p50: float
    p95: float
    high: float


@dataclass(frozen=True)
class RowErrors:
    """What compression did to rows.

    Attributes:
        relative: Sum of ``||x - y||**2`` over all rows, divided by the sum of ``||x||**2``; None if all rows are zero.
        by_row: ``||x - y||**2 / ||x||**2`` row by row; None if all rows are zero.
        cosine: Cosine of x and y row by row; 0 where y is zero.
        num_rows: Rows compared.
        zero_rows: Rows of zeros among them, which `by_row` and `cosine` leave out.
    """

    relative: float | None
    by_row: Spread | None
    cosine: Spread | None
    num_rows: int
    zero_rows: int


def row_errors(table: EmbeddingTable, compressed: CompressedTable) -> RowErrors:
    """Compares every row x with the row y that is served for it, chunk by chunk.

    Args:
        table: (num_embeddings, embedding_dim) rows as they were.
        compressed: The same rows as they are served.

    Raises:
        TableError: Shapes differ (tables made by a pair method have other columns, and no error of rows).
    """
    given, served = _shape(table), _shape(compressed)
    if given != served:
        raise TableError(f"rows are compared one by one: {given} rows and columns are needed, found {served}")
    errors = np.zeros(given[0], np.float32)
    cosines = np.zeros(given[0], np.float32)
    norms = np.zeros(given[0], bool)
    lost = total = 0.0
    for start, rows in table.chunks():
        own = slice(start, start + len(rows))
        x = rows.astype(np.float64)
        y = compressed.lookup(np.arange(own.start, own.stop)).astype(np.float64)
        squared, apart = np.einsum("nd,nd->n", x, x), np.einsum("nd,nd->n", x - y, x - y)
        length = np.sqrt(squared * np.einsum("nd,nd->n", y, y))
        norms[own] = squared > 0
        errors[own] = apart / np.where(squared > 0, squared, 1)
        cosines[own] = np.einsum("nd,nd->n", x, y) / np.where(length > 0, length, 1)
        lost, total = lost + float(apart.sum()), total + float(squared.sum())
    return RowErrors(
        relative=lost / total if total > 0 else None,
        by_row=_spread(errors[norms]),
        cosine=_spread(cosines[norms]),
        num_rows=given[0],
        zero_rows=int((~norms).sum()),
    )


def _shape(table: EmbeddingTable | CompressedTable) -> tuple[int, int]:
    return table.num_embeddings, table.embedding_dim


def _spread(values: NDArray[np.float32]) -> Spread | None:
    if not len(values):
        return None
    marks = dict(zip(_QUANTILES, np.quantile(values, list(_QUANTILES.values())).tolist(), strict=True))
    return Spread(mean=float(values.mean(dtype=np.float64)), low=float(values.min()), high=float(values.max()), **marks)
