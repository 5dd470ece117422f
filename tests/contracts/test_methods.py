"""What every method that compresses a trained table promises, over every registered one and each of its examples."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import pintsize as pz
from pintsize.errors import MethodError, TableError
from pintsize.methods import METHODS, method_class
from pintsize.methods.base import Method, PairMethod, PostTraining
from pintsize.methods.spec import parse
from pintsize.table import EmbeddingTable

N, D = 200, 24


def cases(kind: type[Method]) -> list[Any]:
    found = []
    for name in sorted(METHODS):
        cls = method_class(name)
        if issubclass(cls, kind):
            found += [pytest.param(cls(**fields), id=str(cls(**fields))) for fields in cls.examples]
    return found


EACH = pytest.mark.parametrize("method", cases(PostTraining))


def rows_like_embeddings(n: int = N, d: int = D, seed: int = 0) -> np.ndarray:
    """Rows near a subspace, of norms that fall by popularity, as trained tables have."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, max(1, d // 3))) @ rng.standard_normal((max(1, d // 3), d))
    rows += 0.2 * rng.standard_normal((n, d))
    return (rows * np.linspace(2, 0.5, n)[:, None] / np.sqrt(d)).astype(np.float32)


def table_of(rows: np.ndarray) -> EmbeddingTable:
    return EmbeddingTable(rows, counts=np.arange(len(rows), 0, -1) ** 2)


def same_bytes(a: pz.CompressedTable, b: pz.CompressedTable) -> bool:
    ours, theirs = a.tensors(), b.tensors()
    return a.header() == b.header() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


def relative_error(rows: np.ndarray, served: np.ndarray) -> float:
    return float(((rows - served) ** 2).sum() / (rows**2).sum())


def test_every_method_has_examples_and_says_what_it_is() -> None:
    for name in METHODS:
        cls = method_class(name)
        assert cls.name == name
        assert cls.examples
        assert cls.paper
        assert cls.__doc__
        assert cls.__module__ == f"pintsize.methods.{name}" or name in ("float16", "bfloat16")
        for field in cls.model_fields:
            assert "description" in str(cls.model_json_schema()["properties"][field]), f"{name}.{field}"


@EACH
def test_spec_round_trip(method: PostTraining) -> None:
    assert parse(str(method)) == method
    assert hash(parse(str(method))) == hash(method)
    assert type(method).model_validate(json.loads(method.model_dump_json())) == method


@EACH
def test_compresses_and_stays_close(method: PostTraining) -> None:
    rows = rows_like_embeddings()
    before = rows.copy()
    table = pz.compress(table_of(rows), method)
    np.testing.assert_array_equal(rows, before)
    table.validate()
    assert (table.num_embeddings, table.embedding_dim) == (N, D)
    served = table.lookup(np.arange(N))
    assert np.isfinite(served).all()
    # Replacing every row by the mean of all rows is what no method may fall below.
    assert relative_error(rows, served) < relative_error(rows, np.broadcast_to(rows.mean(0), rows.shape))


@EACH
def test_same_seed_same_bytes(method: PostTraining) -> None:
    table = table_of(rows_like_embeddings())
    first = pz.compress(table, method, seed=3)
    if method.traits.deterministic:
        assert same_bytes(first, pz.compress(table, method, seed=3))


@EACH
def test_chunks_do_not_matter(method: PostTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    if not method.traits.by_rows:
        return
    table = table_of(rows_like_embeddings())
    whole = pz.compress(table, method).lookup(np.arange(N))
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 4 * D * 7)
    pieces = pz.compress(table, method).lookup(np.arange(N))
    np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-5)


@EACH
def test_new_rows_are_encoded_alone(method: PostTraining) -> None:
    if not method.traits.by_rows:
        return
    rows = rows_like_embeddings()
    encoder = method.fit(table_of(rows))
    np.testing.assert_allclose(
        encoder.encode(rows[50:60]).lookup(np.arange(10)),
        encoder.encode(rows).lookup(np.arange(50, 60)),
        rtol=1e-4,
        atol=1e-5,
    )


@EACH
def test_arrays_tensors_and_float_types_alike(method: PostTraining) -> None:
    if method.traits.needs_counts:
        return
    rows = rows_like_embeddings().astype(np.float16).astype(np.float32)
    want = pz.compress(rows, method)
    for given in (torch.from_numpy(rows), rows.astype(np.float64), rows.astype(np.float16), np.asfortranarray(rows)):
        got = pz.compress(given, method)
        np.testing.assert_allclose(got.lookup(np.arange(N)), want.lookup(np.arange(N)), rtol=1e-4, atol=1e-5)


@EACH
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(method: PostTraining, value: float) -> None:
    rows = rows_like_embeddings()
    rows[17, 3] = rows[30, 0] = value
    with pytest.raises(TableError, match="row 17"):
        pz.compress(table_of(rows), method)
    table = pz.compress(table_of(rows).zero_nonfinite(), method)
    assert np.isfinite(table.lookup(np.arange(N))).all()


@EACH
@pytest.mark.parametrize("shape", [(0, D), (1, D), (2, D), (N, 1), (1, 1), (37, 13), (300, 100)])
def test_odd_shapes_are_served_or_refused(method: PostTraining, shape: tuple[int, int]) -> None:
    rows = rows_like_embeddings(*shape)
    try:
        table = pz.compress(table_of(rows), method)
    except (MethodError, TableError) as refusal:
        assert str(refusal)
        return
    table.validate()
    assert (table.num_embeddings, table.embedding_dim) == shape
    assert np.isfinite(table.lookup(np.arange(shape[0]))).all()


@EACH
@pytest.mark.parametrize("kind", ["zeros", "constant", "one row repeated", "tiny", "large", "spread", "one column"])
def test_degenerate_tables(method: PostTraining, kind: str) -> None:
    rows = rows_like_embeddings()
    if kind == "zeros":
        rows[:] = 0
    elif kind == "constant":
        rows[:] = 0.7
    elif kind == "one row repeated":
        rows[:] = rows[5]
    elif kind == "tiny":
        rows *= np.float32(1e-30)
    elif kind == "large":
        rows *= np.float32(1e15)
    elif kind == "spread":
        rows *= np.geomspace(1e-3, 1e3, N)[:, None].astype(np.float32)
    else:
        rows[:, 1:] = 0
    try:
        table = pz.compress(table_of(rows), method)
    except (MethodError, TableError) as refusal:
        assert str(refusal)
        return
    table.validate()
    served = table.lookup(np.arange(N))
    assert np.isfinite(served).all()
    scale = float(np.abs(rows).max())
    assert float(np.abs(served).max(initial=0)) <= 4 * scale
    if kind == "zeros":
        assert not served.any()


@EACH
def test_kept_in_a_bundle(method: PostTraining, tmp_path: Any) -> None:
    table = pz.compress(table_of(rows_like_embeddings()), method)
    pz.save({"t": table}, tmp_path / "b")
    bundle = pz.load(tmp_path / "b")
    assert same_bytes(bundle["t"], table)
    np.testing.assert_array_equal(bundle["t"].lookup([0, 5, N - 1]), table.lookup([0, 5, N - 1]))
    size = sum(f.stat().st_size for f in (tmp_path / "b").rglob("*") if f.suffix == ".safetensors")
    assert table.nbytes <= size <= 1.01 * table.nbytes + 4096


@EACH
def test_a_ratio_is_kept(method: PostTraining) -> None:
    ratio = getattr(method, "ratio", None)
    if ratio is None:
        return
    table = pz.compress(table_of(rows_like_embeddings()), method)
    assert table.nbytes * ratio <= 4 * N * D


@pytest.mark.parametrize("method", cases(PairMethod))
def test_pairs_keep_products(method: PairMethod) -> None:
    users, items = rows_like_embeddings(seed=1), rows_like_embeddings(300, seed=2)
    left, right = pz.compress_pair(users, items, method, seed=1)
    left.validate()
    right.validate()
    assert (left.num_embeddings, right.num_embeddings) == (N, 300)
    assert left.embedding_dim == right.embedding_dim
    again = pz.compress_pair(users, items, method, seed=1)
    assert same_bytes(left, again[0])
    assert same_bytes(right, again[1])
    true = users @ (items - items.mean(0)).T
    got = left.scores(np.eye(left.embedding_dim, dtype=np.float32)).T @ right.scores(
        np.eye(left.embedding_dim, dtype=np.float32)
    )
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(true, got, strict=True)]
    assert np.mean(correlation) > 0.5
