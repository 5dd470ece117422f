"""The inner loops of `paired`: the native ones, and for each a twin in plain NumPy.

Lists are in compressed-row form: those of row r are the entries ``indptr[r]:indptr[r + 1]`` of the other arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pintsize.kernels import address, native

Floats = NDArray[np.float32]

__all__ = [
    "Lists",
    "descend",
    "descend_twin",
    "pair_products",
    "pair_products_twin",
    "pair_pull",
    "pair_pull_twin",
    "transpose_lists",
    "transpose_lists_twin",
]


@dataclass(frozen=True)
class Lists:
    """For each row of one table, the rows of the other that matter most, with the products they should have.

    Attributes:
        indptr: (rows + 1) int64.
        ids: (pairs) int32, rows of the other table.
        targets: (pairs) float32.
        weights: (pairs) float32, or None where every pair weighs the same.
    """

    indptr: NDArray[np.int64]
    ids: NDArray[np.int32]
    targets: Floats
    weights: Floats | None = None

    def rows(self, part: slice) -> Lists:
        """The lists of a slice of rows; shares memory."""
        bounds = self.indptr[part.start : part.stop + 1]
        inside = slice(int(bounds[0]), int(bounds[-1]))
        weights = None if self.weights is None else self.weights[inside]
        return Lists(bounds - bounds[0], self.ids[inside], self.targets[inside], weights)


def _weights(lists: Lists) -> int:
    return 0 if lists.weights is None else address(lists.weights)


def descend_twin(
    codes: NDArray[np.uint8],
    scales: Floats,
    levels: Floats,
    *,
    gram: Floats,
    aim: Floats,
    other: Floats,
    lists: Lists,
    alpha: float,
    sweeps: int,
    floor: float,
    fit_before: bool,
    fit_after: bool,
) -> int:
    """`descend` in plain NumPy: the same steps, sums in another order."""
    thresholds = (levels[1:] + levels[:-1]) / 2
    changes = 0
    for r in range(len(codes)):
        inside = slice(int(lists.indptr[r]), int(lists.indptr[r + 1]))
        weights = np.float32(1) if lists.weights is None else lists.weights[inside]
        root = np.sqrt(np.float32(alpha) * np.broadcast_to(weights, lists.ids[inside].shape))
        pairs = other[lists.ids[inside]] * root[:, None]
        wanted = lists.targets[inside] * root

        def best_scale(row: Floats, r: int = r, pairs: Floats = pairs, wanted: Floats = wanted) -> np.float32:
            met = pairs @ row
            below = row @ (gram @ row) + met @ met
            return np.float32(max((row @ aim[r] + met @ wanted) / below, floor) if below > 0 else floor)

        if fit_before:
            scales[r] = best_scale(levels[codes[r]])
        row = levels[codes[r]]
        product, met = gram @ row, pairs @ row
        goal = aim[r] + wanted @ pairs
        curvature = np.diag(gram) + np.einsum("kj,kj->j", pairs, pairs)
        curvature = np.where(curvature > 0, curvature, 1)
        for _ in range(sweeps):
            before = changes
            for j in range(len(row)):
                wish = row[j] - (product[j] + pairs[:, j] @ met - goal[j] / scales[r]) / curvature[j]
                code = np.searchsorted(thresholds, wish, side="left")
                if code == codes[r, j]:
                    continue
                step = levels[code] - row[j]
                codes[r, j], row[j] = code, levels[code]
                product += step * gram[j]
                met += step * pairs[:, j]
                changes += 1
            if changes == before:
                break
            if fit_after:
                scales[r] = best_scale(row)
    return changes


def descend(
    codes: NDArray[np.uint8],
    scales: Floats,
    levels: Floats,
    *,
    gram: Floats,
    aim: Floats,
    other: Floats,
    lists: Lists,
    alpha: float,
    sweeps: int,
    floor: float,
    fit_before: bool,
    fit_after: bool,
) -> int:
    """Coordinate descent of one side's codes and scales, in place, while the other side stands still.

    Row r stands for ``q = scales[r] * levels[codes[r]]`` and lowers
    ``q.gram.q - 2 aim[r].q + alpha * sum over its list of weight * (other[id].q - target)^2``: each code in turn to the
    level nearest to the minimum along its column.

    Args:
        codes: (n, k) uint8, changed in place.
        scales: (n) float32, changed in place where fitted.
        levels: (L) float32, ascending.
        gram: (k, k) float32, ``other.T @ other``.
        aim: (n, k) float32.
        other: (m, k) float32.
        lists: Of the n rows.
        alpha: Weight of a listed pair against any other.
        sweeps: At most so many passes over the columns; with 0 only scales are fitted.
        floor: Scales do not fall below.
        fit_before: Fit the scale in closed form before the sweeps.
        fit_after: The same after each sweep.

    Returns:
        How many codes changed.
    """
    kernels = native()
    if kernels is None:
        return descend_twin(
            codes, scales, levels, gram=gram, aim=aim, other=other, lists=lists,
            alpha=alpha, sweeps=sweeps, floor=floor, fit_before=fit_before, fit_after=fit_after,
        )  # fmt: skip
    product = levels[codes] @ gram
    changed = kernels.descend(
        address(codes), address(scales), address(levels), len(levels), address(gram), address(product),
        address(aim), address(other), *codes.shape, address(lists.indptr), address(lists.ids),
        address(lists.targets), _weights(lists), alpha, sweeps, floor, fit_before, fit_after,
    )  # fmt: skip
    return int(changed)


def pair_products_twin(left: Floats, right: Floats, indptr: NDArray[np.int64], ids: NDArray[np.int32]) -> Floats:
    """`pair_products` in plain NumPy."""
    owner = np.repeat(np.arange(len(left)), np.diff(indptr))
    products: Floats = np.einsum("pk,pk->p", left[owner], right[ids], dtype=np.float32)
    return products


def pair_products(left: Floats, right: Floats, indptr: NDArray[np.int64], ids: NDArray[np.int32]) -> Floats:
    """Inner products of listed pairs.

    Args:
        left: (n, k) float32, one list a row.
        right: (m, k) float32.
        indptr: (n + 1) int64.
        ids: (pairs) int32, rows of `right`.

    Returns:
        (pairs) float32.
    """
    kernels = native()
    if kernels is None:
        return pair_products_twin(left, right, indptr, ids)
    out = np.empty(len(ids), np.float32)
    kernels.pair_products(address(left), address(right), *left.shape, address(indptr), address(ids), address(out))
    return out


def pair_pull_twin(left: Floats, right: Floats, lists: Lists, alpha: float) -> Floats:
    """`pair_pull` in plain NumPy."""
    owner = np.repeat(np.arange(len(left)), np.diff(lists.indptr))
    residual = pair_products_twin(left, right, lists.indptr, lists.ids) - lists.targets
    if lists.weights is not None:
        residual = residual * lists.weights
    out = np.zeros_like(left)
    np.add.at(out, owner, np.float32(alpha) * residual[:, None] * right[lists.ids])
    return out


def pair_pull(left: Floats, right: Floats, lists: Lists, alpha: float) -> Floats:
    """Gradient of half the listed pairs' squared errors by the rows of `left`.

    Args:
        left: (n, k) float32.
        right: (m, k) float32.
        lists: Of the n rows.
        alpha: Multiplies every weight.

    Returns:
        (n, k) float32: ``alpha * sum of weight * (left_r.right_id - target) * right_id``.
    """
    kernels = native()
    if kernels is None:
        return pair_pull_twin(left, right, lists, alpha)
    out = np.empty_like(left)
    kernels.pair_pull(
        address(left), address(right), *left.shape, address(lists.indptr), address(lists.ids),
        address(lists.targets), _weights(lists), alpha, address(out),
    )  # fmt: skip
    return out


def transpose_lists_twin(lists: Lists, num_others: int, cap: int) -> Lists:
    """`transpose_lists` in plain NumPy."""
    totals = np.bincount(lists.ids, minlength=num_others)
    owner = np.repeat(np.arange(len(lists.indptr) - 1, dtype=np.int32), np.diff(lists.indptr))
    order = np.argsort(lists.ids, kind="stable")
    full = np.concatenate([[0], np.cumsum(totals)])
    nth = np.arange(len(order)) - full[lists.ids[order]]
    count = totals[lists.ids[order]]
    keep = order[(count <= cap) | ((nth + 1) * cap // np.maximum(count, 1) != nth * cap // np.maximum(count, 1))]
    kept = np.minimum(totals, cap)
    indptr = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    weights = np.repeat((totals / np.maximum(kept, 1)).astype(np.float32), kept)
    return Lists(indptr, owner[keep], lists.targets[keep], weights)


def transpose_lists(lists: Lists, num_others: int, cap: int) -> Lists:
    """The same pairs listed by the rows of the other table.

    A row in more than `cap` lists keeps `cap` of its pairs, evenly spaced, each weighing as much as those it stands
    for: memory stays bounded by the smaller table, and the sum it estimates stays the same on average.

    Args:
        lists: Without weights.
        num_others: Rows of the other table.
        cap: Most pairs of one row.

    Returns:
        Lists of the `num_others` rows, with weights.
    """
    kernels = native()
    if kernels is None:
        return transpose_lists_twin(lists, num_others, cap)
    totals = np.bincount(lists.ids, minlength=num_others)
    kept = np.minimum(totals, cap)
    indptr = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    ids = np.empty(int(indptr[-1]), np.int32)
    targets = np.empty(len(ids), np.float32)
    seen = np.zeros(num_others, np.int64)
    kernels.transpose_lists(
        address(lists.indptr), address(lists.ids), address(lists.targets), len(lists.indptr) - 1, cap,
        address(indptr), address(totals), address(seen), address(ids), address(targets),
    )  # fmt: skip
    weights = np.repeat((totals / np.maximum(kept, 1)).astype(np.float32), kept)
    return Lists(indptr, ids, targets, weights)
