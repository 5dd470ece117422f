from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize import kernels
from pintsize.formats._packing import pack
from pintsize.formats._rotation import random_rotation
from pintsize.formats.scalar import LEVELS, ScalarTable, grid_digits
from tests.kernels.agreement import assert_agrees, at_level, each_level, twin


def scalar_table(
    rng: np.random.Generator,
    n: int,
    columns: int,
    levels: int,
    group: int | None = None,
    scale: str = "float16",
    offset: bool = True,
    rotated: bool = False,
) -> ScalarTable:
    group = group or columns
    digits = columns + (grid_digits(levels) if scale == "grid" else 0)
    parts = [pack(rng.integers(0, levels, (n, digits)).astype(np.uint8), levels)]
    if scale == "float16":
        meta = rng.standard_normal((n, -(-columns // group) * (2 if offset else 1)))
        parts.append(np.ascontiguousarray(meta.astype(np.float16)).view(np.uint8))
    grid = rng.uniform(0.1, 2, levels ** grid_digits(levels)).astype(np.float32) if scale == "grid" else None
    return ScalarTable(
        np.concatenate(parts, axis=1),
        columns,
        levels,
        group,
        scale,
        offset,
        0.0 if offset else (1 - levels) / 2,
        2.0 ** int(rng.integers(-6, 6)),
        grid=grid,
        rotation=random_rotation(columns, 7) if rotated else None,
    )


@each_level
@pytest.mark.parametrize("levels", LEVELS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_the_twin(level: int, levels: int, data: st.DataObject) -> None:
    columns = data.draw(st.integers(1, 300), label="columns")
    scale = data.draw(st.sampled_from(["float16", "grid", "none"]), label="scale")
    halves = scale == "float16"
    group = data.draw(st.integers(1, columns), label="group") if halves and data.draw(st.booleans()) else None
    offset = halves and data.draw(st.booleans(), label="offset")
    rotated = columns >= 2 and data.draw(st.booleans(), label="rotated")
    n = data.draw(st.sampled_from([0, 1, 2, 33]), label="rows")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    table = scalar_table(rng, n, columns, levels, group, scale, offset, rotated)
    assert_agrees(table, level, rng, exact=not (rotated and columns < 16))


@each_level
@pytest.mark.parametrize("levels", [2, 3, 4, 16, 256])
@pytest.mark.parametrize("columns", [8, 16, 32, 64, 128])
def test_common_widths(level: int, levels: int, columns: int) -> None:
    rng = np.random.default_rng(columns)
    assert_agrees(scalar_table(rng, 100, columns, levels), level, rng)


@each_level
@pytest.mark.parametrize("levels", [3, 16, 64])
def test_records_that_are_a_slice_of_wider_ones(level: int, levels: int) -> None:
    rng = np.random.default_rng(0)
    whole = scalar_table(rng, 40, 37, levels, group=8)
    wide = rng.integers(0, 255, (80, whole.record_bytes + 9)).astype(np.uint8)
    sliced = wide[::2, 3 : 3 + whole.record_bytes]
    sliced[...] = whole.records
    assert not sliced.flags.c_contiguous
    rows = np.array([39, 0, 7], np.int64)
    table = ScalarTable(sliced, 37, levels, 8, unit=whole.unit)
    with at_level(level):
        np.testing.assert_array_equal(table.lookup(rows), whole.lookup(rows))
        np.testing.assert_array_equal(ScalarTable(sliced[::-1], 37, levels, 8, unit=whole.unit).lookup(39 - rows),
                                      whole.lookup(rows))  # fmt: skip


@each_level
def test_read_only_and_mapped_records(level: int, tmp_path: Any) -> None:
    rng = np.random.default_rng(1)
    table = scalar_table(rng, 50, 64, 16)
    np.save(tmp_path / "records.npy", table.records)
    mapped = np.load(tmp_path / "records.npy", mmap_mode="r")
    assert not mapped.flags.writeable
    rows = np.arange(50)
    rows.flags.writeable = False
    with at_level(level):
        np.testing.assert_array_equal(
            ScalarTable(mapped, 64, 16, 64, unit=table.unit).lookup(rows), table.lookup(np.arange(50))
        )


@each_level
def test_copies_and_pickles_know_their_own_arrays(level: int) -> None:
    rng = np.random.default_rng(2)
    table = scalar_table(rng, 50, 20, 4, scale="grid", offset=False)
    rows = np.arange(50)
    with at_level(level):
        wanted = table.lookup(rows)
        copies = [copy.deepcopy(table), pickle.loads(pickle.dumps(table))]  # noqa: S301
        table.records[...] = 0
        for other in copies:
            np.testing.assert_array_equal(other.lookup(rows), wanted)


@each_level
def test_rows_of_any_shape_and_kind(level: int) -> None:
    rng = np.random.default_rng(3)
    table = scalar_table(rng, 50, 20, 4)
    rows = rng.integers(0, 50, (4, 3, 2))
    with twin():
        wanted = table.lookup(rows)
    with at_level(level):
        for asked in (rows, rows.astype(np.int32), np.asfortranarray(rows), rows[:, ::-1][:, ::-1], rows.tolist()):
            found = table.lookup(asked)
            assert found.shape == (4, 3, 2, 20)
            np.testing.assert_array_equal(found, wanted)
        assert table.lookup(np.empty((0, 3), np.int64)).shape == (0, 3, 20)


@pytest.mark.skipif(kernels.native() is None, reason="installed without compiled kernels")
@pytest.mark.parametrize("row", [-1, 50, 2**62, -(2**63)])
def test_rows_out_of_range(row: int) -> None:
    table = scalar_table(np.random.default_rng(4), 50, 20, 4)
    rows = np.array([3, row, 4], np.int64)
    with pytest.raises(IndexError, match=f"row {row} is out of range: the table has rows 0 to 49") as native:
        table.lookup(rows)
    with twin(), pytest.raises(IndexError) as plain:
        table.lookup(rows)
    assert str(native.value) == str(plain.value)
