"""usearch indexes hold the rows of the table, and give them back."""

from __future__ import annotations

import numpy as np
import pytest

import pintsize as pz
from pintsize.errors import TableError

pytest.importorskip("usearch.index", exc_type=ImportError)
from pintsize.integrations.faiss import binary_queries
from pintsize.integrations.usearch import from_usearch, to_usearch

N, D = 500, 32
ROWS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


def test_halves(tmp_path) -> None:
    table = pz.compress(ROWS, "integer:bits=8")
    index = to_usearch(table)
    wanted = table.lookup(np.arange(N)).astype(np.float16)
    np.testing.assert_array_equal(from_usearch(index).rows, wanted)
    index.save(str(tmp_path / "rows.usearch"))
    np.testing.assert_array_equal(from_usearch(tmp_path / "rows.usearch").rows, wanted)
    found = index.search(ROWS[:9], 5, exact=True).keys
    np.testing.assert_array_equal(found[:, 0], table.topk(ROWS[:9], 5)[1][:, 0])


def test_bytes() -> None:
    table = pz.compress(ROWS, "integer:bits=8")
    back = from_usearch(to_usearch(table, "i8"))
    rows = table.lookup(np.arange(N))
    step = np.abs(rows).max() / 127
    np.testing.assert_allclose(back.lookup(np.arange(N)) * 128 * step, rows, rtol=0, atol=step * 0.501)


def test_bits() -> None:
    table = pz.compress(ROWS, "rabitq:bits=1,rotate=false")
    index = to_usearch(table, "b1")
    back = from_usearch(index)
    np.testing.assert_array_equal(back.lookup(np.arange(N)), np.sign(table.lookup(np.arange(N))))
    distances = index.search(binary_queries(table, ROWS[:9]), 3, exact=True).distances
    best = back.topk(np.where(ROWS[:9] >= 0, 1, -1).astype(np.float32), 3)[0]
    np.testing.assert_array_equal(D - 2 * distances, best)


def test_what_does_not_fit() -> None:
    table = pz.compress(ROWS, "integer:bits=8")
    with pytest.raises(TableError, match="one bit"):
        to_usearch(table, "b1")
    with pytest.raises(TableError, match="dtype"):
        to_usearch(table, "f64")
    index = to_usearch(table)
    index.remove(0)
    with pytest.raises(TableError, match="keys"):
        from_usearch(index)
