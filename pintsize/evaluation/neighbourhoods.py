"""Whether the nearest rows are still the nearest after compression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError, require
from pintsize.formats.base import CompressedTable
from pintsize.table import EmbeddingTable, chunk_rows

__all__ = ["Metric", "Overlap", "nearest", "neighbour_overlap", "trustworthiness"]

Floats = NDArray[np.float32]
Metric = Literal["cosine", "inner"]

_BLOCK = 1 << 14


@dataclass(frozen=True)
class Overlap:
    """How many of each row's nearest rows are still among its nearest.

    Attributes:
        mean: Mean share of the k nearest that compression kept, 0 to 1.
        standard_error: Of that mean, over the queries.
        k: How many nearest rows were compared.
        num_queries: Rows whose neighbours were compared, drawn without replacement.
        metric: ``"cosine"`` or ``"inner"`` (inner product).
    """

    mean: float
    standard_error: float | None
    k: int
    num_queries: int
    metric: Metric


def neighbour_overlap(
    table: EmbeddingTable,
    compressed: CompressedTable,
    *,
    k: int = 20,
    queries: int = 1000,
    metric: Metric = "cosine",
    seed: int = 0,
) -> Overlap:
    """Compares the k nearest of a sample of rows, among all rows, before and after.

    Args:
        table: (num_embeddings, d) rows as they were.
        compressed: As many rows as they are served; their width may differ.
        k: How many neighbours, at least 1; no more than there are other rows are compared.
        queries: How many rows are asked for their neighbours.
        metric: What "near" means: the largest cosine or the largest inner product. A row is not its own neighbour.
        seed: Which rows are asked.

    Raises:
        TableError: Numbers of rows that differ, fewer than two rows, or a number or metric out of range.
    """
    n = table.num_embeddings
    if n != compressed.num_embeddings:
        raise TableError(f"{n} rows before and {compressed.num_embeddings} after; they must be the same rows")
    if n < 2 or k < 1 or queries < 1:
        raise TableError(
            f"neighbours need two rows, k and queries at least 1; found {n} rows, k {k}, queries {queries}"
        )
    if metric not in ("cosine", "inner"):
        raise TableError(f"metric is 'cosine' or 'inner'; found {metric!r}")
    k = min(k, n - 1)
    asked = np.sort(np.random.default_rng(seed).choice(n, min(queries, n), replace=False)).astype(np.int64)
    before = nearest(table.chunks(_block(table.embedding_dim)), table.take(asked), asked, k, metric)
    after = nearest(_served(compressed), compressed.lookup(asked), asked, k, metric)
    shares = (before[:, :, None] == after[:, None, :]).any(axis=2).mean(axis=1)
    error = float(shares.std(ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else None
    return Overlap(float(shares.mean()), error, k, len(asked), metric)


def nearest(
    chunks: Iterator[tuple[int, Floats]], queries: Floats, own: NDArray[np.int64], k: int, metric: Metric
) -> NDArray[np.int64]:
    """The k nearest rows of each query, without itself, over a stream of rows.

    Args:
        chunks: (start, rows) in order.
        queries: (num_queries, d) float32.
        own: (num_queries,) the row that each query is.
        k: At most the number of other rows.
        metric: ``"cosine"`` or ``"inner"``.

    Returns:
        (num_queries, k) int64, nearest first.
    """
    queries = _prepared(queries, metric)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    for start, rows in chunks:
        block = queries @ _prepared(rows, metric).T
        mine = np.flatnonzero((own >= start) & (own < start + len(rows)))
        block[mine, own[mine] - start] = -np.inf
        places = np.broadcast_to(np.arange(start, start + len(rows)), block.shape)
        if len(rows) > k:
            best = np.argpartition(-block, k - 1, axis=1)[:, :k]
            block, places = np.take_along_axis(block, best, 1), np.take_along_axis(places, best, 1)
        scores, found = np.concatenate([scores, block], axis=1), np.concatenate([found, places], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, found = np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)
    return found


def trustworthiness(before: NDArray[Any], after: NDArray[Any], *, k: int = 15, metric: str = "cosine") -> float:
    """Whether rows that are near each other after were near before (Venna and Kaski 2001), 0 to 1.

    Args:
        before: (n, d) rows.
        after: (n, m) the same rows, reduced or compressed; nearness there is Euclidean.
        k: How many neighbours; must be below n / 2.
        metric: What "near" means for `before`.

    Raises:
        TableError: Numbers of rows that differ, or too few rows for k.
        MissingExtra: scikit-learn is not installed.
    """
    if len(before) != len(after) or not 1 <= k < len(before) / 2:
        raise TableError(f"{k} neighbours need more than {2 * k} rows, as many before as after; found {len(before)}")
    manifold = require("sklearn.manifold", "report")
    return float(manifold.trustworthiness(before, after, n_neighbors=k, metric=metric))


def _block(width: int) -> int:
    return min(_BLOCK, chunk_rows(width))


def _served(compressed: CompressedTable) -> Iterator[tuple[int, Floats]]:
    size = _block(compressed.embedding_dim)
    for start in range(0, compressed.num_embeddings, size):
        yield start, compressed.lookup(np.arange(start, min(start + size, compressed.num_embeddings)))


def _prepared(rows: Floats, metric: Metric) -> Floats:
    if metric == "inner":
        return rows
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)
