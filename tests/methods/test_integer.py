"""The integer codes against a plain loop, and the greedy clipping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pintsize.formats._packing import unpack
from pintsize.methods.integer import Integer
from pintsize.table import EmbeddingTable

F = np.float32


def reference(row: Any, bits: int, unit: float) -> tuple[list[int], Any, Any]:
    """FBGEMM's row-wise quantization, one value after another, with float16 scale and offset."""
    top = F(2**bits - 1)
    values = [F(x) / F(unit) for x in row]
    offset = np.float16(min(values))
    scale = np.float16((max(values) - F(offset)) / top)
    codes = []
    for x in values:
        code = F(0) if scale == 0 else np.rint((x - F(offset)) / F(scale))
        codes.append(int(min(max(code, F(0)), top)))
    return codes, scale, offset


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("group", [None, 4])
def test_minmax_equals_a_plain_loop(bits: int, group: int | None) -> None:
    rows = np.random.default_rng(bits).standard_normal((20, 11)).astype(np.float32)
    rows[3] = 5.125
    rows[4] = np.float32(1.0001)
    rows[5] = np.linspace(1000.1, 1000.2, 11)
    table: Any = Integer(bits=bits, group=group).compress(EmbeddingTable(rows))
    codes = unpack(table.records[:, : table.code_bytes], 11, 2**bits)
    numbers = np.ascontiguousarray(table.records[:, table.code_bytes :]).view(np.float16)
    width = group or 11
    for i, row in enumerate(rows):
        for g in range(table.groups):
            piece = slice(g * width, (g + 1) * width)
            expected, scale, offset = reference(row[piece], bits, table.unit)
            assert codes[i, piece].tolist() == expected
            assert numbers[i, g] == scale and numbers[i, table.groups + g] == offset


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("group", [None, 10])
def test_mse_is_never_worse_than_minmax_in_any_row(bits: int, group: int | None) -> None:
    rng = np.random.default_rng(bits)
    rows = np.concatenate([rng.standard_normal((50, 32)), rng.standard_t(2, (50, 32)), rng.random((20, 32)) + 100])
    table = EmbeddingTable(rows.astype(np.float32))
    errors = []
    for clip in ("minmax", "mse"):
        served = Integer(bits=bits, clip=clip, group=group).compress(table).lookup(np.arange(120))
        errors.append(((served.astype(np.float64) - table.array()) ** 2).sum(axis=1))
    # The losses compared are float32 sums: rows whose errors are equal but for rounding may swap.
    assert (errors[1] <= errors[0] * (1 + 1e-5)).all()
    if bits <= 4:
        assert errors[1].sum() < 0.95 * errors[0].sum()


def test_clipping_finds_the_best_symmetric_range_of_gaussian_rows() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 256)).astype(np.float32)
    served = Integer(bits=2, clip="mse").compress(EmbeddingTable(rows)).lookup(np.arange(300))
    # 0.1188 is the error of the best uniform four-level quantizer of a Gaussian (Max 1960).
    assert ((served - rows) ** 2).mean() < 1.02 * 0.1188


def test_a_group_wider_than_the_table_is_a_row() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    table: Any = Integer(bits=4, group=100).compress(EmbeddingTable(rows))
    assert table.group == 6


@pytest.mark.parametrize("fields", [{"bits": 0}, {"bits": 9}, {"clip": "best"}, {"group": 0}])
def test_fields_have_bounds(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Integer(**fields)
