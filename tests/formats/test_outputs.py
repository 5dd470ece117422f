"""Results over recycled blocks: never shared between two that are alive, and given back when the last is gone."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pintsize as pz
from pintsize.errors import TableError
from pintsize.formats import _outputs

ROWS, COLUMNS, MANY = 1000, 64, 8192


@pytest.fixture
def table():
    return pz.compress(np.random.default_rng(0).standard_normal((ROWS, COLUMNS), np.float32), "integer:bits=8")


@pytest.fixture(autouse=True)
def no_idle_blocks():
    gc.collect()
    _outputs._idle.clear()
    yield
    _outputs._idle.clear()


def many(seed):
    return np.random.default_rng(seed).integers(0, ROWS, MANY)


def test_a_block_is_taken_again_when_its_array_is_gone(table):
    first = table.lookup(many(0))
    address = first.ctypes.data
    assert _outputs._idle == []
    del first
    assert len(_outputs._idle) == 1
    assert table.lookup(many(1)).ctypes.data == address


def test_views_and_tensors_keep_their_block(table):
    torch = pytest.importorskip("torch")
    view = table.lookup(many(0))[5:9]
    tensor = torch.from_numpy(table.lookup(many(1)))[7]
    copies = view.copy(), tensor.clone()
    others = [table.lookup(many(seed)) for seed in range(2, 6)]
    assert all(not np.shares_memory(view, other) for other in others)
    assert (view == copies[0]).all() and bool((tensor == copies[1]).all())
    del view, tensor, others
    assert len(_outputs._idle) == 6


def test_idle_memory_is_bounded(table):
    held = [table.lookup(many(seed)) for seed in range(200)]
    del held
    assert sum(map(len, _outputs._idle)) <= _outputs._IDLE_BYTES
    assert len(_outputs._idle) > 1


def test_small_and_huge_results_are_plain_arrays(table, monkeypatch):
    assert table.lookup(np.arange(10)).base is None
    monkeypatch.setattr(_outputs, "_IDLE_BYTES", 1 << 20)
    assert table.lookup(many(0)).base is None


def test_a_large_result_is_one_that_users_know(table):
    result = table.lookup(many(0).reshape(2, -1))
    assert result.shape == (2, MANY // 2, COLUMNS) and result.dtype == np.float32
    assert result.flags.c_contiguous and result.flags.writeable and result.flags.aligned
    result[0, 0] = 7.0
    assert (table.lookup(many(0), out=result.reshape(MANY, COLUMNS)) == table.lookup(many(0))).all()


def test_threads_never_share_a_block(table):
    def one(seed):
        rows = many(seed)
        found = table.lookup(rows)
        return bool((found == table.lookup(rows, out=np.empty_like(found))).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))


def test_an_output_that_does_not_fit_is_refused(table):
    with pytest.raises(TableError, match="shape"):
        table.lookup(np.arange(3), out=np.empty((2, COLUMNS), np.float32))
    with pytest.raises(TableError, match="float32"):
        table.lookup(np.arange(3), out=np.empty((3, COLUMNS), np.float64))
