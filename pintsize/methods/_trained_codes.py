"""From codes and scales that were trained to the table that serves them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pintsize.errors import TableError
from pintsize.formats._packing import pack, packed_width
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._scalar_codes import unit_for

__all__ = ["BLOCK_VALUES", "coded_table"]

BLOCK_VALUES = 1 << 20
"""Values that are decoded at a time."""

_REACH = 15  # The largest scale lies just below 2**15, which float16 holds.


@torch.no_grad()
def coded_table(
    code: Callable[[int, int], tuple[Tensor, Tensor]], rows: int, columns: int, levels: int, group: int, bias: float
) -> ScalarTable:
    """A `ScalarTable` without offsets.

    Args:
        code: From a first and a last row to the codes (m, columns) of the rows between them, and their scales
            (m, groups) as `to_half` rounds them.
        rows: Rows.
        columns: Codes in a row.
        levels: Values of a code.
        group: Columns that share a scale.
        bias: Added to a code before the scale multiplies it.

    Raises:
        TableError: A scale that is not finite: the training diverged.
    """
    block = max(1, BLOCK_VALUES // columns)
    packed = [np.empty((0, packed_width(columns, levels)), np.uint8)]
    scales = [np.empty((0, -(-columns // group)), np.float32)]
    for start in range(0, rows, block):
        codes, factors = code(start, min(rows, start + block))
        scales.append(factors.float().cpu().numpy())
        wrong = np.flatnonzero(~np.isfinite(scales[-1]).all(axis=1))
        if wrong.size:
            raise TableError(f"row {start + wrong[0]} has a scale that is not finite; the training diverged")
        packed.append(pack(codes.to(torch.uint8).cpu().numpy(), levels))
    factors_of_rows = np.concatenate(scales)
    unit = unit_for(float(np.abs(factors_of_rows).max(initial=0)), _REACH)
    halves = (factors_of_rows / np.float32(unit)).astype("<f2").view(np.uint8)
    records = np.concatenate([np.concatenate(packed), halves], axis=1)
    return ScalarTable(records, columns, levels, group, "float16", False, bias, unit)
