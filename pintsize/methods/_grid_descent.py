"""Least squares of many rows at once under bounds, by coordinate descent on one Gram matrix.

Every function here treats rows apart from each other: a row's result does not hang on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["BEST_STEP", "descend", "grid_rows", "nearest_level", "nonnegative_rows"]

Doubles: TypeAlias = NDArray[np.float64]

# Steps of the uniform quantizer with 2**bits levels of least error for a standard normal value (Max 1960).
BEST_STEP = (0.0, 1.596, 0.9957, 0.586, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)

_BLOCK = 2048
_STARTS = (0.8, 1.0, 1.3)
_SWEEPS = 4
_NONNEGATIVE_SWEEPS = 500
_NONNEGATIVE_SETTLED = 1e-9


def nearest_level(values: Doubles, levels: int) -> Doubles:
    """The nearest of the `levels` half-odd numbers ±1/2, ±3/2, ... (levels even)."""
    return np.clip(np.floor(values) + 0.5, 0.5 - levels / 2, levels / 2 - 0.5)


def descend(x: Doubles, gram: Doubles, targets: Doubles, place: Callable[[Doubles], Doubles], sweeps: int) -> float:
    """Lowers ``½ xᵀ G x - tᵀ x`` for each column of x, coordinate by coordinate, in place.

    Args:
        x: (r, n), one problem a column; changed.
        gram: (r, r) G. A coordinate of no curvature is left alone.
        targets: (r, n) t.
        place: The nearest allowed values to those it is given.
        sweeps: Passes over the coordinates.

    Returns:
        The largest change of the last sweep.
    """
    moved = 0.0
    for _ in range(sweeps):
        moved = 0.0
        for k in range(len(gram)):
            if gram[k, k] > 0:
                new = place(x[k] - (gram[k] @ x - targets[k]) / gram[k, k])
                moved = max(moved, float(np.abs(new - x[k]).max(initial=0.0)))
                x[k] = new
    return moved


def nonnegative_rows(rows: NDArray[np.float32], basis: Doubles) -> Doubles:
    """The (n, r) coefficients ``w >= 0`` that minimise ``||row - w basis||²``.

    Args:
        rows: (n, d).
        basis: (r, d); its rows have norm 1 or 0.
    """
    gram = basis @ basis.T
    out = np.zeros((len(rows), len(basis)))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        size = np.maximum(np.abs(block).max(axis=1), np.finfo(np.float32).tiny)
        targets = basis @ (block / size[:, None]).T
        x = np.zeros_like(targets)
        for _ in range(_NONNEGATIVE_SWEEPS // 10):
            if descend(x, gram, targets, _positive, 10) <= _NONNEGATIVE_SETTLED:
                break
        out[start : start + len(block)] = x.T * size[:, None]
    return out


def _positive(values: Doubles) -> Doubles:
    return np.maximum(values, 0.0)


def grid_rows(
    rows: NDArray[np.float32], basis: Doubles, levels: int, scale_places: Callable[[Doubles], Doubles]
) -> tuple[Doubles, Doubles]:
    """Codes a (n, r) on the grid of `nearest_level` and scales (n,) of small ``||row - scale * a basis||²``.

    Starts from the regularised least squares solution at a few scales, then alternates sweeps of coordinate descent
    over the codes with the best scale for them, and keeps each row's best.

    Args:
        rows: (n, d).
        basis: (r, d).
        levels: Levels of the codes.
        scale_places: The nearest scales, not negative, that can be stored.
    """
    gram = basis @ basis.T
    ridge = gram + np.eye(len(gram)) * (1e-3 * np.trace(gram) / len(gram) + 1e-30)
    bits = levels.bit_length() - 1
    codes, scales = np.empty((len(rows), len(basis))), np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        targets = basis @ rows[start : start + _BLOCK].astype(np.float64).T
        free = np.linalg.solve(ridge, targets)
        step = np.sqrt(np.mean(free * free, axis=0)) * BEST_STEP[bits]
        best, best_scale, best_loss = free, step, np.full(len(step), np.inf)
        for factor in _STARTS:
            x, scale, loss = _alternate(free, gram, targets, step * factor, levels, scale_places)
            better = loss < best_loss
            best = np.where(better, x, best)
            best_scale, best_loss = np.where(better, scale, best_scale), np.where(better, loss, best_loss)
        codes[start : start + len(step)], scales[start : start + len(step)] = best.T, best_scale
    return codes, scales


def _alternate(
    free: Doubles,
    gram: Doubles,
    targets: Doubles,
    scale: Doubles,
    levels: int,
    scale_places: Callable[[Doubles], Doubles],
) -> tuple[Doubles, Doubles, Doubles]:
    """Codes (r, n), scales (n,) and losses (n,) less the rows' own energy, from one start."""

    def place(values: Doubles) -> Doubles:
        return nearest_level(values, levels)

    divisor = np.where(scale > 0, scale, 1.0)
    x = place(free / divisor)
    for _ in range(_SWEEPS):
        descend(x, gram, targets / divisor, place, 1)
        inner, energy = (x * targets).sum(axis=0), (x * (gram @ x)).sum(axis=0)
        scale = scale_places(np.maximum(np.divide(inner, energy, out=np.zeros_like(inner), where=energy > 0), 0.0))
        divisor = np.where(scale > 0, scale, 1.0)
    return x, scale, scale * (scale * energy - 2 * inner)
