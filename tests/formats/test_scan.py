"""The integer scan finds exactly what float scores of the same rows would."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.errors import TableError
from pintsize.formats import _topk, scalar
from pintsize.formats._scan import scan_bytes
from pintsize.formats.scalar import ScalarTable
from tests.contracts import format_cases
from tests.kernels.agreement import NATIVE, at_level, each_level, threads, twin

EMPTY = _topk.filter_of(None, None, 11, 0)


def brute(table: ScalarTable, queries: np.ndarray, k: int) -> np.ndarray:
    scores = queries.astype(np.float64) @ table.lookup(np.arange(table.num_embeddings)).T.astype(np.float64)
    return -np.sort(-scores, axis=1)[:, :k]


def same_answers(table: ScalarTable, queries: np.ndarray, k: int, **filters: object) -> None:
    """The scan and the twin agree but for the rounding of scores."""
    scores, rows = table.topk(queries, k, **filters)  # type: ignore[arg-type]
    with twin():
        wanted, others = table.topk(queries, k, **filters)  # type: ignore[arg-type]
    tolerance = 1e-5 * np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=tolerance)
    apart = (rows != others) & (np.abs(scores - wanted) > tolerance)
    assert not apart.any()
    assert all(len(set(r[r >= 0])) == (r >= 0).sum() for r in rows)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 6000),
    d=st.integers(1, 300),
    k=st.integers(1, 40),
    queries=st.integers(1, 9),
    offset=st.booleans(),
    rotated=st.booleans(),
    seed=st.integers(0, 999),
)
def test_scan_is_exact(n: int, d: int, k: int, queries: int, offset: bool, rotated: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = format_cases.scalar(256, offset=offset, rotated=rotated and d > 1)(n, d, rng)
    q = rng.standard_normal((queries, d)).astype(np.float32) * np.float32(10.0 ** rng.integers(-6, 6))
    k = min(k, n)
    want = brute(table, q, k)
    scores, rows = table.topk(q, k)
    tolerance = 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(scores, want, atol=tolerance)
    assert all(len(set(r)) == k for r in rows)


def clustered(n: int, d: int, rng: np.random.Generator, spread: float = 1.0) -> tuple[ScalarTable, np.ndarray]:
    """Rows of very different lengths around a few centres, some of them constant, and queries like them."""
    centres = rng.standard_normal((20, d))
    rows = (centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))) * np.exp(
        spread * rng.standard_normal((n, 1))
    )
    rows[:: max(1, n // 7)] = 0
    low = rows.min(axis=1, keepdims=True)
    scale = ((rows.max(axis=1, keepdims=True) - low) / 255).astype(np.float16)
    low = low.astype(np.float16)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.nan_to_num(np.rint((rows - low) / scale)).clip(0, 255).astype(np.uint8)
    table = ScalarTable(np.concatenate([codes, scale.view(np.uint8), low.view(np.uint8)], axis=1), d, 256, d)
    return table, (centres[rng.integers(0, 20, 11)] + 0.5 * rng.standard_normal((11, d))).astype(np.float32)


@each_level
@pytest.mark.parametrize("columns", [64, 70, 16, 200])
@pytest.mark.parametrize("queries", [1, 2, 11])
def test_every_instruction_set_is_exact(level: int, columns: int, queries: int) -> None:
    table, asked = clustered(40_000, columns, np.random.default_rng(columns))
    with at_level(level):
        same_answers(table, asked[:queries], 25)


def test_every_instruction_set_gives_the_same_bits() -> None:
    table, asked = clustered(5000, 77, np.random.default_rng(3))
    answers = []
    for level in range(len(NATIVE.levels())):
        with at_level(level):
            answers.append(table.topk(asked, 12))
    for scores, rows in answers[1:]:
        np.testing.assert_array_equal(scores, answers[0][0])
        np.testing.assert_array_equal(rows, answers[0][1])


@pytest.mark.parametrize("queries", [1, 7])
def test_filters(queries: int) -> None:
    rng = np.random.default_rng(5)
    table, asked = clustered(9000, 48, rng)
    asked = asked[:queries]
    hidden = [rng.permutation(9000)[: rng.integers(0, 4000)] for _ in range(queries)]
    mask = rng.random(9000) < 0.5
    same_answers(table, asked, 20, exclude=hidden)
    same_answers(table, asked, 20, within=mask)
    same_answers(table, asked, 20, exclude=hidden, within=mask)
    few = rng.permutation(9000)[:50]
    same_answers(table, asked, 20, exclude=hidden, within=few)
    _, rows = table.topk(asked, 20, within=few, exclude=hidden)
    for found, away in zip(rows, hidden, strict=True):
        assert set(found[found >= 0]) <= set(few) - set(away)
    _, none = table.topk(asked, 3, within=np.empty(0, np.int64))
    assert (none == -1).all()


def test_a_filter_that_does_not_fit_is_refused() -> None:
    table, asked = clustered(100, 8, np.random.default_rng(5))
    with pytest.raises(TableError, match="one entry a row"):
        table.topk(asked, 3, within=np.ones(99, bool))
    with pytest.raises(IndexError, match="row 100"):
        table.topk(asked, 3, within=[100])
    with pytest.raises(TableError, match="min_recall"):
        table.topk(asked, 3, min_recall=0.0)


def test_threads_do_not_matter() -> None:
    table, asked = clustered(140_000, 32, np.random.default_rng(6))
    with threads(1):
        one = table.topk(asked, 30)
    with threads(4):
        many = table.topk(asked, 30)
    np.testing.assert_array_equal(one[0], many[0])
    np.testing.assert_array_equal(one[1], many[1])


def test_the_scan_is_what_answers() -> None:
    table, asked = clustered(4000, 64, np.random.default_rng(7))
    assert scan_bytes(table, asked, 5, EMPTY) is not None
    with mock.patch.object(scalar, "scan_bytes", side_effect=scan_bytes) as spy:
        table.topk(asked, 5)
    assert spy.called


def test_ties_and_queries_that_say_nothing() -> None:
    table = format_cases.scalar(256)(4, 10, np.random.default_rng(0))
    many = ScalarTable(np.repeat(table.records, 2000, axis=0), 10, 256, 10)
    for queries in (1, 2, 5):
        scores, rows = many.topk(np.zeros((queries, 10), np.float32), 3)
        assert rows.tolist() == [[0, 1, 2]] * queries
        assert not scores.any()
        scores, rows = many.topk(np.ones((queries, 10), np.float32), 5)
        assert len(set(scores[0])) == 1
        assert (np.diff(rows) == 1).all()


def test_negative_and_odd_scales() -> None:
    rng = np.random.default_rng(8)
    table, asked = clustered(3000, 40, rng)
    records = table.records.copy()
    records[::3, 41] ^= 0x80  # the sign of a scale
    same_answers(ScalarTable(records, 40, 256, 40), asked, 15)
    records[:, :40] = np.where(rng.random((3000, 40)) < 0.5, 0, 255)
    same_answers(ScalarTable(records, 40, 256, 40, "float16", True, 0.0, 2.0**-20), asked, 15)
