"""Recall that was asked for is kept, the plan says what it does, and filters hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pintsize as pz
from pintsize.errors import TableError
from pintsize.search import Plan, TwoStage
from pintsize.search._confidence import lower_bound

N, D, K = 6000, 48, 10


def data(noise: float = 0.6, queries: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((60, D)).astype(np.float32)

    def drawn(n: int) -> np.ndarray:
        return (centres[rng.integers(0, 60, n)] + noise * rng.standard_normal((n, D))).astype(np.float32)

    return drawn(N), drawn(queries)


@pytest.fixture(scope="module")
def built() -> tuple[TwoStage, np.ndarray]:
    rows, queries = data()
    return TwoStage(pz.compress(rows, "rabitq:bits=2"), pz.compress(rows, "integer:bits=8")), queries


def always_coarse(search: TwoStage, queries: np.ndarray, min_recall: float) -> Plan:
    """The plan at this recall, with the number of candidates even where the coarse scan is not faster."""
    plan = search.calibrate(queries, K, min_recall)
    truth = search.fine.topk(queries, K)[1]
    count, recall = search._least(queries, K, min_recall, truth)
    if plan.exact:
        plan = Plan(count, recall, 0.0, 1.0, "for the test")
    search.plans[K, min_recall] = plan
    return plan


@pytest.mark.parametrize("min_recall", [0.5, 0.9, 0.98])
def test_unseen_queries_keep_the_recall(built, min_recall) -> None:
    search, queries = built
    plan = always_coarse(search, queries[:200], min_recall)
    assert 0 < plan.candidates < N // 8
    assert plan.recall >= min_recall
    truth = search.fine.topk(queries[200:], K)[1]
    scores, found = search.topk(queries[200:], K, min_recall=min_recall)
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)])
    assert recall >= min_recall
    assert (np.diff(scores) <= 0).all()


def test_one_is_exact(built) -> None:
    search, queries = built
    np.testing.assert_array_equal(search.topk(queries[:9], K)[1], search.fine.topk(queries[:9], K)[1])
    assert search.calibrate(queries, K, 1.0).exact


def test_a_coarse_table_that_tells_nothing_is_not_used() -> None:
    rows, queries = data()
    fine = pz.compress(rows, "integer:bits=8")
    search = TwoStage(pz.compress(rows[::-1].copy(), "rabitq:bits=1"), fine)
    plan = search.calibrate(queries, K, 0.99)
    assert plan.exact and "hand on more than" in plan.reason
    np.testing.assert_array_equal(search.topk(queries, K, min_recall=0.99)[1], fine.topk(queries, K)[1])


def test_a_coarse_scan_that_does_not_pay_says_so(built, monkeypatch) -> None:
    search, queries = built
    monkeypatch.setattr("pintsize.search.two_stage._timed", lambda *calls: [2.0, 1.0])
    plan = search.calibrate(queries, K, 0.7)
    assert plan.exact and "the exact scan" in plan.reason and plan.coarse_seconds > plan.exact_seconds
    monkeypatch.setattr("pintsize.search.two_stage._timed", lambda *calls: [1.0, 2.0])
    plan = search.calibrate(queries, K, 0.7)
    assert not plan.exact and "2.00 times as fast" in plan.reason


def test_few_queries_are_answered_exactly_and_leave_no_plan() -> None:
    rows, queries = data()
    search = TwoStage(pz.compress(rows, "rabitq:bits=1"), pz.compress(rows, "integer:bits=8"))
    np.testing.assert_array_equal(search.topk(queries[:3], K, min_recall=0.5)[1], search.fine.topk(queries[:3], K)[1])
    assert not search.plans
    search.topk(queries, K, min_recall=0.5)
    assert (K, 0.5) in search.plans
    with pytest.raises(TableError, match="64 queries"):
        search.calibrate(queries[:9], K, 0.5)


def test_filters_hold(built) -> None:
    search, queries = built
    always_coarse(search, queries, 0.9)
    seen = [np.random.default_rng(q).permutation(N)[:40] for q in range(20)]
    top = search.topk(queries[:20], 5)[1]
    seen = [np.union1d(a, b) for a, b in zip(seen, top, strict=True)]
    mask = np.arange(N) % 3 > 0
    for filters in ({"exclude": seen}, {"within": mask}, {"exclude": seen, "within": mask}):
        found = search.topk(queries[:20], K, min_recall=0.9, **filters)[1]
        truth = search.fine.topk(queries[:20], K, **filters)[1]
        assert np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]) > 0.8
        if "exclude" in filters:
            assert not any(set(a) & set(b) for a, b in zip(found, seen, strict=True))
        if "within" in filters:
            assert mask[found].all()
    few = np.arange(30)
    np.testing.assert_array_equal(
        search.topk(queries[:4], K, min_recall=0.9, within=few)[1], search.fine.topk(queries[:4], K, within=few)[1]
    )


def test_tables_that_do_not_fit_are_refused() -> None:
    rows, _ = data()
    with pytest.raises(TableError, match="the same rows"):
        TwoStage(pz.compress(rows[:10], "binary"), pz.compress(rows[:9], "integer"))


@given(st.lists(st.floats(0, 1), min_size=64, max_size=300))
def test_the_bound_is_below_the_mean(recalls: list[float]) -> None:
    found = lower_bound(np.array(recalls))
    assert found <= max(np.mean(recalls), 0.5) + 1e-9


def test_the_bound_holds_for_99_in_100_samples() -> None:
    rng = np.random.default_rng(0)
    misses = rng.random((4000, 128, 20)) < rng.beta(0.2, 20, (4000, 128, 1))
    recalls = 1 - misses.mean(axis=2)
    bounds = np.array([lower_bound(sample) for sample in recalls])
    assert (bounds > recalls.mean()).mean() < 0.01
