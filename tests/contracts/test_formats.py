"""What every format promises, over every format."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize import kernels
from pintsize.errors import TableError
from pintsize.formats import FORMATS
from pintsize.formats.base import CompressedTable
from tests.contracts.format_cases import CASES

N, D = 700, 37
# A sum of products may be taken in another order; everything else is the same to the bit.
INEXACT = ("rotated", "factored", "deep")


@pytest.fixture(params=sorted(CASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def table(name: str) -> CompressedTable:
    return CASES[name](N, D, np.random.default_rng(3))


@pytest.fixture(params=["native", "twin"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "native":
        if kernels.native() is None:
            pytest.fail("the compiled kernels are not built; run make native")
        yield "native"
        return
    before = kernels.use(None)
    yield "twin"
    kernels.use(before)


def twin_rows(table: CompressedTable, rows: np.ndarray) -> np.ndarray:
    before = kernels.use(None)
    try:
        return table.lookup(rows)
    finally:
        kernels.use(before)


def assert_same(got: np.ndarray, want: np.ndarray, name: str) -> None:
    if any(part in name for part in INEXACT):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(want).max(initial=0))))
    else:
        np.testing.assert_array_equal(got, want)


def test_every_format_has_a_case() -> None:
    tags = {CASES[name](4, 6, np.random.default_rng(0)).tag for name in CASES}
    assert tags == set(FORMATS)


def test_lookup_agrees_with_the_twin(table: CompressedTable, name: str) -> None:
    rows = np.random.default_rng(0).integers(0, N, 500)
    assert_same(table.lookup(rows), twin_rows(table, rows), name)
    assert_same(table.lookup(np.arange(N)[::-1]), twin_rows(table, np.arange(N)[::-1]), name)


def test_a_row_does_not_depend_on_its_neighbours(table: CompressedTable, name: str, path: str) -> None:
    rows = np.array([N - 1, 0, 5, 5])
    each = np.concatenate([table.lookup(rows[i : i + 1]) for i in range(len(rows))])
    assert_same(table.lookup(rows), each, name)


def test_twin_runs_on_torch(table: CompressedTable, name: str) -> None:
    rows = np.arange(0, N, 3)
    on_torch = table.map_arrays(lambda a: torch.from_numpy(np.array(a)))
    got = on_torch.lookup(torch.from_numpy(rows))
    assert isinstance(got, torch.Tensor)
    assert_same(got.numpy(), twin_rows(table, rows), name)
    back = on_torch.to("cpu")
    assert all(isinstance(a, np.ndarray) for a in back.tensors().values())
    assert_same(back.lookup(rows), twin_rows(table, rows), name)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_rows_of_any_integer_dtype_and_shape(table: CompressedTable, name: str, dtype: type, path: str) -> None:
    rows = np.array([[1, 2, 3], [100, 0, 1]], dtype)
    got = table.lookup(rows)
    assert got.shape == (2, 3, D)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, table.lookup(rows.astype(np.int64)))
    assert_same(got[1, 0], table.lookup(np.int64(100)), name)
    np.testing.assert_array_equal(got, table.lookup(rows.tolist()))
    np.testing.assert_array_equal(table.lookup(np.asfortranarray(rows)), got)


def test_kind_in_is_kind_out(table: CompressedTable) -> None:
    rows = torch.tensor([[1, 2], [3, 4]])
    got = table.lookup(rows)
    assert isinstance(got, torch.Tensor)
    np.testing.assert_array_equal(got.numpy(), table.lookup(rows.numpy()))
    assert isinstance(table.scores(torch.zeros(2, D)), torch.Tensor)
    assert all(isinstance(part, torch.Tensor) for part in table.topk(torch.zeros(2, D), 3))


def test_no_rows(table: CompressedTable, path: str) -> None:
    assert table.lookup(np.empty(0, np.int64)).shape == (0, D)
    assert table.lookup([]).shape == (0, D)
    assert table.bag(np.empty(0, np.int64), np.zeros(3, np.int64)).tolist() == np.zeros((3, D)).tolist()
    assert table.scores(np.empty((0, D), np.float32)).shape == (0, N)
    assert table.scores(np.ones((2, D), np.float32), slice(5, 5)).shape == (2, 0)


@pytest.mark.parametrize("row", [-1, N, 2**40, -(2**40)])
def test_rows_out_of_range(table: CompressedTable, row: int, path: str) -> None:
    with pytest.raises(IndexError, match=str(row)):
        table.lookup([0, row, 1])
    with pytest.raises(IndexError, match=str(row)):
        table.bag(np.array([0, row, 1]), np.array([0]))


def test_rows_that_are_not_integers(table: CompressedTable) -> None:
    for rows in ([0.5], [True], ["a"]):
        with pytest.raises(TableError, match="integers"):
            table.lookup(np.array(rows))


def test_out_is_written_and_checked(table: CompressedTable, path: str) -> None:
    out = np.full((2, 2, D), np.nan, np.float32)
    rows = np.array([[3, 1], [2, 2]])
    assert table.lookup(rows, out=out) is out
    np.testing.assert_array_equal(out, table.lookup(rows))
    tensor = torch.full((2, 2, D), float("nan"))
    assert table.lookup(torch.from_numpy(rows), out=tensor) is tensor
    np.testing.assert_array_equal(tensor.numpy(), out)
    bad = [out[:1], out.astype(np.float64), np.empty((2, D, 2), np.float32).swapaxes(1, 2), tensor]
    for wrong in bad:
        with pytest.raises(TableError, match="out"):
            table.lookup(rows, out=wrong)


@pytest.mark.parametrize("mode", ["sum", "mean", "weighted"])
def test_bags_are_sums_of_lookups(table: CompressedTable, mode: str, path: str) -> None:
    rng = np.random.default_rng(5)
    rows, offsets = rng.integers(0, N, 300), np.array([0, 0, 1, 40, 40, 200, 300])
    weights = rng.standard_normal(300).astype(np.float32) if mode == "weighted" else None
    got = table.bag(rows, offsets, mode="mean" if mode == "mean" else "sum", weights=weights)
    want = torch.nn.functional.embedding_bag(
        torch.from_numpy(rows),
        torch.from_numpy(table.lookup(np.arange(N))),
        torch.from_numpy(offsets),
        mode="mean" if mode == "mean" else "sum",
        per_sample_weights=None if weights is None else torch.from_numpy(weights),
    ).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6 * float(np.abs(want).max()) + 1e-12)


def test_bags_refuse_what_does_not_fit(table: CompressedTable) -> None:
    rows = np.arange(4)
    for offsets in ([1, 2], [0, 3, 2], [0, 5], [0.5], [[0]]):
        with pytest.raises(TableError):
            table.bag(rows, np.array(offsets))
    with pytest.raises(TableError, match="weights"):
        table.bag(rows, [0], weights=np.ones(3, np.float32))
    with pytest.raises(TableError, match="weights"):
        table.bag(rows, [0], mode="mean", weights=np.ones(4, np.float32))
    with pytest.raises(TableError, match="mode"):
        table.bag(rows, [0], mode="max")  # type: ignore[arg-type]


def test_scores_are_inner_products(table: CompressedTable, path: str) -> None:
    queries = np.random.default_rng(1).standard_normal((9, D)).astype(np.float32)
    want = queries @ table.lookup(np.arange(N)).T
    scale = float(np.abs(want).max())
    np.testing.assert_allclose(table.scores(queries), want, atol=1e-5 * scale)
    np.testing.assert_allclose(table.scores(queries, slice(600, None)), want[:, 600:], atol=1e-5 * scale)
    with pytest.raises(TableError, match="queries"):
        table.scores(queries[:, :-1])
    with pytest.raises(TableError, match="step"):
        table.scores(queries, slice(0, 9, 2))


def test_topk_is_exact(table: CompressedTable, path: str) -> None:
    queries = np.random.default_rng(1).standard_normal((9, D)).astype(np.float32)
    scores, rows = table.topk(queries, 10)
    full = queries @ table.lookup(np.arange(N)).T
    want = -np.sort(-full, axis=1)[:, :10]
    np.testing.assert_allclose(scores, want, atol=1e-5 * float(np.abs(full).max()))
    np.testing.assert_allclose(np.take_along_axis(full, rows, 1), want, atol=1e-5 * float(np.abs(full).max()))
    hidden = [rows[i, :4] for i in range(9)]
    _, others = table.topk(queries, 10, exclude=hidden)
    assert all(not set(h) & set(o) for h, o in zip(hidden, others, strict=True))
    np.testing.assert_array_equal(others[:, :6], rows[:, 4:])
    indptr = np.arange(0, 4 * 10, 4)
    np.testing.assert_array_equal(table.topk(queries, 10, exclude=(indptr, np.concatenate(hidden)))[1], others)


def test_topk_fills_up_when_rows_run_out(table: CompressedTable) -> None:
    scores, rows = table.topk(np.ones((1, D), np.float32), 3, exclude=[np.arange(N - 2)])
    assert set(rows[0, :2]) == {N - 2, N - 1}
    assert rows[0, 2] == -1
    assert np.isneginf(scores[0, 2])
    for k in (0, N + 1, 2.5):
        with pytest.raises(TableError, match="k is"):
            table.topk(np.ones((1, D), np.float32), k)  # type: ignore[arg-type]


def test_bytes_are_those_of_the_arrays(table: CompressedTable) -> None:
    assert table.nbytes == sum(a.nbytes for a in table.tensors().values())


def test_comes_back_from_header_and_tensors(table: CompressedTable) -> None:
    header = json.loads(json.dumps(table.header()))
    again = CompressedTable.from_tensors(header, table.tensors())
    assert type(again) is type(table)
    assert again.header() == table.header()
    np.testing.assert_array_equal(again.lookup(np.arange(N)), table.lookup(np.arange(N)))


def test_refuses_missing_and_unknown_parts(table: CompressedTable) -> None:
    header, tensors = table.header(), table.tensors()
    for name in tensors:
        with pytest.raises(TableError):
            CompressedTable.from_tensors(header, {k: v for k, v in tensors.items() if k != name})
    with pytest.raises(TableError, match="unknown"):
        CompressedTable.from_tensors({**header, "surprise": 1}, tensors)
    with pytest.raises(TableError):
        CompressedTable.from_tensors(header, {**tensors, "surprise": np.zeros(3)})
    with pytest.raises(TableError, match="format"):
        CompressedTable.from_tensors({**header, "format": "nonsense"}, tensors)


def test_every_array_of_another_dtype_or_dimension_is_refused(table: CompressedTable) -> None:
    header, tensors = table.header(), table.tensors()
    for name, array in tensors.items():
        for wrong in (array.astype(np.complex64), array[None]):
            with pytest.raises(TableError):
                CompressedTable.from_tensors(header, {**tensors, name: wrong})


def test_valid_tables_are_valid(table: CompressedTable) -> None:
    table.validate()


def test_parts_put_together(name: str) -> None:
    rng = np.random.default_rng(4)
    table = CASES[name](50, D, rng)
    if type(table).tag in ("dense", "scalar", "codebook"):
        joined = CompressedTable.concat([table, table, table])
        joined.validate()
        want = np.concatenate([table.lookup(np.arange(50))] * 3)
        assert_same(joined.lookup(np.arange(150)), want, name)
    with pytest.raises(TableError):
        CompressedTable.concat([])


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=12, deadline=None)
@given(n=st.integers(1, 520), d=st.integers(2, 140), seed=st.integers(0, 2**16))
def test_odd_shapes(name: str, n: int, d: int, seed: int) -> None:
    table = CASES[name](n, d, np.random.default_rng(seed))
    table.validate()
    rows = np.random.default_rng(seed).integers(0, n, 33)
    assert_same(table.lookup(rows), twin_rows(table, rows), name)
    assert np.isfinite(table.lookup(rows)).all()


def test_a_table_without_rows(name: str, path: str) -> None:
    table = CASES[name](0, D, np.random.default_rng(0))
    table.validate()
    assert table.num_embeddings == 0
    assert table.lookup([]).shape == (0, D)
    with pytest.raises(IndexError, match="no rows"):
        table.lookup([0])
