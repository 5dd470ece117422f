from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable, pack_codes
from pintsize.formats.dense import DenseTable, bfloat16_bits
from pintsize.formats.factored import FactoredTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.formats.sparse import SparseTable
from tests.kernels.agreement import assert_agrees, at_level, each_level, twin
from tests.kernels.test_scalar_rows import scalar_table

KINDS = ["float32", "float16", "bfloat16"]


def dense_table(rng: np.random.Generator, n: int, columns: int, kind: str = "float32") -> DenseTable:
    rows = rng.standard_normal((n, columns)).astype(np.float32)
    stored = {"float32": rows, "float16": rows.astype(np.float16), "bfloat16": bfloat16_bits(rows)}
    return DenseTable(stored[kind], kind)


@each_level
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(n=st.sampled_from([0, 1, 30]), columns=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_dense(level: int, kind: str, n: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert_agrees(dense_table(rng, n, columns, kind), level, rng)


@each_level
def test_every_half_float(level: int) -> None:
    bits = np.arange(2**16, dtype=np.uint16).reshape(-1, 64)
    rows = np.arange(len(bits))
    for table in (DenseTable(bits.view(np.float16), "float16"), DenseTable(bits.view(np.int16), "bfloat16")):
        with twin():
            wanted = table.lookup(rows)
        with at_level(level):
            found = table.lookup(rows)
        number = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.isnan(found), ~number)
        np.testing.assert_array_equal(found[number].view(np.uint32), wanted[number].view(np.uint32))


@each_level
@pytest.mark.parametrize("combine", ["concat", "sum"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_codebooks(level: int, combine: str, data: st.DataObject) -> None:
    m, width = data.draw(st.integers(1, 12), label="codes"), data.draw(st.integers(1, 20), label="width")
    bits = data.draw(st.integers(0, 32) | st.just(8), label="bits")
    words = data.draw(st.integers(1, min(2**bits, 300)), label="codewords")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    n = data.draw(st.sampled_from([0, 1, 30]), label="rows")
    kind = data.draw(st.sampled_from([np.float32, np.float16]), label="kind")
    books = rng.standard_normal((data.draw(st.sampled_from([1, m])), words, width)).astype(kind)
    decoded = m * width if combine == "concat" else width
    columns = decoded - data.draw(st.integers(0, min(decoded - 1, 3))) if combine == "concat" else decoded
    rotation = rng.standard_normal((decoded, decoded)).astype(np.float32) if data.draw(st.booleans()) else None
    records = pack_codes(rng.integers(0, words, (n, m)), bits)
    table = CodebookTable(records, columns, m, bits, combine, codebooks=books, rotation=rotation)
    assert_agrees(table, level, rng, exact=rotation is None)


@each_level
@pytest.mark.parametrize("bits", [7, 8])
def test_a_code_past_its_codebook(level: int, bits: int) -> None:
    codes = np.full((10, 3), 99)
    codes[6, 1] = 100
    books = np.ones((3, 100, 4), np.float32)
    table = CodebookTable(pack_codes(codes, bits), 12, 3, bits, codebooks=books)
    with at_level(level):
        assert table.lookup([0, 9]).shape == (2, 12)
        with pytest.raises(TableError, match="the table is damaged") as native:
            table.lookup([0, 6])
        with pytest.raises(TableError, match="the table is damaged"):
            table.bag([0, 6], [0])
    with twin(), pytest.raises(TableError) as plain:
        table.lookup([0, 6])
    assert str(native.value) == str(plain.value)


@each_level
def test_codebooks_that_are_not_contiguous(level: int) -> None:
    rng = np.random.default_rng(0)
    books = np.asfortranarray(rng.standard_normal((3, 16, 5)).astype(np.float32))
    table = CodebookTable(pack_codes(rng.integers(0, 16, (20, 3)), 4), 15, 3, 4, codebooks=books)
    assert_agrees(table, level, rng)


@each_level
@pytest.mark.parametrize("columns", [1, 16, 64])
def test_factors_of_any_format(level: int, columns: int) -> None:
    rng = np.random.default_rng(columns)
    for values in (dense_table(rng, 50, 8), scalar_table(rng, 50, 8, 16)):
        for basis in (dense_table(rng, 8, columns), scalar_table(rng, 8, columns, 256)):
            assert_agrees(FactoredTable(values, basis=basis), level, rng, exact=False)


def partitioned(rng: np.random.Generator, n: int, columns: int, parts: int) -> PartitionedTable:
    part = rng.integers(0, parts, n).astype(np.uint8)
    part[: n // 3] = parts - 1
    sizes = np.bincount(part, minlength=parts)
    tables: list[CompressedTable] = [
        dense_table(rng, int(size), columns, "float16") if index % 2 else scalar_table(rng, int(size), columns, 16)
        for index, size in enumerate(sizes)
    ]
    return PartitionedTable.from_parts(part, tables)


@each_level
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 1200), columns=st.integers(1, 40), parts=st.sampled_from([1, 2, 5, 256]), seed=st.integers(0, 99)
)
def test_partitions(level: int, n: int, columns: int, parts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert_agrees(partitioned(rng, n, columns, parts), level, rng)


@each_level
def test_damaged_partitions(level: int) -> None:
    rng = np.random.default_rng(0)
    whole = partitioned(rng, 600, 8, 3)
    part, before = whole.part.copy(), whole.before.copy()
    part[5] = 3
    before[1] = 10**6
    broken = {5: PartitionedTable(part, before=whole.before, parts=whole.parts)}
    broken[300] = PartitionedTable(whole.part, before=before, parts=whole.parts)
    broken[301] = PartitionedTable(whole.part, before=-before, parts=whole.parts)
    for row, table in broken.items():
        with at_level(level), pytest.raises(TableError, match="the table is damaged") as native:
            table.lookup([1, row])
        with twin(), pytest.raises(TableError) as plain:
            table.lookup([1, row])
        assert str(native.value) == str(plain.value)


@each_level
def test_partitions_within_partitions(level: int) -> None:
    rng = np.random.default_rng(0)
    inner = partitioned(rng, 300, 8, 3)
    part = rng.permutation(np.repeat([0, 1], [300, 100])).astype(np.uint8)
    table = PartitionedTable.from_parts(part, [inner, dense_table(rng, 100, 8)])
    assert_agrees(table, level, rng)


@each_level
def test_bags_of_a_format_without_a_kernel(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pintsize.formats._bags._BLOCK_VALUES", 100)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 24)).astype(np.float32)
    assert_agrees(SparseTable.from_kept(rows, np.abs(rows) > 1), level, rng)
