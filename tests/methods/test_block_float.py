"""Block floats against the specifications' own tables, and against plain rounding."""

import itertools

import numpy as np
import pytest

import pintsize as pz
from pintsize.formats.block_float import KINDS, BlockFloatTable, scale_values


def test_the_types_are_those_of_the_specifications():
    assert KINDS["mx4"].magnitudes == (0, 0.5, 1, 1.5, 2, 3, 4, 6)
    assert KINDS["mx6"].magnitudes[:9] == (*(m / 8 for m in range(8)), 1) and KINDS["mx6"].magnitudes[-1] == 7.5
    assert scale_values("e8m0")[[0, 127, 254]].tolist() == [2.0**-127, 1, 2.0**127]
    assert scale_values("e4m3")[[1, 8, 56, 126]].tolist() == [2.0**-9, 2.0**-6, 1, 448]
    for kind in KINDS.values():
        assert len(kind.magnitudes) == kind.levels // 2


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_can_be_held_are_kept(kind):
    values = np.array(KINDS[kind].magnitudes, np.float32)
    rows = np.resize(np.concatenate([values, -values])[::-1], (6, 64)) * np.float32(0.25)
    table = pz.compress(rows, f"block_float:format={kind}")
    np.testing.assert_array_equal(table.lookup(np.arange(6)), rows)


@pytest.mark.parametrize("kind", KINDS)
def test_no_worse_than_the_specified_scale(kind):
    rng = np.random.default_rng(0)
    block = KINDS[kind].block
    rows = (rng.standard_normal((50, block)) * rng.uniform(0.01, 9, (50, 1))).astype(np.float32)
    served = pz.compress(rows, f"block_float:format={kind}").lookup(np.arange(50))
    levels = np.array(KINDS[kind].magnitudes)
    grid = np.concatenate([-levels, levels])
    largest = np.abs(rows).max(axis=1)
    errors = []
    for row, got, top in zip(rows, served, largest, strict=True):
        scale = top / levels[-1] if kind == "nvfp4" else 2.0 ** (np.floor(np.log2(top)) - 2)
        nearest = grid[np.abs(row[:, None] / scale - grid).argmin(axis=1)] * scale
        errors.append((((row - got) ** 2).sum(), ((row - nearest) ** 2).sum()))
    ours, plain = np.array(errors).T
    assert ours.sum() <= 1.05 * plain.sum()
    if kind != "nvfp4":  # whose scales have a mantissa of three bits, and cannot be `scale` itself
        assert (ours <= plain * (1 + 1e-5)).all()


def test_halfway_goes_to_the_even_mantissa():
    rows = np.zeros((1, 32), np.float32)
    rows[0, :6] = [4, 0.25, 0.75, 1.25, 2.5, -3.5]
    served = pz.compress(rows, "block_float:format=mx4").lookup([0])[0, :6]
    assert served.tolist() == [4, 0, 1, 1, 2, -4]


@pytest.mark.parametrize("kind", KINDS)
def test_bytes(kind):
    for columns in (1, 15, 16, 17, 32, 33, 100):
        table = pz.compress(np.ones((7, columns), np.float32), f"block_float:format={kind}")
        bits = 6 if kind == "mx6" else 4
        assert table.nbytes >= 7 * (columns * bits / 8 + -(-columns // KINDS[kind].block))
        if columns % 32 == 0:
            assert table.nbytes == 7 * (columns * bits // 8 + columns // KINDS[kind].block)


def test_rows_much_larger_than_the_sample(monkeypatch):
    monkeypatch.setattr("pintsize.methods._scalar_codes._SAMPLE_VALUES", 0)
    rows = np.full((5000, 16), 0.01, np.float32)
    rows[4999] = 1e6
    served = pz.compress(rows, "block_float:format=nvfp4").lookup([0, 4999])
    np.testing.assert_allclose(served[1], 1e6, rtol=0.1)


def test_a_scale_that_is_no_number_is_reported():
    for kind, byte in itertools.product(("mx4", "nvfp4"), (255,)):
        table = pz.compress(np.ones((3, 16), np.float32), f"block_float:format={kind}")
        records = table.records.copy()
        records[1, -1] = byte
        with pytest.raises(pz.TableError, match="row 1"):
            BlockFloatTable(records, 16, kind, table.unit).validate()
