"""What holds for every method that ends in one ScalarTable: odd tables, outliers, streams, repeats."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize import kernels
from pintsize.errors import TableError
from pintsize.methods._scalar_codes import ScaleOverflow, row_sums, unit_for
from pintsize.methods.base import PostTraining, in_memory
from pintsize.methods.spec import parse
from pintsize.table import EmbeddingTable

SPECS = [
    *(f"{name}:bits={bits}" for name in ("integer", "rotated", "rabitq") for bits in range(1, 9)),
    *(f"integer:bits={bits},clip=mse" for bits in (1, 2, 4, 8)),
    "integer:bits=3,clip=mse,group=5",
    "integer:bits=4,group=7",
    "rabitq:bits=1,rotate=false",
    "rabitq:bits=3,rotate=false",
    "binary",
    "ternary",
    "ternary:packing=bits",
]
OFTEN = [
    "integer:bits=4",
    "integer:bits=2,clip=mse",
    "rotated:bits=2",
    "rabitq:bits=1",
    "rabitq:bits=3",
    "binary",
    "ternary",
]


def compressed(spec: str, rows: Any, seed: int = 0) -> Any:
    method = parse(spec)
    assert isinstance(method, PostTraining)
    return method.compress(rows if isinstance(rows, EmbeddingTable) else EmbeddingTable(rows), seed=seed)


def served(spec: str, rows: Any) -> Any:
    table = compressed(spec, rows)
    table.validate()
    return table.lookup(np.arange(table.num_embeddings))


def relative_error(spec: str, rows: Any) -> float:
    return float(((served(spec, rows) - rows) ** 2).sum() / (rows**2).sum())


def gaussian(n: int = 2000, d: int = 64) -> Any:
    return np.random.default_rng(1).standard_normal((n, d)).astype(np.float32)


def heavy(n: int = 2000, d: int = 64) -> Any:
    return np.random.default_rng(2).standard_t(2.5, (n, d)).astype(np.float32)


class Stream:
    """Rows that can be asked for in slices only."""

    def __init__(self, rows: Any) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, key: slice) -> Any:
        assert isinstance(key, slice)
        return self._rows[key].copy()


@pytest.mark.parametrize("rows", [gaussian(), heavy()], ids=["gaussian", "heavy"])
@pytest.mark.parametrize("spec", ["integer:bits={}", "integer:bits={},clip=mse", "rotated:bits={}", "rabitq:bits={}"])
def test_error_falls_with_bits(spec: str, rows: Any) -> None:
    errors = [relative_error(spec.format(bits), rows[:500]) for bits in range(1, 9)]
    assert all(more < 0.5 * fewer for fewer, more in itertools.pairwise(errors)), errors
    assert errors[-1] < 1e-4


@pytest.mark.parametrize("rows", [gaussian(), heavy()], ids=["gaussian", "heavy"])
def test_order_of_methods_at_two_bits(rows: Any) -> None:
    rabitq, rotated = relative_error("rabitq:bits=2", rows), relative_error("rotated:bits=2", rows)
    assert rabitq < rotated < relative_error("integer:bits=2", rows)
    assert rabitq < 0.12


def test_without_rotation_heavy_rows_lose_more() -> None:
    assert relative_error("rabitq:bits=4", heavy()) < 0.5 * relative_error("rabitq:bits=4,rotate=false", heavy())


@pytest.mark.parametrize("spec", SPECS)
def test_odd_tables_are_served_finite_and_close(spec: str) -> None:
    # The unbiased one-bit scale and the ends of a two-level range may lie further from a row than zero does.
    bound = 5.0 if spec.startswith(("rabitq:bits=1", "integer:bits=1")) else 1.01
    for shape in ((0, 5), (1, 1), (1, 40), (7, 1), (3, 16), (5, 19)):
        for scale in (0.0, 1e-38, 1e-20, 1.0, 1e30):
            rows = (np.random.default_rng(3).standard_normal(shape) * scale).astype(np.float32)
            result = served(spec, rows)
            assert result.shape == shape and result.dtype == np.float32
            assert np.isfinite(result).all()
            error = np.linalg.norm(result.astype(np.float64) - rows, axis=1)
            assert (error <= bound * np.linalg.norm(rows.astype(np.float64), axis=1)).all(), (shape, scale)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if not spec.startswith(("rabitq", "rotated"))])
def test_constant_rows_are_near_exact(spec: str) -> None:
    for value in (0.0, 0.3, -1e-38, 1e30, -7.7e-5, 65519.0):
        rows = np.full((3, 21), value, np.float32)
        np.testing.assert_allclose(served(spec, rows), rows, rtol=2e-6 if spec.startswith("integer") else 1e-3)


@pytest.mark.parametrize("spec", SPECS)
def test_a_single_column_is_near_exact(spec: str) -> None:
    rows = gaussian(50, 1)
    np.testing.assert_allclose(served(spec, rows), rows, rtol=6e-3)


@pytest.mark.parametrize("spec", OFTEN)
@pytest.mark.parametrize("factor", [10.0, 1e6, 1e12])
def test_an_outlier_outside_the_sample(spec: str, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = gaussian(500, 24)
    rows[400] *= np.float32(factor)
    monkeypatch.setattr(EmbeddingTable, "sample", lambda self, size, seed=0: rows[:100])
    monkeypatch.setattr("pintsize.table.chunk_rows", lambda columns: 64)
    method = parse(spec)
    assert isinstance(method, PostTraining)
    table = method.compress(EmbeddingTable(Stream(rows)), allocate=in_memory)
    result = table.lookup(np.arange(500))
    assert np.isfinite(result).all()
    alone = served(spec, rows[400:401])
    np.testing.assert_allclose(result[400], alone[0], rtol=2e-3, atol=2e-3 * np.abs(rows[400]).max())
    if factor <= 1e6:
        np.testing.assert_allclose(result[:400], served(spec, rows[:400]), rtol=0.05, atol=0.06)


@pytest.mark.parametrize("spec", OFTEN)
def test_an_encoder_says_so_when_new_rows_are_too_large(spec: str) -> None:
    method = parse(spec)
    assert isinstance(method, PostTraining)
    encoder = method.fit(EmbeddingTable(gaussian(10, 8)))
    with pytest.raises(ScaleOverflow, match="fit the method again"):
        encoder.encode(gaussian(3, 8) * np.float32(1e9))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("spec", OFTEN)
def test_values_that_no_encoder_takes(spec: str, native: bool) -> None:
    before = kernels.use(kernels.native() if native else None)
    try:
        with pytest.raises(TableError, match="scale the table"):
            compressed(spec, np.full((2, 3), 3e38, np.float32))
    finally:
        kernels.use(before)


@pytest.mark.parametrize("spec", SPECS)
def test_streaming_gives_the_same_bytes(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = heavy(300, 20)
    whole = compressed(spec, rows)
    monkeypatch.setattr("pintsize.table.chunk_rows", lambda columns: 37)
    streamed = compressed(spec, EmbeddingTable(Stream(rows)))
    assert streamed.header() == whole.header()
    for name, array in whole.tensors().items():
        np.testing.assert_array_equal(streamed.tensors()[name], array)


@pytest.mark.parametrize("spec", SPECS)
def test_rows_are_encoded_alone_as_in_company(spec: str) -> None:
    rows = gaussian(40, 13)
    method = parse(spec)
    assert isinstance(method, PostTraining)
    encoder = method.fit(EmbeddingTable(rows))
    together: Any = encoder.encode(rows)
    for start, stop in ((0, 1), (9, 9), (11, 30)):
        part: Any = encoder.encode(rows[start:stop])
        np.testing.assert_array_equal(part.records, together.records[start:stop])


def test_the_seed_turns_the_rotation_only() -> None:
    rows = gaussian(50, 32)
    first, again, other = (compressed("rotated:bits=2", rows, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.records, again.records)
    assert (first.records != other.records).any()
    assert (compressed("binary", rows, 4).records == compressed("binary", rows, 5).records).all()


@pytest.mark.skipif(kernels.native() is None, reason="the kernels are not compiled here: there is nothing to compare")
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([spec for spec in SPECS if spec.startswith(("integer", "rotated", "rabitq"))]),
    st.integers(0, 19),
    st.integers(1, 150),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["gaussian", "heavy", "sparse", "wide", "flat"]),
)
def test_native_bytes_are_the_twins(spec: str, n: int, d: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(2, (n, d)).astype(np.float32)
    if kind == "sparse":
        rows[rng.random((n, d)) < 0.7] = 0
    if kind == "wide":
        rows *= np.exp(12 * rng.standard_normal((n, 1))).astype(np.float32)
    if kind == "flat":
        rows = np.repeat(rows[:, :1], d, axis=1)
    module = kernels.native()
    level = module.levels().index(module.level())
    try:
        kernels.use(None)
        twin = compressed(spec, rows)
        kernels.use(module)
        for index in range(len(module.levels())):
            module.force_level(index)
            np.testing.assert_array_equal(compressed(spec, rows).records, twin.records)
    finally:
        module.force_level(level)
        kernels.use(module)


def test_threads_change_nothing() -> None:
    module = kernels.native()
    if module is None:
        pytest.xfail("one thread only: the kernels are not compiled here")
    rows = gaussian(30000, 16)
    before = module.threads()
    try:
        results = []
        for count in (1, 3):
            module.set_threads(count)
            results.append(compressed("rabitq:bits=2", rows).records)
    finally:
        module.set_threads(before)
    np.testing.assert_array_equal(*results)


@given(st.floats(2.0**-149, 2.0**127), st.sampled_from([8, 14]))
def test_the_unit_brings_the_largest_value_where_it_should_be(largest: float, exponent: int) -> None:
    unit = unit_for(largest, exponent)
    assert np.frexp(unit)[0] == 0.5
    if largest > 2.0**-110:
        assert 2.0 ** (exponent - 1) <= largest / unit < 2.0**exponent
    assert unit_for(0.0, exponent) == 1.0


@given(st.integers(1, 40), st.integers(0, 9))
def test_row_sums_do_not_depend_on_the_company(columns: int, n: int) -> None:
    values = np.random.default_rng(columns).standard_normal((columns, n)).astype(np.float32)
    sums = row_sums(values)
    np.testing.assert_allclose(sums, values.sum(axis=0, dtype=np.float64), rtol=1e-4, atol=1e-5)
    for row in range(n):
        assert row_sums(np.ascontiguousarray(values[:, row : row + 1]))[0] == sums[row]
