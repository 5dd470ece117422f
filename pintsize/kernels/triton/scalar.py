"""Rows and bags of scalar records: one program decodes a tile of rows, or walks through one bag tile by tile.

Every value is computed as the twin computes it, in float32 with one rounding an operation, so that rows agree bit for
bit; sums of bags are taken in another order.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from pintsize.kernels.triton.tiles import hadamard, half_at, running_on, tile

__all__ = ["ScalarLayout", "bag_scalar", "gather_scalar"]


class ScalarLayout(NamedTuple):
    """What a kernel is told of a table of scalar records (`pintsize.formats.scalar`).

    `records` is a uint8 tensor whose rows lie side by side or apart; `digits` counts the codes of a record with those
    of the place on the `grid`, `places`; `signs` are the bits of one round of a Hadamard rotation of a power of two of
    columns, or None.
    """

    records: Any
    columns: int
    levels: int
    group: int
    scale: str
    offset: bool
    bias: float
    unit: float
    code_bytes: int
    digits: int
    places: int
    grid: Any
    signs: Any


@triton.jit
def _digits(base, columns, COUNT: tl.constexpr, BITS: tl.constexpr):
    """Digits of one plane that starts at `base`, as int32; the layout is that of `pintsize.formats._packing`."""
    per: tl.constexpr = 5 if BITS == 0 else 8 // BITS
    wide: tl.constexpr = COUNT // (16 * per) * (16 * per)
    group = columns % (16 * per) // 16
    byte = columns // (16 * per) * 16 + columns % 16
    if wide < COUNT:
        width: tl.constexpr = (COUNT - wide + per - 1) // per
        behind = columns - wide
        group = tl.where(behind >= 0, behind // width, group)
        byte = tl.where(behind >= 0, wide // per + behind % width, byte)
    value = tl.load(base + byte).to(tl.int32)
    if BITS == 0:
        power = tl.where(group == 0, 1, tl.where(group == 1, 3, tl.where(group == 2, 9, tl.where(group == 3, 27, 81))))
        digits = (((value * power) & 255) * 3) >> 8
    else:
        digits = (value >> (BITS * group)) & ((1 << BITS) - 1)
    return digits


@triton.jit
def _codes(base, columns, COUNT: tl.constexpr, BITS: tl.constexpr):
    """Codes of BITS bits, put together from planes of narrower digits, low bits first."""
    first: tl.constexpr = BITS if BITS == 0 or BITS == 8 else (4 if BITS & 4 else (2 if BITS & 2 else 1))
    rest: tl.constexpr = BITS - first
    codes = _digits(base, columns, COUNT, first)
    if rest > 0:
        behind: tl.constexpr = (COUNT * first + 7) // 8
        second: tl.constexpr = 2 if rest & 2 else 1
        codes = codes | (_digits(base + behind, columns, COUNT, second) << first)
        if rest > second:
            after: tl.constexpr = behind + (COUNT * second + 7) // 8
            codes = codes | (_digits(base + after, columns, COUNT, 1) << (first + second))
    return codes


@triton.jit
def _decoded(
    records, rows, columns, stride, grid, bias, unit,
    COLUMNS: tl.constexpr, LEVELS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr, SCALE: tl.constexpr,
    OFFSET: tl.constexpr, CODE_BYTES: tl.constexpr, DIGITS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """The (rows, columns) float32 tile; columns past the last repeat it."""
    base = records + rows[:, None] * stride
    column = tl.minimum(columns, COLUMNS - 1)[None, :]
    values = _codes(base, column, DIGITS, BITS).to(tl.float32)
    if SCALE == "float16":
        groups: tl.constexpr = (COLUMNS + GROUP - 1) // GROUP
        scales = half_at(base + CODE_BYTES + 2 * (column // GROUP)) * unit
        if OFFSET:
            values = values * scales + half_at(base + CODE_BYTES + 2 * (groups + column // GROUP)) * unit
        else:
            values = (values + bias) * scales
    elif SCALE == "grid":
        last = COLUMNS + tl.zeros_like(rows)[:, None].to(tl.int32)
        place = _codes(base, last, DIGITS, BITS)
        for j in tl.static_range(1, PLACES):
            place += _codes(base, last + j, DIGITS, BITS) * LEVELS**j
        values = (values + bias) * (tl.load(grid + place) * unit)
    else:
        values = (values + bias) * unit
    return values


@triton.jit
def _turned(values, columns, signs, factor, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
            STEPS: tl.constexpr):  # fmt: skip
    """A tile of whole rows with one round of a Hadamard rotation undone."""
    sign = ((tl.load(signs + columns // 8).to(tl.int32) >> (columns % 8)) & 1) * 2 - 1
    return hadamard(values, ROWS, COLUMNS, STEPS) * factor * sign.to(tl.float32)[None, :]


@triton.jit
def _gather(
    rows, out, count, records, stride, grid, bias, unit, signs,
    factor,
    COLUMNS: tl.constexpr, LEVELS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr, SCALE: tl.constexpr,
    OFFSET: tl.constexpr, CODE_BYTES: tl.constexpr, DIGITS: tl.constexpr, PLACES: tl.constexpr,
    STEPS: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    columns = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    live = at < count
    row = tl.load(rows + at, mask=live, other=0)
    values = _decoded(
        records, row, columns, stride, grid, bias, unit,
        COLUMNS, LEVELS, BITS, GROUP, SCALE, OFFSET, CODE_BYTES, DIGITS, PLACES,
    )  # fmt: skip
    if STEPS > 0:
        values = _turned(values, columns, signs, factor, TILE_ROWS, COLUMNS, STEPS)
    tl.store(out + at[:, None] * COLUMNS + columns[None, :], values, mask=live[:, None] & (columns < COLUMNS)[None, :])


@triton.jit
def _bag(
    rows, bounds, weights, out, records, stride, grid, bias, unit,
    signs, factor, MEAN: tl.constexpr, WEIGHTED: tl.constexpr,
    COLUMNS: tl.constexpr, LEVELS: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr, SCALE: tl.constexpr,
    OFFSET: tl.constexpr, CODE_BYTES: tl.constexpr, DIGITS: tl.constexpr, PLACES: tl.constexpr,
    STEPS: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    bag = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    begin = tl.load(bounds + bag)
    end = tl.load(bounds + bag + 1)
    total = tl.zeros((TILE_COLUMNS,), tl.float32)
    for first in range(begin, end, TILE_ROWS):
        at = first + tl.arange(0, TILE_ROWS)
        live = at < end
        row = tl.load(rows + at, mask=live, other=0)
        values = _decoded(
            records, row, columns, stride, grid, bias, unit,
            COLUMNS, LEVELS, BITS, GROUP, SCALE, OFFSET, CODE_BYTES, DIGITS, PLACES,
        )  # fmt: skip
        if WEIGHTED:
            values = values * tl.load(weights + at, mask=live, other=0)[:, None]
        total += tl.sum(tl.where(live[:, None], values, 0.0), axis=0)
    if MEAN:
        total = total / tl.maximum(end - begin, 1).to(tl.float32)
    if STEPS > 0:
        total = tl.reshape(_turned(total[None, :], columns, signs, factor, 1, COLUMNS, STEPS), (TILE_COLUMNS,))
    tl.store(out + bag * COLUMNS + columns, total, mask=columns < COLUMNS)


def gather_scalar(layout: ScalarLayout, rows: Any, out: Any) -> None:
    """Writes the rows into the contiguous float32 `out`; `rows` are int64, contiguous and in range."""
    settings, arrays = _arguments(layout)
    each, width = settings["TILE_ROWS"], settings["TILE_COLUMNS"]
    if len(rows):
        with running_on(rows):
            grid = (triton.cdiv(len(rows), each), triton.cdiv(layout.columns, width))
            _gather[grid](rows, out, len(rows), *arrays, **settings)


def bag_scalar(layout: ScalarLayout, rows: Any, bounds: NDArray[np.int64], mean: bool, weights: Any, out: Any) -> None:
    """Writes the bags into `out`; bag b is ``rows[bounds[b]:bounds[b + 1]]``, times float32 `weights` if given."""
    settings, arrays = _arguments(layout)
    if len(out):
        torch: Any = sys.modules["torch"]
        with running_on(rows):
            grid = (len(out), triton.cdiv(layout.columns, settings["TILE_COLUMNS"]))
            _bag[grid](
                rows, torch.as_tensor(bounds, device=rows.device), rows if weights is None else weights, out, *arrays,
                MEAN=mean, WEIGHTED=weights is not None, **settings,
            )  # fmt: skip


def _arguments(layout: ScalarLayout) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The compile-time settings, and the arguments that follow those of the call."""
    rotated = layout.signs is not None
    each, width = tile(layout.columns, rotated)
    settings = {
        "COLUMNS": layout.columns, "LEVELS": layout.levels, "GROUP": layout.group, "SCALE": layout.scale,
        "BITS": 0 if layout.levels == 3 else layout.levels.bit_length() - 1,
        "OFFSET": layout.offset, "CODE_BYTES": layout.code_bytes, "DIGITS": layout.digits, "PLACES": layout.places,
        "STEPS": layout.columns.bit_length() - 1 if rotated else 0,
        "TILE_ROWS": each, "TILE_COLUMNS": width,
        # A fused multiply-add rounds once where the twin rounds twice.
        "enable_fp_fusion": False,
    }  # fmt: skip
    records = layout.records
    arrays = (
        records, records.stride(0), records if layout.grid is None else layout.grid,
        float(layout.bias), float(layout.unit),
        layout.signs if rotated else records, float(np.float32(1 / math.sqrt(layout.columns))),
    )  # fmt: skip
    return settings, arrays
