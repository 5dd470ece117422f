from __future__ import annotations

import itertools

import numpy as np
import pytest

from pintsize.formats.factored import FactoredTable
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._grid_descent import grid_rows, nearest_level
from pintsize.methods.integer_factorization import IntegerFactorization
from pintsize.table import EmbeddingTable
from tests.methods.tables import Floats, decaying, served, squared_error

Doubles = np.ndarray


def quantized(x: Doubles, bits: int) -> Doubles:
    """The nearest levels at the best of many steps for the whole matrix."""
    tried = []
    for share in np.linspace(0.1, 1, 19):
        step = 2 * share * np.abs(x).max() / 2**bits
        tried.append(step * nearest_level(x / step, 2**bits))
    return min(tried, key=lambda y: float(np.square(x - y).sum()))


def sketched(rows: Floats, rank: int, bits: int, seed: int) -> float:
    """Algorithm 1 of Saha et al. 2023: a quantized Gaussian sketch of the range, then quantized least squares on it."""
    sketch = np.random.default_rng(seed).standard_normal((rows.shape[1], rank)) / np.sqrt(rank)
    left = quantized(rows.astype(np.float64) @ sketch, bits)
    right = quantized(np.linalg.lstsq(left, rows.astype(np.float64), rcond=None)[0], bits)
    return float(np.square(left @ right - rows).sum())


def rounded_svd(rows: Floats, rank: int, bits: int) -> float:
    """The truncated SVD, singular values shared evenly, each factor rounded once."""
    left, values, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    root = np.sqrt(values[:rank])
    made = quantized(left[:, :rank] * root, bits) @ quantized(root[:, None] * right[:rank], bits)
    return float(np.square(made - rows).sum())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize(("decay", "rank"), [(0.8, 8), (0.95, 12), (0.95, 24)])
def test_never_behind_the_baselines(bits: int, decay: float, rank: int) -> None:
    rows = decaying(300, 24, decay)
    error = squared_error(IntegerFactorization(rank=rank, bits=bits).compress(EmbeddingTable(rows)), rows)
    assert error <= min(sketched(rows, rank, bits, seed) for seed in range(3))
    assert error <= 1.001 * rounded_svd(rows, rank, bits)


def test_what_is_stored_are_integers() -> None:
    rows = decaying()
    made = IntegerFactorization(rank=6, bits=4).compress(EmbeddingTable(rows))
    assert isinstance(made, FactoredTable)
    values, basis = made.values, made.basis
    assert isinstance(values, ScalarTable)
    assert isinstance(basis, ScalarTable)
    assert (values.scale, values.offset, basis.scale) == ("float16", False, "none")
    b = served(basis)
    assert set(np.unique(2 * b)) <= set(range(-15, 16, 2))
    scales = values.records[:, -2:].copy().view(np.float16).astype(np.float32) * values.unit
    a = served(values) / scales
    np.testing.assert_allclose(2 * a, np.round(2 * a), atol=1e-4)
    in_integers = np.round(2 * a).astype(np.int64) @ np.round(2 * b).astype(np.int64)
    np.testing.assert_allclose(in_integers * scales / 4, served(made), rtol=1e-4, atol=1e-5)
    assert made.nbytes == 300 * (3 + 2) + 6 * 12


def test_codes_of_a_row_are_near_the_best_of_all() -> None:
    """Against every combination of codes, each with its own best scale."""
    basis = np.random.default_rng(3).standard_normal((3, 6))
    rows = decaying(40, 6, 0.9, seed=1)
    codes, scales = grid_rows(rows, basis, 4, lambda s: s)
    ours = np.square(rows - (codes * scales[:, None]) @ basis).sum(axis=1)
    every = np.array(list(itertools.product([-1.5, -0.5, 0.5, 1.5], repeat=3))) @ basis
    factors = np.maximum(rows @ every.T / np.square(every).sum(axis=1), 0)
    losses = np.square(rows[:, None, :] - factors[:, :, None] * every).sum(axis=2)
    assert (ours >= losses.min(axis=1) - 1e-6).all()
    assert ours.sum() <= 1.1 * losses.min(axis=1).sum()


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_any_magnitude(scale: float) -> None:
    rows = decaying()
    plain = squared_error(IntegerFactorization(rank=8).compress(EmbeddingTable(rows)), rows)
    scaled = (rows * scale).astype(np.float32)
    made = IntegerFactorization(rank=8).compress(EmbeddingTable(scaled))
    assert squared_error(made, scaled) / scale**2 == pytest.approx(plain, rel=0.02)
