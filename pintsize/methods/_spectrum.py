"""Leading directions and singular values of tables that are read in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import MethodError
from pintsize.formats.dense import DenseTable
from pintsize.formats.factored import FactoredTable
from pintsize.table import EmbeddingTable

__all__ = [
    "Chunks",
    "coefficients",
    "directions_of_gram",
    "factored",
    "gram",
    "leading_directions",
    "row_chunks",
    "whole_spectrum",
]

Doubles: TypeAlias = NDArray[np.float64]
Chunks: TypeAlias = Callable[[], Iterable[NDArray[np.float32]]]
"""Starts a pass over (rows, columns) float32 blocks."""

GRAM_COLUMNS = 2048
_WHOLE_SPECTRUM = 8192
_PASSES = 24
_SETTLED = 1e-4


def row_chunks(table: EmbeddingTable, weights: Doubles | None = None) -> Chunks:
    """Passes over the rows of a table, each multiplied by the square root of its weight."""

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start, rows in table.chunks():
            if weights is None:
                yield rows
            else:
                yield rows * np.sqrt(weights[start : start + len(rows), None]).astype(np.float32)

    return blocks


def gram(chunks: Chunks, columns: int) -> Doubles:
    """The (columns, columns) sum of x xᵀ over all rows x, in one pass and in float64."""
    total = np.zeros((columns, columns))
    for rows in chunks():
        wide = rows.astype(np.float64)
        total += wide.T @ wide
    return total


def directions_of_gram(matrix: Doubles) -> tuple[Doubles, Doubles]:
    """Singular values, falling, and the (columns, columns) right singular vectors that belong to a Gram matrix.

    The largest entry of each vector is positive, so that signs do not hang on the linear algebra library.
    """
    energies, vectors = np.linalg.eigh(matrix)
    vectors = vectors[:, ::-1]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return np.sqrt(np.maximum(energies[::-1], 0)), vectors * np.where(largest < 0, -1.0, 1.0)


def leading_directions(chunks: Chunks, rows: int, columns: int, rank: int, seed: int) -> Doubles:
    """The (columns, rank) leading right singular vectors.

    Exact, from one pass, up to 2048 columns. For wider rows by randomised block power iteration (Halko, Martinsson &
    Tropp 2011, arXiv:0909.4061), until a pass gains less than 1e-4 of the error that is left.
    """
    if columns <= GRAM_COLUMNS:
        return directions_of_gram(gram(chunks, columns))[1][:, :rank]
    width = min(rank + max(16, rank // 4), rows, columns)
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((columns, width)))[0]
    vectors, before = basis, -np.inf
    for _ in range(_PASSES):
        power, inner, total = np.zeros((columns, width)), np.zeros((width, width)), 0.0
        for block in chunks():
            wide = block.astype(np.float64)
            image = wide @ basis
            power += wide.T @ image
            inner += image.T @ image
            total += float((wide * wide).sum())
        energies, turn = np.linalg.eigh(inner)
        captured = float(energies[::-1][:rank].sum())
        vectors = basis @ turn[:, ::-1]
        if captured - before <= _SETTLED * max(total - captured, 1e-12 * total):
            break
        before = captured
        basis = np.linalg.qr(power)[0]
    return np.ascontiguousarray(vectors[:, :rank])


def whole_spectrum(table: EmbeddingTable) -> tuple[Doubles, Doubles]:
    """All min(n, d) singular values, falling, and the (d, min(n, d)) right singular vectors.

    Raises:
        MethodError: The table has more than 8192 rows and more than 8192 columns.
    """
    n, d = table.num_embeddings, table.embedding_dim
    if d <= _WHOLE_SPECTRUM:
        values, vectors = directions_of_gram(gram(row_chunks(table), d))
        return values[: min(n, d)], vectors[:, : min(n, d)]
    if n > _WHOLE_SPECTRUM:
        raise MethodError(
            f"all singular values of {n} x {d} are out of reach: at most {_WHOLE_SPECTRUM} rows or columns; use svd"
        )
    _, values, transposed = np.linalg.svd(table.array().astype(np.float64), full_matrices=False)
    return values, transposed.T


def coefficients(rows: NDArray[np.float32], onto: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d) rows times `onto` (d, r), as float32.

    Raises:
        MethodError: A coefficient does not fit float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values: NDArray[np.float32] = rows @ onto
    if not np.isfinite(values).all():
        raise MethodError("the coefficients of these rows do not fit float32: scale the table down first")
    return values


def factored(values: NDArray[np.float32], basis: NDArray[np.float32]) -> FactoredTable:
    """(n, r) coefficients of an (r, d) basis, both as float32."""
    return FactoredTable(values=DenseTable(values), basis=DenseTable(basis))
