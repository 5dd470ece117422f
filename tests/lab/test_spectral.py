"""The spectral embedding against an exact singular value decomposition."""

import numpy as np
import scipy.sparse as sp

from pintsize.lab.spectral import spectral_embedding


def interactions(users=90, items=60, seed=0):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 4, users)[:, None] == rng.integers(0, 4, items)
    return sp.csr_matrix((rng.random((users, items)) < np.where(groups, 0.5, 0.05)).astype(np.float32))


def test_it_spans_the_leading_singular_vectors():
    train = interactions()
    dense = train.toarray()
    degrees = [np.maximum(dense.sum(axis), 1) for axis in (1, 0)]
    normalised = dense / np.sqrt(degrees[0])[:, None] / np.sqrt(degrees[1])
    _, _, vt = np.linalg.svd(normalised)
    users, items = spectral_embedding(train, 4, iterations=12)
    leading = vt[:4].T
    np.testing.assert_allclose(users @ users.T, normalised @ leading @ leading.T @ normalised.T, atol=1e-4)
    weighted = leading * (degrees[1] ** 0.25)[:, None]
    np.testing.assert_allclose(items @ items.T, weighted @ weighted.T, atol=1e-3)
    np.testing.assert_allclose(users @ items.T, normalised @ leading @ weighted.T, atol=1e-3)


def test_seeds_repeat_and_empty_rows_stay_zero():
    train = interactions().tolil()
    train[3], train[:, 5] = 0, 0
    first, again = (spectral_embedding(train.tocsr(), 6, seed=2) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not first[0][3].any()
    assert all(np.isfinite(table).all() for table in first)


def test_as_many_columns_as_items():
    users, items = spectral_embedding(interactions(20, 8), 8)
    assert users.shape == (20, 8) and items.shape == (8, 8)


def test_a_power_of_the_singular_values():
    train = interactions()
    users, items = spectral_embedding(train, 4, iterations=12)
    stronger, same = spectral_embedding(train, 4, iterations=12, power=3)
    np.testing.assert_array_equal(items, same)
    np.testing.assert_allclose(stronger, users * (users**2).sum(0), rtol=1e-3, atol=1e-6)
