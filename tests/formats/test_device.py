"""Tables that hold tensors, without Triton: the twin and torch do the work. Main memory stands in for a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pintsize.errors import TableError
from pintsize.formats import _device
from pintsize.formats.base import CompressedTable
from tests.contracts.format_cases import CASES

N, D = 300, 21
ROWS = np.random.default_rng(0).integers(0, N, 60)
OFFSETS = np.array([0, 0, 4, 5, 5, 40, 60, 60])


def there(table: CompressedTable) -> CompressedTable:
    return table.map_arrays(lambda a: torch.from_numpy(np.array(a)))


@pytest.mark.parametrize("block", [1 << 22, 5 * D])
@pytest.mark.parametrize("name", sorted(CASES))
def test_bags_and_scores_agree_with_those_in_main_memory(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_device, "_BLOCK_VALUES", block)
    monkeypatch.setattr(_device, "_TWIN_ROWS", 32)
    table = CASES[name](N, D, np.random.default_rng(1))
    tensors, rows, offsets = there(table), torch.from_numpy(ROWS), torch.from_numpy(OFFSETS)
    weights = np.random.default_rng(2).standard_normal(60).astype(np.float32)
    queries = np.random.default_rng(3).standard_normal((4, D)).astype(np.float32)
    pairs = [
        (tensors.lookup(rows), table.lookup(ROWS)),
        (tensors.bag(rows, offsets), table.bag(ROWS, OFFSETS)),
        (tensors.bag(rows, offsets, mode="mean"), table.bag(ROWS, OFFSETS, mode="mean")),
        (tensors.bag(rows, offsets, weights=torch.from_numpy(weights)), table.bag(ROWS, OFFSETS, weights=weights)),
        (tensors.bag(rows, offsets, weights=weights), table.bag(ROWS, OFFSETS, weights=weights)),
        (tensors.scores(torch.from_numpy(queries), slice(7, 290)), table.scores(queries, slice(7, 290))),
    ]
    for got, want in pairs:
        assert isinstance(got, torch.Tensor)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=2e-6 * float(np.abs(want).max()))


@pytest.mark.parametrize("name", sorted(CASES))
def test_one_row_of_any_width(name: str) -> None:
    for columns in range(2, 24):
        table = CASES[name](9, columns, np.random.default_rng(1))
        got, want = there(table).lookup(torch.tensor([5])).numpy(), table.lookup([5])
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6 * float(np.abs(want).max()))


def test_no_bags_and_no_rows() -> None:
    table = there(CASES["scalar-16"](N, D, np.random.default_rng(1)))
    none = torch.empty(0, dtype=torch.int64)
    assert table.bag(none, none).shape == (0, D)
    assert torch.equal(table.bag(none, torch.tensor([0, 0])), torch.zeros(2, D))
    assert table.lookup(none).shape == (0, D)


def test_rows_are_checked_where_they_are() -> None:
    table = there(CASES["scalar-16"](N, D, np.random.default_rng(1)))
    for dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        with pytest.raises(IndexError, match="row -3 is out of range: the table has rows 0 to 299"):
            table.lookup(torch.tensor([1, -3, -4], dtype=dtype))
    with pytest.raises(IndexError, match="row 300 is out of range"):
        table.lookup(torch.tensor([[1, 2], [300, 301]]))
    with pytest.raises(TableError, match="rows are integers; found float32"):
        table.lookup(torch.tensor([1.0]))
    with pytest.raises(TableError, match="weights have shape"):
        table.bag(torch.tensor([1, 2]), torch.tensor([0]), weights=torch.ones(3))


def test_queries_and_weights_of_16_bits() -> None:
    table = CASES["scalar-16"](N, D, np.random.default_rng(1))
    queries, weights = torch.ones(2, D, dtype=torch.bfloat16), torch.ones(60, dtype=torch.bfloat16)
    rows, offsets = torch.from_numpy(ROWS), torch.from_numpy(OFFSETS)
    for each in (table, there(table)):
        assert each.scores(queries).dtype == torch.float32
        torch.testing.assert_close(each.scores(queries), each.scores(queries.float()))
        torch.testing.assert_close(each.bag(rows, offsets, weights=weights), each.bag(rows, offsets))
