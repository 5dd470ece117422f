"""The middle matrix of `paired`: what stands between the codes of the two sides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pintsize.methods._paired_kernels import Floats, Lists, pair_pull
from pintsize.methods._paired_lists import chunks
from pintsize.methods._paired_start import Pair

__all__ = ["fit_middle"]


def fit_middle(
    pair: Pair,
    left_values: Callable[[slice], Floats],
    right_values: Floats,
    *,
    lists: Lists,
    alpha: float,
    middle: Floats,
    steps: int,
) -> Floats:
    """Lower the objective of `paired` over the middle matrix, codes and scales standing still.

    Conjugate gradients on the normal equations ``Gl M Gr + alpha * (listed pairs) = Xl.T L.T R Xr``, preconditioned by
    the diagonals of the two Gram matrices. The k^2 x k^2 system is never formed: a step costs one pass over the lists.

    Args:
        pair: The tables, n and m rows.
        left_values: Gives the (len, k) float32 decoded left rows of a slice.
        right_values: (m, k) float32, decoded.
        lists: Of the n left rows.
        alpha: Weight of a listed pair.
        middle: (k, k) float32 to start from.
        steps: How many conjugate gradient steps.

    Returns:
        (k, k) float32, rounded to float16: later steps then see the matrix that will be stored.
    """
    num_left, columns = len(pair.source), right_values.shape[1]
    gram_left = np.zeros((columns, columns))
    cross = np.zeros((columns, pair.right.shape[1]))
    for part in chunks(num_left):
        values = left_values(part)
        gram_left += values.T @ values
        cross += values.T @ pair.left(part)
    gram_right = (right_values.T @ right_values).astype(np.float64)
    no_targets = Lists(lists.indptr, lists.ids, np.zeros_like(lists.targets), lists.weights)

    def apply(matrix: np.ndarray, pairs: Lists) -> np.ndarray:
        out: np.ndarray = gram_left @ matrix @ gram_right
        small = matrix.astype(np.float32)
        for part in chunks(num_left):
            values = left_values(part)
            out += values.T @ pair_pull(values @ small, right_values, pairs.rows(part), alpha)
        return out

    scale = np.outer(np.diag(gram_left), np.diag(gram_right))
    inverse = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    now = middle.astype(np.float64)
    residual = cross @ (pair.right.T @ right_values) - apply(now, lists)
    direction = inverse * residual
    power = np.sum(residual * direction)
    for _ in range(steps):
        image = apply(direction, no_targets)
        bend = np.sum(direction * image)
        if not power > 0 or not bend > 0:
            break
        now = now + power / bend * direction
        residual = residual - power / bend * image
        ahead = inverse * residual
        last, power = power, np.sum(residual * ahead)
        direction = ahead + power / last * direction
    rounded: Floats = now.astype(np.float16).astype(np.float32)
    return rounded
