from __future__ import annotations

import numpy as np
import pytest

from pintsize.errors import MethodError
from pintsize.formats.dense import DenseTable
from pintsize.formats.factored import FactoredTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.methods import _spectrum, mixed_dimension
from pintsize.methods.mixed_dimension import MixedDimension, popularity_blocks, widths
from pintsize.table import EmbeddingTable
from tests.methods.tables import decaying, optimum, served

ROWS = decaying(1000, 32, 0.9)
COUNTS = 1000.0 / (1 + np.random.default_rng(0).permutation(1000))


def compressed(method: MixedDimension, counts: np.ndarray | None = COUNTS) -> PartitionedTable:
    made = method.compress(EmbeddingTable(ROWS, counts=counts))
    assert isinstance(made, PartitionedTable)
    made.validate()
    return made


def test_widths_follow_the_power_law() -> None:
    popularity = np.array([1.0, 0.5, 0.1, 1e-3, 0.0])
    np.testing.assert_array_equal(widths(popularity, 32, 0.0, 32), 32)
    # 32 * p**0.5 = 32, 22.6, 10.1, 1.01, 0: the nearest powers of two by ratio
    np.testing.assert_array_equal(widths(popularity, 32, 0.5, 64), [32, 32, 8, 1, 1])
    np.testing.assert_array_equal(widths(popularity, 32, 1.0, 24), [24, 16, 4, 1, 1])


def test_blocks_share_the_popularity() -> None:
    part = popularity_blocks(COUNTS, 4)
    mass = np.bincount(part, COUNTS)
    assert len(mass) == 4
    np.testing.assert_allclose(mass / mass.sum(), 0.25, atol=0.15)
    assert all(COUNTS[part == b].min() >= COUNTS[part == b + 1].max() for b in range(3))


def test_each_block_is_its_own_truncated_svd() -> None:
    made = compressed(MixedDimension(base=16, alpha=0.4, blocks=4))
    out = served(made)
    narrow = 0
    for b, part in enumerate(made.parts):
        mine = made.part == b
        if isinstance(part, DenseTable):
            np.testing.assert_array_equal(out[mine], ROWS[mine])
            continue
        assert isinstance(part, FactoredTable)
        narrow += 1
        rank = part.values.embedding_dim
        assert rank & (rank - 1) == 0
        error = float(np.square(out[mine].astype(np.float64) - ROWS[mine]).sum())
        assert error == pytest.approx(optimum(ROWS[mine], rank), rel=1e-4)
    assert narrow >= 2


@pytest.mark.parametrize("ratio", [2, 5, 16])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_ratio_takes_the_largest_base(ratio: float, alpha: float) -> None:
    method = MixedDimension(ratio=ratio, alpha=alpha, blocks=4)
    made = compressed(method)
    assert made.nbytes <= ROWS.nbytes / ratio
    part = popularity_blocks(COUNTS, 4)
    means = np.bincount(part, COUNTS) / np.bincount(part)
    fitting = []
    for base in 2.0 ** np.arange(0, 12, 0.05):
        ranks = widths(means, base, alpha, 32)
        sizes = np.bincount(part)
        blocks = [min(r * (s + 32), s * 32) for r, s in zip(ranks.tolist(), sizes.tolist(), strict=True)]
        total = 1000 + 4 * len(sizes) * 4 + 4 * sum(blocks)
        if total <= ROWS.nbytes / ratio:
            fitting.append(total)
    assert made.nbytes == max(fitting)


def test_without_counts_the_energy_of_rows_orders() -> None:
    rows = ROWS.copy()
    rows[::10] *= 30
    made = MixedDimension(base=8, blocks=2, alpha=0.5).compress(EmbeddingTable(rows))
    assert isinstance(made, PartitionedTable)
    assert not made.part[np.flatnonzero(made.part == 0)].any()
    assert set(np.flatnonzero(made.part == 0)) <= set(range(0, 1000, 10))


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    method = MixedDimension(base=16, blocks=3)
    whole = served(compressed(method))
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 4 * 32 * 41)
    np.testing.assert_allclose(served(compressed(method)), whole, atol=1e-5)


def test_wide_tables_go_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    method = MixedDimension(base=8, blocks=3)
    exact = served(compressed(method))
    monkeypatch.setattr(_spectrum, "GRAM_COLUMNS", 0)
    monkeypatch.setattr(mixed_dimension, "GRAM_COLUMNS", 0)
    near = np.square(served(compressed(method)) - ROWS).sum()
    assert near <= 1.002 * np.square(exact - ROWS).sum()


def test_zero_counts() -> None:
    made = compressed(MixedDimension(base=8, blocks=4), np.zeros(1000))
    assert len(made.parts) == 4


def test_out_of_reach() -> None:
    with pytest.raises(MethodError, match="fewer blocks take less"):
        compressed(MixedDimension(ratio=100, blocks=4))
