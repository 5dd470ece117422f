"""Product, optimised product and residual quantization."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.errors import MethodError
from pintsize.formats.codebook import CodebookTable
from pintsize.methods.opq import Opq
from pintsize.methods.pq import Pq
from pintsize.methods.residual import Residual
from pintsize.methods.spec import parse
from pintsize.table import EmbeddingTable
from tests.methods.tables import Floats, decaying, served, squared_error

faiss = pytest.importorskip("faiss")
ROWS = decaying(600, 24)


def compressed(method: Pq | Opq | Residual, rows: Floats, seed: int = 0) -> CodebookTable:
    made = method.compress(EmbeddingTable(rows), seed=seed)
    assert isinstance(made, CodebookTable)
    made.validate()
    return made


def test_pq_takes_the_nearest_codeword_of_each_piece() -> None:
    made = compressed(Pq(codebooks=5, codewords=16), ROWS)
    wide = np.zeros((600, 25), np.float32)
    wide[:, :24] = ROWS
    books = made.codebooks.astype(np.float64)
    for j in range(5):
        piece = wide[:, 5 * j : 5 * j + 5]
        distances = np.square(piece[:, None, :] - books[j][None]).sum(axis=2)
        nearest = books[j][distances.argmin(axis=1)]
        width = min(5, 24 - 5 * j)
        np.testing.assert_allclose(served(made)[:, 5 * j : 5 * j + 5], nearest[:, :width], atol=1e-4)


@pytest.mark.parametrize("codewords", [16, 64, 256])
def test_pq_is_as_good_as_faiss(codewords: int) -> None:
    quantizer = faiss.ProductQuantizer(24, 6, codewords.bit_length() - 1)
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(ROWS)
    theirs = np.square(quantizer.decode(quantizer.compute_codes(ROWS)) - ROWS).sum()
    assert squared_error(compressed(Pq(codebooks=6, codewords=codewords), ROWS), ROWS) <= 1.05 * theirs


def test_residual_is_as_good_as_faiss() -> None:
    quantizer = faiss.ResidualQuantizer(24, 3, 5)
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(ROWS)
    theirs = np.square(quantizer.decode(quantizer.compute_codes(ROWS)) - ROWS).sum()
    made = compressed(Residual(codebooks=3, codewords=32), ROWS)
    assert made.bits == 5
    assert squared_error(made, ROWS) <= 1.05 * theirs


def test_opq_gains_where_columns_are_uneven() -> None:
    rows = np.ascontiguousarray(np.random.default_rng(0).standard_normal((600, 24)) * 0.7 ** np.arange(24), np.float32)
    plain, turned = Pq(codebooks=6, codewords=16), Opq(codebooks=6, codewords=16)
    assert squared_error(compressed(turned, rows), rows) < 0.8 * squared_error(compressed(plain, rows), rows)


def test_opq_rotation_is_orthogonal() -> None:
    rotation = compressed(Opq(codebooks=5, codewords=16), ROWS).rotation
    assert rotation is not None
    assert rotation.shape == (25, 25)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(25), atol=1e-5)


@pytest.mark.parametrize("kind", [Pq, Opq, Residual])
def test_no_more_rows_than_codewords_is_exact(kind: type[Pq]) -> None:
    for n in (1, 2, 3, 16):
        made = compressed(kind(codebooks=4, codewords=16), ROWS[:n])
        np.testing.assert_allclose(served(made), ROWS[:n], atol=1e-5)
        assert made.codewords == n


@pytest.mark.parametrize("kind", [Pq, Opq, Residual])
def test_a_common_offset_costs_nothing(kind: type[Pq]) -> None:
    method = kind(codebooks=4, codewords=16)
    near, far = squared_error(compressed(method, ROWS), ROWS), squared_error(compressed(method, ROWS + 100), ROWS + 100)
    assert far <= 1.1 * near


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = faiss.omp_get_max_threads()
    yield faiss.omp_set_num_threads
    faiss.omp_set_num_threads(before)


def test_threads_do_not_matter_to_pq(threads: Callable[[int], None]) -> None:
    threads(1)
    first = compressed(Pq(codebooks=2, codewords=4), ROWS).tensors()
    threads(2)
    second = compressed(Pq(codebooks=2, codewords=4), ROWS).tensors()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@pytest.mark.parametrize("kind", [Pq, Opq, Residual])
def test_threads_do_not_matter_to_codes(kind: type[Pq], threads: Callable[[int], None]) -> None:
    encoder = kind(codebooks=4, codewords=16).fit(EmbeddingTable(ROWS))
    threads(1)
    first = encoder.encode(ROWS)
    threads(2)
    np.testing.assert_array_equal(first.tensors()["records"], encoder.encode(ROWS).tensors()["records"])


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 40), d=st.integers(1, 9), m=st.integers(1, 9), log=st.integers(1, 4), data=st.integers(0, 99))
def test_odd_shapes(n: int, d: int, m: int, log: int, data: int) -> None:
    rows = decaying(n, d, seed=data)
    made = compressed(Residual(codebooks=m, codewords=2**log), rows)
    assert served(made).shape == (n, d)
    if m <= d:
        made = compressed(Pq(codebooks=m, codewords=2**log), rows)
        assert squared_error(made, rows) <= float(np.square(rows - rows.mean(axis=0)).sum()) * 1.001 + 1e-6


def test_codewords_are_powers_of_two() -> None:
    with pytest.raises(MethodError, match="power of two"):
        parse("pq:codebooks=2,codewords=48")


def test_wide_codes() -> None:
    made = compressed(Pq(codebooks=3, codewords=512), decaying(1500, 12))
    assert made.bits == 9
    assert made.records.shape == (1500, 4)


def test_more_codebooks_than_columns_are_refused() -> None:
    with pytest.raises(MethodError, match="25 codebooks for 24 columns"):
        Pq(codebooks=25).compress(EmbeddingTable(ROWS))


@pytest.mark.parametrize(("kind", "ratio"), [(Pq, 12), (Opq, 8), (Residual, 4)])
def test_ratio_buys_the_most_codebooks(kind: type[Pq], ratio: float) -> None:
    made = compressed(kind(ratio=ratio, codewords=16), ROWS)
    assert made.nbytes <= ROWS.nbytes / ratio
    more = kind(codebooks=made.codes + 1, codewords=16).compress(EmbeddingTable(ROWS))
    assert more.nbytes > ROWS.nbytes / ratio
