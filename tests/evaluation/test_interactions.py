"""Interactions from files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pintsize as pz
from pintsize.evaluation.interactions import read_interactions


def written(path, users, items):
    pq.write_table(pa.table({"user": users, "item": items}), path)
    return path


def test_rows_and_ids(tmp_path):
    path = written(tmp_path / "x.parquet", [2, 0, 2, 2], ["b", "a", "a", "b"])
    indptr, indices = read_interactions(path, 4, 3, item_ids=pz.Ids(["c", "a", "b"]))
    assert indptr.tolist() == [0, 1, 1, 3, 3] and indices.tolist() == [1, 1, 2]
    assert indptr.dtype == indices.dtype == np.int64


def test_what_is_wrong_is_said(tmp_path):
    path = written(tmp_path / "x.parquet", [2, 5], [0, 1])
    with pytest.raises(pz.TableError, match="row 5 is outside the table of 4 rows"):
        read_interactions(path, 4, 3)
    with pytest.raises(pz.TableError, match="no id 5"):
        read_interactions(path, 4, 3, user_ids=pz.Ids([1, 2, 3, 4]))
    pq.write_table(pa.table({"user": [1]}), tmp_path / "y.parquet")
    with pytest.raises(pz.TableError, match="columns user and item"):
        read_interactions(tmp_path / "y.parquet", 4, 3)
    with pytest.raises(pz.TableError, match="Parquet"):
        read_interactions(tmp_path / "none.parquet", 4, 3)
