"""The integer scan finds exactly what float scores of the same rows would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize import kernels
from pintsize.formats._scan import byte_candidates
from pintsize.formats.scalar import ScalarTable
from tests.contracts.format_cases import scalar


def brute(table: ScalarTable, queries: np.ndarray, k: int) -> np.ndarray:
    scores = queries.astype(np.float64) @ table.lookup(np.arange(table.num_embeddings)).T.astype(np.float64)
    return -np.sort(-scores, axis=1)[:, :k]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3000),
    d=st.integers(1, 150),
    k=st.integers(1, 40),
    queries=st.integers(1, 9),
    offset=st.booleans(),
    rotated=st.booleans(),
    seed=st.integers(0, 999),
)
def test_scan_is_exact(n: int, d: int, k: int, queries: int, offset: bool, rotated: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = scalar(256, offset=offset, rotated=rotated and d > 1)(n, d, rng)
    q = rng.standard_normal((queries, d)).astype(np.float32) * np.float32(10.0 ** rng.integers(-6, 6))
    k = min(k, n)
    want = brute(table, q, k)
    scores, rows = table.topk(q, k)
    tolerance = 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(scores, want, atol=tolerance)
    assert all(len(set(r)) == k for r in rows)


@pytest.mark.parametrize("level", range(len(kernels.native().levels())))
def test_every_instruction_set_gives_candidates_that_hold_the_best(level: int) -> None:
    native = kernels.native()
    table = scalar(256)(5000, 70, np.random.default_rng(0))
    queries = np.random.default_rng(1).standard_normal((11, 70)).astype(np.float32)
    best = np.argsort(-(queries @ table.lookup(np.arange(5000)).T), axis=1)[:, :25]
    native.force_level(level)
    try:
        found = byte_candidates(table, queries, 25)
    finally:
        native.force_level(len(native.levels()) - 1)
    assert found is not None
    for candidates, wanted in zip(found, best, strict=True):
        assert set(wanted) <= set(candidates)
        assert len(candidates) < 1000


def test_ties_and_queries_that_say_nothing() -> None:
    table = scalar(256)(4, 10, np.random.default_rng(0))
    many = ScalarTable(np.repeat(table.records, 2000, axis=0), 10, 256, 10)
    scores, rows = many.topk(np.zeros((2, 10), np.float32), 3)
    assert rows.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert not scores.any()
    scores, rows = many.topk(np.ones((1, 10), np.float32), 5)
    assert len(set(scores[0])) == 1
    assert (np.diff(rows[0]) > 0).all()
