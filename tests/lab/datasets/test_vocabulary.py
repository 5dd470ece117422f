"""Rows by frequency, the shared row 0, and counting within a limit."""

import numpy as np
import pytest

from pintsize.errors import TableError
from pintsize.lab.datasets.vocabulary import Vocabulary


def test_frequent_values_first_and_rare_ones_in_row_0():
    words = Vocabulary.from_stream([np.array(["b", "a", "b"]), np.array(["c", "a", "b", "d"])], minimum=2)
    assert words.values == ("b", "a") and len(words) == 3
    rows = words.rows(np.array(["a", "c", "b", "never", "b"]))
    assert rows.dtype == np.int32 and rows.tolist() == [2, 0, 1, 0, 1]
    assert words.rows(np.array([], dtype=str)).shape == (0,)


def test_counts_do_not_depend_on_chunks():
    values = np.random.default_rng(0).zipf(1.3, 5000)
    whole = Vocabulary.from_stream([values], minimum=2)
    assert Vocabulary.from_stream(np.array_split(values, 17), minimum=2).values == whole.values
    assert whole.undercount == 0


def test_a_limit_bounds_what_is_kept_and_what_counts_lose():
    values = np.random.default_rng(1).zipf(1.2, 20_000)
    words = Vocabulary.from_stream(np.array_split(values, 40), limit=200)
    true = dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True))
    assert len(words.values) <= 200 and words.undercount > 0
    assert {v for v, count in true.items() if count > words.undercount} <= set(words.values)


def test_refuses():
    with pytest.raises(TableError, match="minimum"):
        Vocabulary.from_stream([np.array([1])], minimum=0)
    with pytest.raises(TableError, match="limit"):
        Vocabulary.from_stream([np.array([1])], limit=0)
