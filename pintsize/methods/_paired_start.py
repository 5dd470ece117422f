"""Where `paired` starts: tables brought to a common measure, balanced, and rounded column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pintsize.methods._paired_lists import chunks

Floats = NDArray[np.float32]

__all__ = ["Pair", "balanced_factors", "measured", "nearest_codes", "rotation"]


@dataclass(frozen=True)
class Pair:
    """Two tables in the measure in which `paired` fits them.

    Attributes:
        source: (n, d) float32, the left table as given.
        factors: (n) float32; a left row times its factor has products of mean square 1 with all right rows.
        right: (m, d) float32: centred, of mean square 1.
        unit: What `right` was divided by.
    """

    source: Floats
    factors: Floats
    right: Floats
    unit: float

    def left(self, part: slice) -> Floats:
        """(len, d) float32: the left rows of a slice, in measure."""
        return self.source[part] * self.factors[part, None]


def measured(left: Floats, right: Floats) -> Pair:
    """Centre the right rows and scale the left ones, neither of which moves a ranking.

    Args:
        left: (n, d) float32.
        right: (m, d) float32.

    A left row whose products are all equal gets the factor 0.
    """
    centred = right - right.mean(0, dtype=np.float64).astype(np.float32)
    unit = float(np.sqrt(np.mean(np.square(centred, dtype=np.float64)))) or 1.0
    centred /= np.float32(unit)
    root = _root(centred.T.astype(np.float64) @ centred / len(right)).astype(np.float32)
    spread = np.empty(len(left), np.float64)
    for part in chunks(len(left)):
        largest = np.abs(left[part]).max(1, initial=0)
        rows = left[part] / np.where(largest > 0, largest, 1)[:, None]  # squares of tiny rows would vanish
        spread[part] = np.linalg.norm(rows @ root, axis=1) * largest
    nothing = spread <= 1e-12 * spread.max(initial=0)
    factors = np.where(nothing, 0, 1 / np.where(nothing, 1, spread))
    return Pair(left, factors.astype(np.float32), centred, unit)


def _eigen(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Roots of the eigenvalues, their inverses (0 for directions that are not there), and the eigenvectors."""
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    there = values > 1e-10 * max(float(values[-1]), 0.0)
    roots = np.sqrt(np.where(there, values, 0))
    return roots, np.where(there, 1 / np.where(there, roots, 1), 0), vectors


def _root(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    roots, _, vectors = _eigen(gram)
    return (vectors * roots) @ vectors.T


def left_gram(pair: Pair) -> NDArray[np.float64]:
    """(d, d) Gram matrix of the left rows in measure."""
    gram = np.zeros((pair.right.shape[1],) * 2)
    for part in chunks(len(pair.source)):
        rows = pair.left(part)
        gram += rows.T @ rows
    return gram


def balanced_factors(pair: Pair) -> tuple[Floats, Floats]:
    """Maps that share the singular values of ``left @ right.T = P diag(s) Q.T`` between the two sides.

    Returns:
        ``(to_left, to_right)``, (d, d) float32 each: ``left @ to_left`` is ``P sqrt(s)``, ``right @ to_right`` is
        ``Q sqrt(s)``, columns by falling s. Directions that either table lacks come out as zeros.
    """
    roots_l, inverse_l, vectors_l = _eigen(left_gram(pair))
    roots_r, inverse_r, vectors_r = _eigen((pair.right.T @ pair.right).astype(np.float64))
    p, s, qt = np.linalg.svd((roots_l[:, None] * (vectors_l.T @ vectors_r)) * roots_r)
    half = np.sqrt(s)
    to_left = (vectors_l * inverse_l) @ (p * half)
    to_right = (vectors_r * inverse_r) @ (qt.T * half)
    return to_left.astype(np.float32), to_right.astype(np.float32)


def rotation(columns: int, seed: int) -> Floats:
    """A random orthogonal (columns, columns) float32 matrix."""
    gaussian = np.random.default_rng(seed).standard_normal((columns, columns))
    return np.linalg.qr(gaussian)[0].astype(np.float32)


def nearest_codes(rows: Floats, levels: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Round rows to levels times a scale of their own.

    Args:
        rows: (n, k) float32.
        levels: (L) float32, ascending.

    Returns:
        Codes (n, k) uint8 and scales (n) float32, fitted to the codes and not negative.
    """
    scales = np.sqrt(np.mean(np.square(rows), axis=1))
    if len(levels) > 3:
        scales /= np.sqrt(np.mean(np.square(levels)))
    thresholds = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(thresholds, rows / np.where(scales > 0, scales, 1)[:, None]).astype(np.uint8)
    values = levels[codes]
    scales = np.sum(rows * values, axis=1) / np.maximum(np.sum(values * values, axis=1), 1e-9)
    return codes, np.maximum(scales, 0).astype(np.float32)
