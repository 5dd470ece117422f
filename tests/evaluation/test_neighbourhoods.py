"""Nearest rows before and after."""

from __future__ import annotations

import numpy as np
import pytest

import pintsize as pz
from pintsize.evaluation import neighbour_overlap, trustworthiness
from pintsize.evaluation.neighbourhoods import nearest
from pintsize.formats.dense import DenseTable


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "inner"])
@pytest.mark.parametrize("size", [1, 7, 60])
def test_nearest_agrees_with_a_full_sort(rows, metric, size):
    asked = np.array([0, 13, 59])
    x = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows
    scores = x[asked] @ x.T
    scores[np.arange(3), asked] = -np.inf
    expected = np.argsort(-scores, axis=1)[:, :5]
    chunks = ((start, rows[start : start + size]) for start in range(0, 60, size))
    assert (nearest(chunks, rows[asked], asked, 5, metric) == expected).all()


def test_overlap_of_equal_tables_is_whole(rows):
    found = neighbour_overlap(pz.EmbeddingTable(rows), DenseTable(rows), k=5)
    assert (found.mean, found.num_queries, found.k) == (1.0, 60, 5)


def test_scale_and_rotation_change_no_cosine(rows):
    turned = 3 * rows @ np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0].astype(np.float32)
    assert neighbour_overlap(pz.EmbeddingTable(rows), DenseTable(turned.astype(np.float32))).mean > 0.99


def test_unrelated_tables_overlap_by_chance(rows):
    other = np.random.default_rng(5).standard_normal((60, 3)).astype(np.float32)
    found = neighbour_overlap(pz.EmbeddingTable(rows), DenseTable(other), k=6, queries=50)
    assert found.mean < 0.3 and found.num_queries == 50


def test_k_is_cut_to_what_there_is(rows):
    assert neighbour_overlap(pz.EmbeddingTable(rows[:3]), DenseTable(rows[:3]), k=20).k == 2


def test_what_cannot_be_compared(rows):
    table = pz.EmbeddingTable(rows)
    with pytest.raises(pz.TableError, match="60 rows before and 59 after"):
        neighbour_overlap(table, DenseTable(rows[1:]))
    with pytest.raises(pz.TableError, match="metric"):
        neighbour_overlap(table, DenseTable(rows), metric="l1")
    with pytest.raises(pz.TableError, match="two rows"):
        neighbour_overlap(pz.EmbeddingTable(rows[:1]), DenseTable(rows[:1]))


def test_trustworthiness(rows):
    pytest.importorskip("sklearn")
    assert trustworthiness(rows, rows, k=5, metric="euclidean") == 1.0
    assert trustworthiness(rows, np.random.default_rng(2).random((60, 2)), k=5) < 0.8
    with pytest.raises(pz.TableError, match="neighbours"):
        trustworthiness(rows[:8], rows[:8], k=5)
