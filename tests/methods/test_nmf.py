from __future__ import annotations

import warnings

import numpy as np
import pytest

from pintsize.formats.factored import FactoredTable
from pintsize.methods import nmf
from pintsize.methods._grid_descent import nonnegative_rows
from pintsize.methods.nmf import Nmf
from pintsize.table import EmbeddingTable
from tests.methods.tables import Floats, decaying, served, squared_error

decomposition = pytest.importorskip("sklearn.decomposition")


def reference(rows: Floats, rank: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = decomposition.NMF(rank, init="nndsvda", random_state=0, max_iter=300)
        weights = model.fit_transform(rows)
    return float(np.square(weights @ model.components_ - rows).sum())


def test_weights_solve_the_non_negative_least_squares() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    basis = decaying(6, 15, seed=4).astype(np.float64)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    rows = decaying(30, 15, seed=5)
    expected = np.stack([optimize.nnls(basis.T, row)[0] for row in rows.astype(np.float64)])
    np.testing.assert_allclose(nonnegative_rows(rows, basis), expected, atol=1e-6)


def test_no_worse_than_scikit_learn_on_a_non_negative_table() -> None:
    rows = np.abs(decaying(300, 20))
    made = Nmf(rank=5).compress(EmbeddingTable(rows))
    assert isinstance(made, FactoredTable)
    assert (served(made.values) >= 0).all()
    assert (served(made.basis) >= 0).all()
    assert squared_error(made, rows) <= reference(rows, 5) * 1.001


def test_signed_tables_enter_as_two_halves() -> None:
    rows = decaying(300, 20)
    made = Nmf(rank=5).compress(EmbeddingTable(rows))
    assert isinstance(made, FactoredTable)
    assert (served(made.values) >= 0).all()
    split = np.concatenate([np.maximum(rows, 0), np.maximum(-rows, 0)], axis=1)
    assert squared_error(made, rows) <= reference(split, 5)


def test_large_tables_in_mini_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.abs(decaying(600, 20))
    whole = squared_error(Nmf(rank=5).compress(EmbeddingTable(rows)), rows)
    monkeypatch.setattr(nmf, "_WHOLE_VALUES", 0)
    monkeypatch.setattr(nmf, "_SAMPLE_VALUES", 300 * 20)
    assert squared_error(Nmf(rank=5).compress(EmbeddingTable(rows)), rows) <= 1.25 * whole
