from __future__ import annotations

import numpy as np
import pytest

from pintsize.errors import MethodError
from pintsize.methods import _spectrum
from pintsize.methods.svd import Svd
from pintsize.table import EmbeddingTable
from tests.methods.tables import decaying, optimum, served, squared_error


@pytest.mark.parametrize("rank", [1, 7, 23])
@pytest.mark.parametrize(("rows", "columns"), [(300, 24), (30, 40)])
def test_error_is_the_least(rows: int, columns: int, rank: int) -> None:
    table = decaying(rows, columns)
    made = Svd(rank=rank).compress(EmbeddingTable(table))
    assert squared_error(made, table) == pytest.approx(optimum(table, rank), rel=1e-5)


@pytest.mark.parametrize("decay", [0.99, 0.9])
def test_randomised_error_is_near_the_least(monkeypatch: pytest.MonkeyPatch, decay: float) -> None:
    monkeypatch.setattr(_spectrum, "GRAM_COLUMNS", 0)
    table = decaying(400, 120, decay)
    made = Svd(rank=10).compress(EmbeddingTable(table), seed=5)
    assert squared_error(made, table) <= optimum(table, 10) * 1.001


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    table = decaying(500)
    whole = served(Svd(rank=6).compress(EmbeddingTable(table)))
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 4 * 24 * 17)
    np.testing.assert_allclose(served(Svd(rank=6).compress(EmbeddingTable(table))), whole, atol=1e-5)


def test_counts_weigh_the_rows() -> None:
    table, counts = decaying(300, 24, 0.95), np.random.default_rng(1).zipf(1.5, 300).clip(max=1000).astype(float)
    made = Svd(rank=5, weight="counts").compress(EmbeddingTable(table, counts=counts))
    _, _, right = np.linalg.svd(np.sqrt(counts)[:, None] * table.astype(np.float64), full_matrices=False)
    expected = table @ right[:5].T @ right[:5]
    np.testing.assert_allclose(served(made), expected, atol=1e-4)


@pytest.mark.parametrize("counts", [None, np.zeros(300)])
def test_counts_are_needed(counts: np.ndarray | None) -> None:
    with pytest.raises(MethodError, match="counts"):
        Svd(rank=5, weight="counts").compress(EmbeddingTable(decaying(), counts=counts))


def test_ratio_takes_the_largest_rank() -> None:
    table = decaying()
    made = Svd(ratio=4).compress(EmbeddingTable(table))
    rank = made.values.embedding_dim  # type: ignore[attr-defined]
    assert made.nbytes == 4 * rank * (300 + 24) <= table.nbytes / 4 < 4 * (rank + 1) * (300 + 24)


def test_rank_past_the_tables_is_refused() -> None:
    with pytest.raises(MethodError, match="at most 24; rank=25"):
        Svd(rank=25).compress(EmbeddingTable(decaying()))
