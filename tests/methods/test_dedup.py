from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.errors import MethodError
from pintsize.formats.codebook import CodebookTable
from pintsize.methods._near_duplicates import exact_groups, near_groups
from pintsize.methods.dedup import Dedup
from pintsize.table import EmbeddingTable
from tests.methods.tables import Floats, decaying, served


def repeated(rows: int = 500, columns: int = 10, distinct: int = 20) -> Floats:
    rng = np.random.default_rng(2)
    return decaying(distinct, columns)[rng.integers(0, distinct, rows)]


@pytest.mark.parametrize("blocks", [1, 3, 10])
def test_exact_repetition_is_lossless_and_counted(blocks: int) -> None:
    rows = repeated()
    made = Dedup(blocks=blocks, tolerance=0).compress(EmbeddingTable(rows))
    np.testing.assert_array_equal(served(made), rows)
    assert isinstance(made, CodebookTable)
    width = -(-10 // blocks)
    wide = np.zeros((500, width * blocks), np.float32)
    wide[:, :10] = rows
    assert made.codewords == len(np.unique(wide.reshape(-1, width), axis=0))


def test_without_repetition_the_share_is_named() -> None:
    rows = decaying(100, 8)
    rows[50:53] = rows[:3]
    with pytest.raises(MethodError, match=r"3\.0% of the blocks repeat"):
        Dedup(blocks=2, tolerance=0).compress(EmbeddingTable(rows))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200), st.integers(1, 6), st.floats(0.01, 3), st.integers(0, 50))
def test_nobody_moves_farther_than_the_radius(count: int, width: int, radius: float, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    leader = near_groups(vectors, np.ones(count, np.int64), radius, seed)
    np.testing.assert_array_equal(leader[leader], leader)
    assert (np.linalg.norm(vectors.astype(np.float64) - vectors[leader], axis=1) <= radius * (1 + 1e-9)).all()


def test_near_duplicates_are_found() -> None:
    """Jittered copies of centres that lie far apart: brute force would leave one vector a centre."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, 8)) * 10
    vectors = (centres[rng.integers(0, 100, 3000)] + rng.standard_normal((3000, 8)) * 0.01).astype(np.float32)
    leader = near_groups(vectors, np.ones(3000, np.int64), 0.2, 0)
    assert len(np.unique(leader)) <= 105


def test_tolerance_is_in_root_mean_square_norms() -> None:
    rows = decaying(300, 12)
    made = Dedup(blocks=4, tolerance=0.5).compress(EmbeddingTable(rows))
    pieces = rows.reshape(-1, 3).astype(np.float64)
    moved = np.linalg.norm(served(made).reshape(-1, 3) - pieces, axis=1)
    assert 0 < moved.max() <= 0.5 * np.sqrt(np.square(pieces).sum(axis=1).mean()) * (1 + 1e-6)


def test_ratio_takes_no_tolerance_where_none_is_needed() -> None:
    rows = repeated()
    np.testing.assert_array_equal(served(Dedup(blocks=2, ratio=4).compress(EmbeddingTable(rows))), rows)


def test_exact_groups_survive_colliding_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.array([[0, 0, 1], [0, 0, 2], [0, 0, 1], [-0.0, 0, 1]], np.float32)
    first, group = exact_groups(vectors, 0)
    assert (first.tolist(), group.tolist()) == ([0, 1], [0, 1, 0, 0])
    monkeypatch.setattr("pintsize.methods._near_duplicates._mixed", lambda keys, bits, factor: keys)
    first, group = exact_groups(vectors, 0)
    assert (first.tolist(), group.tolist()) == ([0, 1], [0, 1, 0, 0])
