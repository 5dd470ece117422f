"""Small look-ups take a way of their own: the same rows, the same errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pintsize as pz
from pintsize import kernels
from pintsize.formats import _small

SPECS = ("integer:bits=8", "integer:bits=3", "binary", "ternary", "rotated:bits=2", "rabitq:bits=1", "float16")
ROWS, COLUMNS = 300, 24
TABLES = {s: pz.compress(np.random.default_rng(1).standard_normal((ROWS, COLUMNS), np.float32), s) for s in SPECS}


def the_long_way(table, rows):
    return table.lookup(rows, out=np.empty((*rows.shape, COLUMNS), np.float32))


@given(st.sampled_from(SPECS), st.lists(st.integers(0, ROWS - 1), max_size=40))
def test_equals_the_ordinary_way(spec, rows):
    asked = np.array(rows, np.int64)
    np.testing.assert_array_equal(TABLES[spec].lookup(asked), the_long_way(TABLES[spec], asked))


@pytest.mark.parametrize("bad", [-1, ROWS, 2**62, -(2**63)])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_row_out_of_range_is_the_ordinary_error(bad, kind):
    rows = np.array([3, bad, 5], np.int64)
    if kind == "torch":
        rows = pytest.importorskip("torch").from_numpy(rows)
    with pytest.raises(IndexError, match=f"row {bad} is out of range"):
        TABLES["integer:bits=8"].lookup(rows)


@pytest.mark.parametrize("spec", SPECS)
def test_tensors_get_tensors(spec):
    torch = pytest.importorskip("torch")
    rows = torch.tensor([0, 7, ROWS - 1, 7])
    found = TABLES[spec].lookup(rows)
    assert type(found) is torch.Tensor and found.dtype == torch.float32 and found.is_contiguous()
    np.testing.assert_array_equal(found.numpy(), the_long_way(TABLES[spec], rows.numpy()))
    found += 1  # its own memory
    np.testing.assert_array_equal(TABLES[spec].lookup(rows).numpy(), found.numpy() - 1)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[1, 2], [3, 4]]),
        np.array([1, 2, 3], np.int32),
        np.arange(20)[::3],
        np.arange(4, dtype=">i8"),
        np.array(5),
        np.empty(0, np.int64),
    ],
)
def test_what_is_out_of_the_ordinary_takes_the_ordinary_way(rows):
    table = TABLES["integer:bits=8"]
    np.testing.assert_array_equal(table.lookup(rows), the_long_way(table, rows))


def test_the_way_is_taken(monkeypatch):
    if kernels.native() is None:
        pytest.skip("there are no kernels")
    table = TABLES["integer:bits=8"]
    monkeypatch.setattr(type(table), "_gather_native", lambda *_: pytest.fail("the ordinary way"))
    assert table.lookup(np.arange(32)).shape == (32, COLUMNS)
    assert _small.lookup_array(table, np.arange(1 << 14)) is None
