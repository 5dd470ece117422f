"""Spectral embeddings of an interaction matrix: good vectors in seconds, without training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import require

__all__ = ["spectral_embedding"]

Floats = NDArray[np.float32]


def _thin_basis(matrix: Floats) -> Floats:
    return np.linalg.qr(matrix)[0].astype(np.float32, copy=False)


def spectral_embedding(
    train: Any, columns: int, *, oversampling: int = 32, iterations: int = 4, power: float = 1.0, seed: int = 0
) -> tuple[Floats, Floats]:
    """User and item vectors from the leading singular vectors of the normalised interaction matrix.

    With A the matrix divided by the roots of its row and column sums and V its leading right singular vectors
    (randomised subspace iteration, Halko et al. 2011): users are ``A V s**(power - 1)`` with s the singular values,
    items ``V * degree**(1/4)``.

    Args:
        train: (users, items) scipy sparse matrix of interactions.
        columns: Width of the vectors, at most the smaller side of `train`.
        oversampling: Extra columns while iterating.
        iterations: Of the subspace. Ranking quality depends on it: report it with any figure.
        power: Of the singular values in the products. Above 1, what many users share counts for more; wide embeddings
            rank better so.
        seed: Of the random start.

    Returns:
        Users (users, columns) and items (items, columns), float32.

    Raises:
        MissingExtra: scipy is not installed.
    """
    sparse = require("scipy.sparse", "lab")
    counts = sparse.csr_matrix(train, dtype=np.float32)
    user_degree = np.maximum(np.asarray(counts.sum(1)).ravel(), 1).astype(np.float32)
    item_degree = np.maximum(np.asarray(counts.sum(0)).ravel(), 1).astype(np.float32)
    normalised = (sparse.diags(user_degree**-0.5) @ counts @ sparse.diags(item_degree**-0.5)).tocsr()
    normalised = normalised.astype(np.float32)
    flipped = normalised.T.tocsr()

    width = min(columns + oversampling, *counts.shape)
    start = np.random.default_rng(seed).standard_normal((counts.shape[1], width)).astype(np.float32)
    basis = _thin_basis(start)
    for _ in range(iterations):
        basis = _thin_basis(flipped @ (normalised @ basis))
    image = normalised @ basis
    squares, vectors = np.linalg.eigh((image.T @ image).astype(np.float64))
    leading = basis @ vectors[:, ::-1][:, :columns].astype(np.float32)
    users = normalised @ leading
    if power != 1:
        users = users * (np.maximum(squares[::-1][:columns], 0) ** ((power - 1) / 2)).astype(np.float32)
    return users, leading * (item_degree**0.25)[:, None]
