from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pintsize.errors import TableError
from pintsize.lab.datasets.clicks import Clicks

LOG = Clicks(
    np.array([[0, 2], [1, 0], [0, 1]], np.int32),
    np.array([1, 0, 1], np.uint8),
    ("user", "item"),
    (2, 4),
    np.zeros((3, 1), np.float32),
    ("age",),
)


def test_picks_and_counts():
    assert len(LOG) == 3
    picked = LOG.pick(np.array([2, 0]))
    assert picked.fields.tolist() == [[0, 1], [0, 2]]
    assert picked.labels.tolist() == [1, 1]
    assert LOG.pick(slice(1, None)).fields.tolist() == [[1, 0], [0, 1]]
    counts = LOG.counts()
    assert counts["user"].tolist() == [2, 1]
    assert counts["item"].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fields": LOG.fields[:2]}, "fields must have shape"),
        ({"numbers": np.zeros((3, 2), np.float32)}, "numbers must have shape"),
        ({"cardinalities": (2,)}, "as many cardinalities"),
        ({"names": ("user", "user")}, "all different"),
        ({"names": ("user", "age")}, "all different"),
        ({"labels": np.array([0, 1, 2], np.uint8)}, "0 or 1"),
        ({"cardinalities": (2, 2)}, "rows of item"),
        ({"fields": np.array([[0, -1], [1, 0], [0, 1]], np.int32)}, "rows of item"),
        ({"numbers": np.full((3, 1), np.nan, np.float32)}, "finite"),
    ],
)
def test_what_is_wrong_is_said(wrong, said):
    with pytest.raises(TableError, match=said):
        dataclasses.replace(LOG, **wrong)
