"""Indexes rank as the tables do, and come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

import pintsize as pz
from pintsize.errors import TableError
from pintsize.formats.dense import DenseTable
from pintsize.formats.scalar import ScalarTable

faiss = pytest.importorskip("faiss")
from pintsize.integrations.faiss import (  # noqa: E402
    binary_queries,
    build_ivf,
    from_faiss,
    to_binary,
    to_faiss,
    to_pq_fast_scan,
    to_rabitq,
)

N, D = 2000, 32
RNG = np.random.default_rng(0)
ROWS = (RNG.standard_normal((40, D))[RNG.integers(0, 40, N)] + 0.4 * RNG.standard_normal((N, D))).astype(np.float32)
QUERIES = ROWS[:25] + 0.1 * RNG.standard_normal((25, D)).astype(np.float32)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / truth.shape[1] for a, b in zip(found, truth, strict=True)]))


def agrees(index, table, tolerance: float = 1e-4) -> None:
    assert isinstance(index, faiss.Index) and index.metric_type == faiss.METRIC_INNER_PRODUCT
    assert (index.ntotal, index.d) == (table.num_embeddings, table.embedding_dim)
    scores, rows = index.search(QUERIES, 10)
    wanted, _ = table.topk(QUERIES, 10)
    np.testing.assert_allclose(scores, wanted, rtol=tolerance, atol=tolerance)
    own = (table.lookup(rows) * QUERIES[:, None, :]).sum(axis=2)
    np.testing.assert_allclose(scores, own, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "spec", ["pq:codebooks=8", "pq:codebooks=8,codewords=16", "pq:codebooks=4,codewords=64", "opq:codebooks=8"]
)
def test_product_codebooks(spec: str) -> None:
    table = pz.compress(ROWS, spec)
    index = to_faiss(table)
    agrees(index, table)
    back = from_faiss(index)
    np.testing.assert_allclose(back.lookup(np.arange(N)), table.lookup(np.arange(N)), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(back.records, table.records)


def test_fast_scan() -> None:
    for spec in ("pq:codebooks=16,codewords=16", "opq:codebooks=16,codewords=16"):
        table = pz.compress(ROWS, spec)
        index = to_pq_fast_scan(table)
        assert recall(index.search(QUERIES, 20)[1], table.topk(QUERIES, 20)[1]) > 0.8
    with pytest.raises(TableError, match="4 bits"):
        to_pq_fast_scan(pz.compress(ROWS, "pq:codebooks=8"))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dense(dtype: str) -> None:
    table = DenseTable(ROWS.astype(dtype), dtype)
    index = to_faiss(table)
    agrees(index, table)
    np.testing.assert_array_equal(from_faiss(index).lookup(np.arange(N)), table.lookup(np.arange(N)))


@pytest.mark.parametrize("levels", [16, 256])
@pytest.mark.parametrize("columns", [D, D - 1])
def test_codes_without_scales(levels: int, columns: int) -> None:
    from pintsize.formats._packing import pack

    codes = np.random.default_rng(1).integers(0, levels, (N, columns)).astype(np.uint8)
    table = ScalarTable(pack(codes, levels), columns, levels, columns, "none", False, -levels / 2, 2.0**-5)
    decoded = to_faiss(table).reconstruct_n(0, N)
    np.testing.assert_allclose(decoded, table.lookup(np.arange(N)), rtol=0, atol=levels * 2.0**-5 * 1e-6)


@pytest.mark.parametrize("spec", ["rabitq:bits=1", "binary"])
def test_one_bit(spec: str) -> None:
    table = pz.compress(ROWS, spec)
    index = to_binary(table)
    bits = binary_queries(table, QUERIES)
    distances, rows = index.search(bits, 5)
    stored = np.sign(table._unrotated.lookup(rows))
    from pintsize.formats._rotation import rotate

    turned = np.sign(QUERIES if table.rotation is None else rotate(QUERIES, table.rotation))
    np.testing.assert_array_equal((stored * turned[:, None, :]).sum(axis=2), D - 2 * distances)
    rabitq = to_rabitq(table)
    assert rabitq.metric_type == faiss.METRIC_INNER_PRODUCT
    inner = faiss.downcast_index(rabitq.index) if table.rotation is not None else rabitq
    inner.qb = 8
    assert recall(rabitq.search(QUERIES, 20)[1], table.topk(QUERIES, 20)[1]) > 0.9


def test_inverted_files() -> None:
    for spec in ("pq:codebooks=8", "opq:codebooks=8", "integer:bits=8"):
        table = pz.compress(ROWS, spec)
        index = build_ivf(table, 16)
        assert isinstance(index, faiss.Index) and index.ntotal == N
        faiss.extract_index_ivf(index).nprobe = 16
        assert recall(index.search(QUERIES, 20)[1], table.topk(QUERIES, 20)[1]) > 0.95
    with pytest.raises(TableError, match="nlist"):
        build_ivf(table, 0)


def test_what_faiss_has_no_code_for() -> None:
    with pytest.raises(TableError, match="no scalar rows"):
        to_faiss(pz.compress(ROWS, "integer:bits=8"))
    with pytest.raises(TableError, match="HNSW"):
        from_faiss(faiss.IndexHNSWFlat(D, 8))
    with pytest.raises(TableError, match="signs"):
        to_rabitq(pz.compress(ROWS, "rabitq:bits=2"))


def test_uniform_codes_come_back() -> None:
    index = faiss.IndexScalarQuantizer(D, faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT)
    index.train(ROWS)
    index.add(ROWS)
    back = from_faiss(index)
    # Step and offset are rounded to float16: 2^-11 of the range, and of the offset.
    bound = 2.0**-11 * (np.ptp(ROWS) + np.abs(ROWS).max())
    np.testing.assert_allclose(back.lookup(np.arange(N)), index.reconstruct_n(0, N), rtol=0, atol=bound)
