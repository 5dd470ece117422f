"""Bits by popularity and error: the budget is exact, and the bits go where they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.errors import MethodError
from pintsize.methods._bit_allocation import allocate_bits
from pintsize.methods.mixed_precision import MixedPrecision, _Coding
from pintsize.methods.rabitq import Rabitq
from pintsize.methods.spec import parse
from pintsize.table import EmbeddingTable


def uneven(n: int = 3000, d: int = 32, counts: bool = False) -> EmbeddingTable:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, d)) * np.exp(rng.standard_normal((n, 1)))
    return EmbeddingTable(
        rows.astype(np.float32), counts=rng.permutation(1e6 / np.arange(1, n + 1)) if counts else None
    )


def weighted_error(compressed: Any, table: EmbeddingTable, weights: Any = None) -> float:
    served = compressed.lookup(np.arange(table.num_embeddings))
    errors = ((served - table.array()) ** 2).sum(axis=1)
    return float(np.average(errors, weights=weights))


@pytest.mark.parametrize("ratio", [1, 4, 8, 11.3, 16, 40, 100])
@pytest.mark.parametrize("counts", [False, True])
def test_the_budget_is_kept_and_used(ratio: float, counts: bool) -> None:
    table = uneven(counts=counts)
    compressed = MixedPrecision(ratio=ratio).compress(table)
    compressed.validate()
    budget = table.nbytes_float32 / ratio
    assert compressed.nbytes <= budget
    if 4 <= ratio < 50:
        assert compressed.nbytes > 0.97 * budget


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 40), st.floats(1, 80), st.booleans())
def test_any_table_keeps_the_budget_or_learns_what_it_can_have(n: int, d: int, ratio: float, counts: bool) -> None:
    rng = np.random.default_rng(n * 41 + d)
    table = EmbeddingTable(
        rng.standard_normal((n, d)).astype(np.float32), counts=rng.integers(0, 3, n) if counts else None
    )
    try:
        compressed = MixedPrecision(ratio=ratio, groups=7).compress(table)
    except MethodError as error:
        reachable = float(str(error).rpartition("ratio=")[2])
        assert reachable < ratio
        compressed = MixedPrecision(ratio=reachable, groups=7).compress(table)
        ratio = reachable
    compressed.validate()
    assert compressed.num_embeddings == n
    assert compressed.nbytes <= table.nbytes_float32 / ratio
    assert np.isfinite(compressed.lookup(np.arange(n))).all()


def test_uneven_rows_lose_less_than_under_one_width() -> None:
    table = uneven()
    uniform = Rabitq(bits=2).compress(table)
    mixed = MixedPrecision(ratio=table.nbytes_float32 / uniform.nbytes).compress(table)
    assert weighted_error(mixed, table) < 0.5 * weighted_error(uniform, table)


def test_used_rows_get_more_bits() -> None:
    rng = np.random.default_rng(0)
    counts = rng.permutation(1e6 / np.arange(1, 2001))
    table = EmbeddingTable(rng.standard_normal((2000, 32)).astype(np.float32), counts=counts)
    compressed = MixedPrecision(ratio=12, alpha=1).compress(table)
    errors = ((compressed.lookup(np.arange(2000)) - table.array()) ** 2).sum(axis=1)
    used = table.order_by_count
    assert errors[used[:200]].mean() < 0.2 * errors[used[-200:]].mean()
    plain = MixedPrecision(ratio=12, alpha=0).compress(table)
    assert weighted_error(compressed, table, counts) < 0.5 * weighted_error(plain, table, counts)


def test_given_bits_go_to_groups_in_order_of_use() -> None:
    counts = np.arange(12.0)
    rows = np.random.default_rng(0).standard_normal((12, 16)).astype(np.float32)
    compressed: Any = MixedPrecision(bits=(8, 2, 0)).compress(EmbeddingTable(rows, counts=counts))
    assert compressed.part.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [part.tag for part in compressed.parts] == ["codebook", "scalar", "scalar"]
    np.testing.assert_allclose(compressed.lookup([0, 3]), np.tile(rows[:4].mean(axis=0), (2, 1)), rtol=1e-5)
    np.testing.assert_allclose(compressed.lookup(np.arange(8, 12)), rows[8:], atol=0.03)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 700])
@pytest.mark.parametrize("d", [1, 7, 16, 50])
def test_the_planned_bytes_are_the_stored_bytes(n: int, d: int) -> None:
    table = EmbeddingTable(np.random.default_rng(n).standard_normal((n, d)).astype(np.float32))
    compressed: Any = MixedPrecision(bits=(7, 3, 1, 0)).compress(table)
    from pintsize.formats._rotation import random_rotation

    held = np.zeros(9, np.int64)
    for bits, group in zip((7, 3, 1, 0), np.array_split(np.arange(n), 4), strict=True):
        held[bits] += len(group)
    assert compressed.nbytes == _Coding(d, random_rotation(d, 0)).total(held)


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e30])
def test_odd_scales_and_empty_tables(scale: float) -> None:
    rows = (np.random.default_rng(0).standard_normal((500, 20)) * scale).astype(np.float32)
    served = MixedPrecision(ratio=8).compress(EmbeddingTable(rows)).lookup(np.arange(500))
    assert np.isfinite(served).all()
    assert np.linalg.norm(served / (scale or 1)) <= 1.01 * np.linalg.norm(rows / (scale or 1))
    empty = MixedPrecision(ratio=8).compress(EmbeddingTable(np.empty((0, 20), np.float32)))
    assert empty.nbytes == 0 and empty.num_embeddings == 0


def test_specs_hold_lists() -> None:
    method = parse("mixed_precision:bits=[8,4,0],alpha=1.0")
    assert method == MixedPrecision(bits=(8, 4, 0), alpha=1)
    assert parse(str(method)) == method


@pytest.mark.parametrize("spec", ["mixed_precision", "mixed_precision:ratio=2,bits=[1]", "mixed_precision:bits=[9]"])
def test_one_budget_is_needed(spec: str) -> None:
    with pytest.raises(MethodError):
        parse(spec)


def test_allocation_prefers_one_width_where_the_map_would_cost_more() -> None:
    def total(held: Any) -> int:
        return int(held @ [0, 1, 2]) + (1000 if (held > 0).sum() > 1 else 0)

    sizes, errors = np.array([10, 10]), np.array([[4.0, 2.0, 1.0], [4.0, 2.0, 1.0]])
    assert allocate_bits(sizes, errors, np.array([0, 1, 2]), total, 35).tolist() == [1, 1]
    assert allocate_bits(sizes, errors, np.array([0, 1, 2]), total, 40).tolist() == [2, 2]
    assert allocate_bits(sizes, errors, np.array([0, 1, 2]), total, -1) is None
