"""Fitting two tables of codes so that their products are those of the original tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pintsize.methods._paired_kernels import Floats, Lists, descend, transpose_lists
from pintsize.methods._paired_lists import best_rows, chunks, listed, union
from pintsize.methods._paired_middle import fit_middle
from pintsize.methods._paired_start import Pair, balanced_factors, measured, nearest_codes, rotation

__all__ = ["LEVELS", "PairedCodes", "fit_pair"]

LEVELS = {2: (-1.0, 1.0), 3: (-1.0, 0.0, 1.0), 4: (-1.5, -0.5, 0.5, 1.5)}
_SWEEPS = 2
_MIDDLE_STEPS = 8
_RELIST_EVERY = 2  # rounds: lists change slowly, and finding them costs more than a round
_LIST_CAP = 4096  # most listed pairs of one right row; more only repeat each other


@dataclass(frozen=True)
class PairedCodes:
    """Two tables of codes that meet in products.

    A left row is ``left_scales * levels[left_codes]``, a right row ``right_grid[right_scale_codes] *
    levels[right_codes]``; their product ``left @ middle @ right.T`` (no middle: the identity) stands for the product
    of the left row with the right row less the mean of all right rows.

    Attributes:
        left_codes: (n, k) uint8.
        right_codes: (m, k) uint8.
        levels: (L) float32.
        right_scale_codes: (m) uint8.
        right_grid: (num_scales) float32, ascending.
        left_scales: (n) float32, not negative; rankings need none of them.
        middle: (k, k) float16, or None.
    """

    left_codes: NDArray[np.uint8]
    right_codes: NDArray[np.uint8]
    levels: Floats
    right_scale_codes: NDArray[np.uint8]
    right_grid: Floats
    left_scales: Floats
    middle: NDArray[np.float16] | None

    def left_values(self) -> Floats:
        """(n, k) float32: left rows as they meet the right ones, scales included."""
        values = self.levels[self.left_codes] * self.left_scales[:, None]
        return values if self.middle is None else values @ self.middle.astype(np.float32)

    def right_values(self) -> Floats:
        """(m, k) float32."""
        return self.levels[self.right_codes] * self.right_grid[self.right_scale_codes, None]


class _Fit:
    """The state of one fit; every method improves one part of it while the others stand still."""

    def __init__(self, pair: Pair, levels: Floats, *, columns: int, alpha: float, num_scales: int, seed: int) -> None:
        self.pair, self.levels, self.alpha, self.num_scales = pair, levels, alpha, num_scales
        to_left, to_right = balanced_factors(pair)
        turn = rotation(columns, seed)[: to_left.shape[1]]
        # Fewer columns than the tables have keep the largest singular values; more spread them all.
        to_left, to_right = to_left[:, :columns] @ turn, to_right[:, :columns] @ turn
        self.left_codes = np.empty((len(pair.source), columns), np.uint8)
        self.left_scales = np.empty(len(pair.source), np.float32)
        for part in chunks(len(pair.source)):
            self.left_codes[part], self.left_scales[part] = nearest_codes(pair.left(part) @ to_left, levels)
        self.right_codes, self.right_scales = nearest_codes(pair.right @ to_right, levels)
        self.left_floor, self.right_floor = _floor(self.left_scales), _floor(self.right_scales)
        self.middle: Floats | None = None
        self.snap()

    def left_values(self, part: slice) -> Floats:
        return self.levels[self.left_codes[part]] * self.left_scales[part, None]

    def right_values(self) -> Floats:
        return self.levels[self.right_codes] * self.right_scales[:, None]

    def seen_from_left(self) -> Floats:
        """(m, k): what a left row's codes are multiplied with."""
        values = self.right_values()
        return values if self.middle is None else np.ascontiguousarray(values @ self.middle.T)

    def seen_from_right(self) -> Floats:
        """(n, k): what a right row's codes are multiplied with."""
        out = np.empty(self.left_codes.shape, np.float32)
        for part in chunks(len(out)):
            values = self.left_values(part)
            out[part] = values if self.middle is None else values @ self.middle
        return out

    def snap(self) -> None:
        """Right scales to the grid: num_scales of them, in equal ratios, over all but the outermost."""
        logs = np.log(np.maximum(self.right_scales, self.right_floor))
        low, high = np.quantile(logs, [0.002, 0.998])
        self.grid = np.exp(np.linspace(low, max(high, low + 1e-6), self.num_scales)).astype(np.float32)
        self.scale_codes = np.searchsorted((self.grid[1:] + self.grid[:-1]) / 2, self.right_scales).astype(np.uint8)
        self.right_scales = self.grid[self.scale_codes]

    def move_left(self, lists: Lists) -> int:
        other = self.seen_from_left()
        gram, cross = other.T @ other, self.pair.right.T @ other
        changes = 0
        for part in chunks(len(self.left_codes)):
            changes += descend(
                self.left_codes[part], self.left_scales[part], self.levels, gram=gram,
                aim=self.pair.left(part) @ cross, other=other, lists=lists.rows(part), alpha=self.alpha,
                sweeps=_SWEEPS, floor=self.left_floor, fit_before=True, fit_after=True,
            )  # fmt: skip
        return changes

    def move_right(self, lists: Lists) -> int:
        other = self.seen_from_right()
        cross = np.zeros((self.pair.right.shape[1], other.shape[1]), np.float32)
        for part in chunks(len(other)):
            cross += self.pair.left(part).T @ other[part]
        gram = other.T @ other
        changes = 0
        for sweeps in (0, _SWEEPS):  # all scales first: the grid depends on all of them
            for part in chunks(len(self.right_codes)):
                changes += descend(
                    self.right_codes[part], self.right_scales[part], self.levels, gram=gram,
                    aim=self.pair.right[part] @ cross, other=other, lists=lists.rows(part), alpha=self.alpha,
                    sweeps=sweeps, floor=self.right_floor, fit_before=sweeps == 0, fit_after=False,
                )  # fmt: skip
            if sweeps == 0:
                self.snap()
        return changes

    def move_middle(self, lists: Lists) -> None:
        start = np.eye(len(self.levels[self.right_codes][0]), dtype=np.float32) if self.middle is None else self.middle
        self.middle = fit_middle(
            self.pair,
            self.left_values,
            self.right_values(),
            lists=lists,
            alpha=self.alpha,
            middle=start,
            steps=_MIDDLE_STEPS,
        )

    def result(self) -> PairedCodes:
        factors = self.pair.factors
        scales = np.where(factors > 0, self.left_scales / np.where(factors > 0, factors, 1), 0)
        middle = None if self.middle is None else self.middle.astype(np.float16)
        grid = (self.grid * self.pair.unit).astype(np.float32)
        return PairedCodes(
            self.left_codes, self.right_codes, self.levels, self.scale_codes, grid, scales.astype(np.float32), middle
        )


def _floor(scales: Floats) -> float:
    positive = scales[scales > 0]
    return 1e-6 * float(np.median(positive)) if len(positive) else 1e-6


def fit_pair(
    left: Floats,
    right: Floats,
    *,
    columns: int,
    levels: int,
    middle: bool,
    neighbours: int,
    weight: float,
    relist: bool,
    rounds: int,
    num_scales: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PairedCodes:
    """Codes for two tables such that their products come near those of the tables.

    Lowers ``sum over all pairs of (l.M.r - s)^2 + weight * sum over listed pairs of (l.M.r - s)^2``, where a left row's
    list holds the right rows with which it has the highest products s. Alternates over the left codes, the right ones
    and the middle matrix M; each code goes to the level nearest to the minimum along its column. The first sum needs
    only Gram matrices. Kin: discrete collaborative filtering (Zhang et al. 2016), which learns codes from interactions;
    here they follow a model that is given.

    Args:
        left: (n, d) float32, finite, ``n >= 1``.
        right: (m, d) float32, finite, ``m >= 1``.
        columns: Codes a row, k: fewer or more than d.
        levels: 2, 3 or 4, see `LEVELS`.
        middle: Fit a (k, k) matrix between the sides; without it, the identity.
        neighbours: Length of the lists; fewer where the right table has fewer rows.
        weight: Of a listed pair against any other.
        relist: After every second round, list from then on also what the codes rank highest: wrong ones among it are
            what a ranking suffers from, and no list of the original tables holds them.
        rounds: Passes over both sides.
        num_scales: A right row's scale is one of so many in equal ratios.
        seed: Of the one random rotation. It cancels in products and is not stored.
        progress: Called with (rounds done, rounds) after each.

    Returns:
        The codes and what goes with them.
    """
    pair = measured(left, right)
    fit = _Fit(
        pair,
        np.asarray(LEVELS[levels], np.float32),
        columns=columns,
        alpha=weight,
        num_scales=num_scales,
        seed=seed,
    )
    length = min(neighbours, len(right))
    first = best_rows(pair.left, len(left), pair.right, length)
    indptr = np.arange(len(left) + 1, dtype=np.int64) * length
    lists = listed(pair.left, pair.right, indptr, first.ravel())
    for done in range(rounds):
        fit.move_left(lists)
        fit.move_right(transpose_lists(lists, len(right), _LIST_CAP))
        if middle:
            fit.move_middle(lists)
        if progress is not None:
            progress(done + 1, rounds)
        if relist and (done + 1) % _RELIST_EVERY == 0 and done + 1 < rounds:
            now = best_rows(fit.left_values, len(left), fit.seen_from_left(), length)
            # What was listed once stays: a wrong row that was put in its place comes back when nothing holds it there.
            lists = listed(pair.left, pair.right, *union(lists.indptr, lists.ids, now))
    return fit.result()
