"""Errors of rows."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import pintsize as pz
from pintsize.evaluation import row_errors
from pintsize.formats.dense import DenseTable

finite = st.floats(-100, 100, width=32)


def test_known_numbers():
    given_rows = np.array([[3, 4], [1, 0], [0, 0]], np.float32)
    served = DenseTable(np.array([[3, 0], [1, 0], [5, 5]], np.float32))
    found = row_errors(pz.EmbeddingTable(given_rows), served)
    assert found.relative == pytest.approx((16 + 50) / 26)
    assert found.by_row.mean == pytest.approx((16 / 25 + 0) / 2)
    assert found.cosine.low == pytest.approx(0.6) and found.cosine.high == pytest.approx(1)
    assert (found.num_rows, found.zero_rows) == (3, 1)


@given(arrays(np.float32, st.tuples(st.integers(0, 9), st.integers(1, 5)), elements=finite))
def test_no_loss_is_no_error(rows):
    found = row_errors(pz.EmbeddingTable(rows), DenseTable(rows))
    assert found.relative in (None, 0.0)
    assert (found.relative is None) == (not rows.any())
    json.dumps(asdict(found), allow_nan=False)


def test_chunks_make_no_difference(monkeypatch):
    rows = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    table, served = pz.EmbeddingTable(rows), pz.compress(rows, "integer:bits=3")
    whole = row_errors(table, served)
    monkeypatch.setattr("pintsize.table.chunk_rows", lambda width: 7)
    assert row_errors(table, served).relative == pytest.approx(whole.relative, rel=1e-6)


def test_other_shapes_are_refused():
    rows = np.ones((4, 3), np.float32)
    with pytest.raises(pz.TableError, match=r"\(4, 3\).*\(4, 2\)"):
        row_errors(pz.EmbeddingTable(rows), DenseTable(rows[:, :2].copy()))
