"""Tables of more than 2**31 values, and calls from several threads at once."""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable, pack_codes
from pintsize.formats.dense import DenseTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.formats.scalar import ScalarTable
from tests.kernels.agreement import NATIVE, asked_rows, assert_agrees, at_level, each_level, threads, twin
from tests.kernels.test_scalar_rows import scalar_table


def untouched(shape: tuple[int, int], dtype: Any) -> np.ndarray[Any, Any]:
    """Zeros whose pages exist once they are written: memory that is never held."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000))
    return np.frombuffer(block, dtype).reshape(shape)


def large(kind: str) -> CompressedTable:
    rng = np.random.default_rng(0)
    if kind == "scalar":
        small = scalar_table(rng, 8, 32, 256)
        records = untouched((80_000_000, small.record_bytes), np.uint8)
        records[-8:] = small.records
        return ScalarTable(records, 32, 256, 32, unit=small.unit)
    if kind == "dense":
        rows = untouched((40_000_000, 64), np.float16)
        rows[-8:] = rng.standard_normal((8, 64))
        return DenseTable(rows, "float16")
    codes = untouched((300_000_000, 8), np.uint8)
    codes[-8:] = pack_codes(rng.integers(0, 256, (8, 8)), 8)
    return CodebookTable(codes, 32, 8, 8, codebooks=rng.standard_normal((8, 256, 4)).astype(np.float32))


@each_level
@pytest.mark.parametrize("kind", ["codebook", "dense", "scalar"])
def test_last_rows_of_a_table_past_32_bits(level: int, kind: str) -> None:
    table = large(kind)
    rows = np.arange(table.num_embeddings - 8, table.num_embeddings)
    with twin():
        wanted = table.lookup(rows)
    assert np.abs(wanted).min(axis=1).all() or np.abs(wanted).max() > 0
    with at_level(level):
        np.testing.assert_array_equal(table.lookup(rows), wanted)
        np.testing.assert_allclose(table.bag(rows, [0]), wanted.sum(axis=0, keepdims=True), rtol=1e-4, atol=1e-4)


@each_level
def test_wide_row_maps(level: int) -> None:
    rng = np.random.default_rng(0)
    parts = [scalar_table(rng, 500, 8, 16), scalar_table(rng, 100, 8, 4)]
    part = rng.permutation(np.repeat([0, 1], [500, 100])).astype(np.uint8)
    narrow = PartitionedTable.from_parts(part, parts)
    wide = PartitionedTable(narrow.part, before=narrow.before.astype(np.int64), parts=narrow.parts)
    assert_agrees(wide, level, rng)


@each_level
def test_many_rows_by_several_threads(level: int) -> None:
    rng = np.random.default_rng(0)
    rows = asked_rows(rng, 1000, 30_000)
    starts = np.sort(rng.integers(0, len(rows) + 1, 500))
    starts[0], starts[-3:] = 0, len(rows)
    for table in (
        scalar_table(rng, 1000, 48, 16),
        scalar_table(rng, 1000, 48, 3, scale="grid", offset=False, rotated=True),
    ):
        with at_level(level):
            with threads(1):
                one = table.lookup(rows), table.bag(rows, starts)
            with threads(4):
                four = table.lookup(rows), table.bag(rows, starts)
        np.testing.assert_array_equal(one[0], four[0])
        np.testing.assert_array_equal(one[1], four[1])


@pytest.mark.skipif(NATIVE is None, reason="installed without compiled kernels")
def test_calls_from_four_threads_at_once() -> None:
    rng = np.random.default_rng(0)
    table = scalar_table(rng, 5000, 64, 16, rotated=True)
    asked = [rng.integers(0, 5000, 20_000) for _ in range(4)]
    wanted = [table.lookup(rows) for rows in asked]
    fresh = ScalarTable.from_tensors(table.header(), table.tensors())
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, right in zip(pool.map(fresh.lookup, asked), wanted, strict=True):
                np.testing.assert_array_equal(found, right)
