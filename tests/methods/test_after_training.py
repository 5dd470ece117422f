"""What every method that compresses a trained table owes, whatever it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pintsize.errors import MethodError, TableError
from pintsize.formats.base import CompressedTable
from pintsize.methods import METHODS, method_class
from pintsize.methods.base import PostTraining
from pintsize.methods.spec import parse
from pintsize.table import EmbeddingTable
from tests.methods.tables import decaying, in_pieces, served

NAMES = [
    "dedup", "integer_factorization", "magnitude", "mixed_dimension", "nmf", "opq", "pq", "residual", "svd",
    "truncation", "weighted_nuclear_norm",
]  # fmt: skip
EXAMPLES: list[Any] = [method_class(name)(**fields) for name in NAMES for fields in method_class(name).examples]
ROWS = decaying(200)

ODD = {
    "empty": ROWS[:0],
    "one row": ROWS[:1],
    "two rows": ROWS[:2],
    "one column": np.ascontiguousarray(ROWS[:, :1]),
    "zeros": np.zeros((60, 24), np.float32),
    "constant": np.full((60, 24), 3.0, np.float32),
    "duplicates": np.repeat(ROWS[:5], 12, axis=0),
    "huge": ROWS[:60] * np.float32(1e30),
    "one value": np.eye(60, 24, dtype=np.float32) * (np.arange(60) == 3)[:, None].astype(np.float32),
}


def test_the_names_are_registered() -> None:
    assert set(NAMES) <= set(METHODS)
    assert list(METHODS) == sorted(METHODS)


@pytest.mark.parametrize("method", EXAMPLES, ids=str)
class TestExamples:
    def test_spec_round_trip(self, method: PostTraining) -> None:
        assert parse(str(method)) == method

    def test_odd_tables_are_served_or_refused(self, method: PostTraining) -> None:
        for name, rows in ODD.items():
            try:
                made = method.compress(EmbeddingTable(rows))
            except MethodError:
                continue
            made.validate()
            out = served(made)
            assert out.shape == rows.shape, name
            assert np.isfinite(out).all(), name
            if not rows.any():
                assert not out.any(), name

    def test_seed_repeats(self, method: PostTraining) -> None:
        first, second = (method.compress(EmbeddingTable(ROWS), seed=3).tensors() for _ in range(2))
        assert first.keys() == second.keys()
        for name, array in first.items():
            np.testing.assert_array_equal(array, second[name])

    def test_header_and_tensors_bring_it_back(self, method: PostTraining) -> None:
        made = method.compress(EmbeddingTable(ROWS))
        again = CompressedTable.from_tensors(made.header(), made.tensors())
        np.testing.assert_array_equal(served(again), served(made))

    def test_rows_that_are_not_finite_are_named(self, method: PostTraining) -> None:
        broken = ROWS.copy()
        broken[7, 3] = np.nan
        with pytest.raises(TableError, match="row 7"):
            method.compress(EmbeddingTable(broken))


@pytest.mark.parametrize("method", [m for m in EXAMPLES if m.ratio is not None], ids=str)
def test_ratio_is_kept(method: Any) -> None:
    made = method.compress(EmbeddingTable(ROWS))
    assert made.nbytes <= ROWS.nbytes / method.ratio
    with pytest.raises(MethodError, match="bytes"):
        method.model_copy(update={"ratio": 1e6}).compress(EmbeddingTable(ROWS))


@pytest.mark.parametrize("method", [m for m in EXAMPLES if type(m).traits.by_rows], ids=str)
def test_pieces_equal_the_whole(method: PostTraining) -> None:
    encoder = method.fit(EmbeddingTable(ROWS), seed=1)
    whole = served(method.compress(EmbeddingTable(ROWS), seed=1))
    np.testing.assert_allclose(in_pieces(encoder, ROWS, 37), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_exactly_one_size(name: str) -> None:
    kind = method_class(name)
    sizes = ("rank", "C", "columns", "codebooks", "keep", "tolerance", "base")
    size = next(field for field in sizes if field in kind.model_fields)
    for spec in (name, f"{name}:{size}=1,ratio=2"):
        with pytest.raises(MethodError, match=r"exactly one of .*ratio"):
            parse(spec)
    with pytest.raises(MethodError, match="greater than or equal to 1"):
        parse(f"{name}:ratio=0.5")


SUMS = [
    "svd:rank=8 + float16",
    "nmf:rank=4 + float16",
    "weighted_nuclear_norm:ratio=4 + float16",
    "truncation:columns=12 + float16",
    "magnitude:keep=0.3 + float16",
    "magnitude:keep=0.3,scope=row + float16",
    "mixed_dimension:base=8,blocks=3 + float16",
]


@pytest.mark.parametrize("spec", SUMS)
def test_sums(spec: str) -> None:
    method, first = parse(spec), parse(spec.split(" + ")[0])
    assert isinstance(method, PostTraining)
    assert isinstance(first, PostTraining)
    both, alone = method.compress(EmbeddingTable(ROWS)), first.compress(EmbeddingTable(ROWS))
    assert both.nbytes < 0.75 * alone.nbytes
    np.testing.assert_allclose(served(both), served(alone), atol=0.01)


@pytest.mark.parametrize("spec", ["pq:codebooks=4,codewords=16 + float16", "integer_factorization:rank=8 + float16"])
def test_sums_over_codes_are_refused(spec: str) -> None:
    method = parse(spec)
    assert isinstance(method, PostTraining)
    with pytest.raises(MethodError, match="no float part"):
        method.compress(EmbeddingTable(ROWS))
