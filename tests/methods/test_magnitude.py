from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pintsize.formats.sparse import SparseTable
from pintsize.methods.magnitude import Magnitude
from pintsize.table import EmbeddingTable
from tests.methods.tables import Floats, decaying, served

FEW_VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 1e-40, -3e38, 0.5])


def by_sorting(rows: Floats, kept: int) -> Floats:
    """The largest values, of equal ones the first in row order, by a full sort."""
    order = np.argsort(-np.abs(rows).reshape(-1), kind="stable")[:kept]
    out = np.zeros(rows.size, np.float32)
    out[order] = rows.reshape(-1)[order]
    return out.reshape(rows.shape)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FEW_VALUES),
    st.floats(0.01, 1),
)
def test_table_scope_equals_a_full_sort(rows: Floats, keep: float) -> None:
    expected = by_sorting(rows, round(rows.size * keep))
    made = Magnitude(keep=keep).compress(EmbeddingTable(rows))
    np.testing.assert_array_equal(served(made), expected)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.round(decaying(500), 1)
    expected = by_sorting(rows, 1200)
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 4 * 24 * 13)
    made = Magnitude(keep=0.1).compress(EmbeddingTable(rows))
    np.testing.assert_array_equal(served(made), expected)
    assert isinstance(made, SparseTable)
    assert made.positions.shape == (1200,)


def test_row_scope() -> None:
    rows = decaying()
    out = served(Magnitude(keep=0.25, scope="row").compress(EmbeddingTable(rows)))
    expected = np.stack([by_sorting(row[None], 6)[0] for row in rows])
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("columns", [24, 300])
@pytest.mark.parametrize("scope", ["table", "row"])
def test_ratio_is_spent(scope: Any, columns: int) -> None:
    rows = decaying(200, columns, 0.99)
    made = Magnitude(ratio=5, scope=scope).compress(EmbeddingTable(rows))
    slack = 264 if scope == "table" else 200 * 8 + 264
    assert rows.nbytes / 5 - slack <= made.nbytes <= rows.nbytes / 5


def test_encoder_keeps_what_reaches_the_threshold() -> None:
    rows = decaying()
    method = Magnitude(keep=0.1)
    out = served(method.fit(EmbeddingTable(rows)).encode(rows))
    np.testing.assert_array_equal(out, served(method.compress(EmbeddingTable(rows))))


def test_zeros_are_not_kept() -> None:
    rows = np.zeros((10, 4), np.float32)
    rows[3, 2] = 5
    for method in (Magnitude(keep=0.5), Magnitude(keep=0.5, scope="row")):
        made = method.compress(EmbeddingTable(rows))
        np.testing.assert_array_equal(served(made), rows)
        assert made.tensors()["positions"].shape == (1,)
