"""The ranking of 1-, 2- and 4-bit rows by look-ups: kernel against twin, and against the true scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.formats._scan_bits import likely_rows
from tests.contracts.format_cases import scalar
from tests.kernels.agreement import at_level, each_level, threads, twin


@each_level
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 5000),
    d=st.integers(1, 300),
    levels=st.sampled_from([2, 4, 16]),
    offset=st.booleans(),
    queries=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_kernel_equals_twin(level, n, d, levels, offset, queries, seed) -> None:
    rng = np.random.default_rng(seed)
    table = scalar(levels, offset=offset)(n, d, rng)
    asked = rng.standard_normal((queries, d)).astype(np.float32) * np.float32(10.0 ** rng.integers(-6, 6))
    allowed = None if seed % 2 else rng.random(n) < 0.7
    count = int(rng.integers(1, n + 1))
    with at_level(level):
        found = likely_rows(table, asked, count, allowed)
    with twin():
        wanted = likely_rows(table, asked, count, allowed)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("levels", [2, 4, 16])
@pytest.mark.parametrize("d", [64, 100, 256])
def test_the_ranking_is_nearly_the_tables_own(levels: int, d: int) -> None:
    rng = np.random.default_rng(d)
    table = scalar(levels, offset=False, rotated=True)(5000, d, rng)
    queries = rng.standard_normal((8, d)).astype(np.float32)
    truth = np.argsort(-(queries @ table.lookup(np.arange(5000)).T), axis=1)[:, :20]
    found = table._likely(queries, 60, None)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]) > 0.97


def test_threads_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    table = scalar(2, offset=False)(140_000, 32, rng)
    queries = rng.standard_normal((70, 32)).astype(np.float32)
    with threads(1):
        one = table._likely(queries, 50, None)
    with threads(4):
        np.testing.assert_array_equal(table._likely(queries, 50, None), one)


def test_other_tables_are_left_to_their_scores() -> None:
    rng = np.random.default_rng(1)
    for table in (scalar(8)(10, 8, rng), scalar(3)(10, 8, rng), scalar(2, groups=2)(10, 8, rng)):
        assert table._likely(np.zeros((1, 8), np.float32), 3, None) is None


@pytest.mark.parametrize("levels", [2, 4, 16])
@pytest.mark.parametrize("filtered", [False, True])
def test_topk_below_full_recall(levels: int, filtered: bool) -> None:
    rng = np.random.default_rng(levels)
    table = scalar(levels, offset=False, rotated=True)(6000, 96, rng)
    queries = rng.standard_normal((40, 96)).astype(np.float32)
    filters = {"exclude": [rng.permutation(6000)[:90] for _ in queries], "within": rng.random(6000) < 0.8}
    filters = filters if filtered else {}
    wanted_scores, wanted = table.topk(queries, 20, **filters)
    scores, found = table.topk(queries, 20, min_recall=0.95, **filters)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(wanted, found, strict=True)]) > 0.995
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-3, atol=1e-3 * np.abs(wanted_scores).max())
    assert (np.diff(scores) <= 0).all()


def test_queries_that_a_cheaper_scan_cannot_tell_are_answered_exactly() -> None:
    table = scalar(2, offset=False)(1, 40, np.random.default_rng(0))
    same = type(table)(np.repeat(table.records, 5000, axis=0), 40, 2, 40, "float16", False, -0.5)
    _, rows = same.topk(np.ones((3, 40), np.float32), 5, min_recall=0.9)
    assert rows.tolist() == [[0, 1, 2, 3, 4]] * 3
