from __future__ import annotations

import numpy as np
import pytest

from pintsize.errors import MethodError
from pintsize.methods.spec import parse
from pintsize.methods.truncation import Truncation
from pintsize.table import EmbeddingTable
from tests.methods.tables import decaying, served


def test_first_columns_are_exact_and_the_rest_zero() -> None:
    rows = decaying()
    out = served(Truncation(columns=7).compress(EmbeddingTable(rows)))
    np.testing.assert_array_equal(out[:, :7], rows[:, :7])
    assert not out[:, 7:].any()


def test_columns_of_most_energy() -> None:
    rows = decaying(50, 10)
    rows[:, [2, 7]] *= 10
    out = served(Truncation(columns=2, choose="energy").compress(EmbeddingTable(rows)))
    np.testing.assert_array_equal(out[:, [2, 7]], rows[:, [2, 7]])
    assert np.count_nonzero(out.any(axis=0)) == 2


def test_bytes() -> None:
    rows = decaying()
    assert Truncation(columns=7).compress(EmbeddingTable(rows)).nbytes == 4 * 300 * 7 + 7 * 3
    made = Truncation(ratio=4).compress(EmbeddingTable(rows))
    assert made.nbytes == 4 * 300 * 5 + 5 * 3


def test_what_follows_leaves_the_places_alone() -> None:
    rows = decaying()
    out = served(parse("truncation:columns=7 + bfloat16").compress(EmbeddingTable(rows)))  # type: ignore[attr-defined]
    np.testing.assert_allclose(out[:, :7], rows[:, :7], rtol=0.01)
    assert not out[:, 7:].any()


def test_more_columns_than_there_are() -> None:
    with pytest.raises(MethodError, match="24 columns; columns=25"):
        Truncation(columns=25).compress(EmbeddingTable(decaying()))
