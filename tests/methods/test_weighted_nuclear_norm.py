from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pintsize.methods.weighted_nuclear_norm import WeightedNuclearNorm, shrunken
from pintsize.table import EmbeddingTable
from tests.methods.tables import decaying, served


@given(st.floats(0.01, 10), st.floats(1e-4, 10), st.sampled_from([1e-16, 1e-3]))
def test_closed_form_is_where_reweighting_settles(value: float, penalty: float, epsilon: float) -> None:
    """Reweighted soft-thresholding from X = E, run until it stands still."""
    x = value
    for _ in range(20000):
        x = max(value - penalty / (x + epsilon), 0.0)
    inside = (value + epsilon) ** 2 - 4 * penalty
    if abs(inside) < 1e-2:
        return  # the iteration takes forever at the edge
    assert shrunken(np.array([value]), penalty, epsilon)[0] == pytest.approx(x, rel=1e-6, abs=1e-9)


def test_singular_values_of_what_is_served() -> None:
    table = decaying()
    values = np.linalg.svd(table.astype(np.float64), compute_uv=False)
    made = WeightedNuclearNorm(C=0.5).compress(EmbeddingTable(table))
    expected = shrunken(values, 0.5 * np.sqrt(300), 1e-16)
    rank = int((expected > 0).sum())
    assert 0 < rank < 24
    assert made.values.embedding_dim == rank  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.linalg.svd(served(made), compute_uv=False), expected, atol=1e-4)


def test_ratio_takes_the_least_penalty() -> None:
    table = decaying()
    values = np.linalg.svd(table.astype(np.float64), compute_uv=False)
    made = WeightedNuclearNorm(ratio=3).compress(EmbeddingTable(table))
    rank = made.values.embedding_dim  # type: ignore[attr-defined]
    assert made.nbytes == 4 * rank * 324 <= table.nbytes / 3 < 4 * (rank + 1) * 324
    # The least penalty is the one that the first value left out just fails: (s + epsilon)² / 4.
    expected = shrunken(values, values[rank] ** 2 / 4, 1e-16)[:rank]
    np.testing.assert_allclose(np.linalg.svd(served(made), compute_uv=False)[:rank], expected, rtol=1e-4)


def test_everything_may_vanish() -> None:
    made = WeightedNuclearNorm(C=1e6).compress(EmbeddingTable(decaying()))
    assert not served(made).any()


def test_full_budget_changes_nothing() -> None:
    table = decaying(2000, 4)
    made = WeightedNuclearNorm(ratio=1).compress(EmbeddingTable(np.concatenate([table, table], axis=1)))
    np.testing.assert_allclose(served(made)[:, :4], table, atol=1e-4)
