"""Rows and bags of codes into codebooks: a tile reads the codes of its rows and the codewords they name."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from pintsize.kernels.triton.tiles import running_on, tile

__all__ = ["CodebookLayout", "bag_codebook", "gather_codebook"]


class CodebookLayout(NamedTuple):
    """What a kernel is told of a table of codes (`pintsize.formats.codebook`).

    `records` is a uint8 tensor; `books` a contiguous (m or 1, K, width) float32 or float16 one; `columns` those before
    a rotation.
    """

    records: Any
    columns: int
    codes: int
    bits: int
    summed: bool
    books: Any


@triton.jit
def _code(base, code, BITS: tl.constexpr):
    """Code number `code` of the little-endian string of bits at `base`, as int64; BITS is 1 to 32."""
    place = base + code * BITS // 8
    shift = code * BITS % 8
    value = tl.load(place).to(tl.int64)
    for byte in tl.static_range(1, 5):
        if 8 * byte < BITS + 7:
            part = tl.load(place + byte, mask=8 * byte < BITS + shift, other=0)
            value = value | (part.to(tl.int64) << (8 * byte))
    return (value >> shift) & ((1 << BITS) - 1)


@triton.jit
def _codeword(
    base, code, inside, books, damaged,
    BITS: tl.constexpr, WORDS: tl.constexpr, WIDTH: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """Values number `inside` of the codewords that are named by codes number `code`, as float32."""
    book = code * 0 if SHARED else code
    word = (base + code).to(tl.int64) * 0 if BITS == 0 else _code(base, code, BITS)
    if WORDS < (1 << BITS):
        past = word >= WORDS
        tl.atomic_max(damaged, tl.max(tl.max(past.to(tl.int32), axis=1), axis=0))
        word = tl.where(past, 0, word)
    return tl.load(books + (book.to(tl.int64) * WORDS + word) * WIDTH + inside).to(tl.float32)


@triton.jit
def _decoded(
    records, rows, columns, stride, books, damaged,
    COLUMNS: tl.constexpr, CODES: tl.constexpr, BITS: tl.constexpr, SUMMED: tl.constexpr, WORDS: tl.constexpr,
    WIDTH: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """The (rows, columns) float32 tile; columns past the last repeat it."""
    base = records + rows[:, None] * stride
    column = tl.minimum(columns, COLUMNS - 1)[None, :]
    if SUMMED:
        first = column * 0
        values = _codeword(base, first, column, books, damaged, BITS, WORDS, WIDTH, SHARED)
        for code in range(1, CODES):
            values += _codeword(base, first + code, column, books, damaged, BITS, WORDS, WIDTH, SHARED)
    else:
        values = _codeword(base, column // WIDTH, column % WIDTH, books, damaged, BITS, WORDS, WIDTH, SHARED)
    return values


@triton.jit
def _gather(
    rows, out, count, records, stride, books, damaged,
    COLUMNS: tl.constexpr, CODES: tl.constexpr, BITS: tl.constexpr, SUMMED: tl.constexpr, WORDS: tl.constexpr,
    WIDTH: tl.constexpr, SHARED: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    columns = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    live = at < count
    row = tl.load(rows + at, mask=live, other=0)
    # Lanes past the end repeat a row that was asked for: no other row's damage may be reported.
    row = tl.where(live, row, tl.load(rows))
    values = _decoded(records, row, columns, stride, books, damaged, COLUMNS, CODES, BITS, SUMMED, WORDS, WIDTH, SHARED)
    tl.store(out + at[:, None] * COLUMNS + columns[None, :], values, mask=live[:, None] & (columns < COLUMNS)[None, :])


@triton.jit
def _bag(
    rows, bounds, weights, out, records, stride, books, damaged,
    MEAN: tl.constexpr, WEIGHTED: tl.constexpr,
    COLUMNS: tl.constexpr, CODES: tl.constexpr, BITS: tl.constexpr, SUMMED: tl.constexpr, WORDS: tl.constexpr,
    WIDTH: tl.constexpr, SHARED: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    bag = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    begin = tl.load(bounds + bag)
    end = tl.load(bounds + bag + 1)
    total = tl.zeros((TILE_COLUMNS,), tl.float32)
    for first in range(begin, end, TILE_ROWS):
        at = first + tl.arange(0, TILE_ROWS)
        live = at < end
        row = tl.load(rows + tl.minimum(at, end - 1))
        values = _decoded(
            records, row, columns, stride, books, damaged, COLUMNS, CODES, BITS, SUMMED, WORDS, WIDTH, SHARED
        )
        if WEIGHTED:
            values = values * tl.load(weights + at, mask=live, other=0)[:, None]
        total += tl.sum(tl.where(live[:, None], values, 0.0), axis=0)
    if MEAN:
        total = total / tl.maximum(end - begin, 1).to(tl.float32)
    tl.store(out + bag * COLUMNS + columns, total, mask=columns < COLUMNS)


def gather_codebook(layout: CodebookLayout, rows: Any, out: Any) -> bool:
    """Writes the rows into the contiguous float32 `out`; `rows` are int64, contiguous and in range.

    Returns:
        Whether every code lies within its codebook; what was written is worthless otherwise.
    """
    settings, arrays = _arguments(layout)
    if len(rows):
        with running_on(rows):
            grid = (
                triton.cdiv(len(rows), settings["TILE_ROWS"]),
                triton.cdiv(layout.columns, settings["TILE_COLUMNS"]),
            )
            _gather[grid](rows, out, len(rows), *arrays, **settings)
    return _sound(layout, arrays)


def bag_codebook(
    layout: CodebookLayout, rows: Any, bounds: NDArray[np.int64], mean: bool, weights: Any, out: Any
) -> bool:
    """Writes the bags into `out`; bag b is ``rows[bounds[b]:bounds[b + 1]]``, times float32 `weights` if given.

    Returns:
        As `gather_codebook`.
    """
    settings, arrays = _arguments(layout)
    if len(out):
        torch: Any = sys.modules["torch"]
        with running_on(rows):
            grid = (len(out), triton.cdiv(layout.columns, settings["TILE_COLUMNS"]))
            _bag[grid](
                rows, torch.as_tensor(bounds, device=rows.device), rows if weights is None else weights, out, *arrays,
                MEAN=mean, WEIGHTED=weights is not None, **settings,
            )  # fmt: skip
    return _sound(layout, arrays)


def _arguments(layout: CodebookLayout) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The compile-time settings, and the arguments that follow those of the call."""
    each, width = tile(layout.columns, rotated=False)
    books, records = layout.books, layout.records
    settings = {
        "COLUMNS": layout.columns, "CODES": layout.codes, "BITS": layout.bits, "SUMMED": layout.summed,
        "WORDS": books.shape[1], "WIDTH": books.shape[2], "SHARED": books.shape[0] == 1,
        "TILE_ROWS": each, "TILE_COLUMNS": width, "enable_fp_fusion": False,
    }  # fmt: skip
    # Raised by a program that meets a code past its codebook.
    damaged = records.new_zeros(1, dtype=sys.modules["torch"].int32)
    return settings, (records, records.stride(0), books, damaged)


def _sound(layout: CodebookLayout, arrays: tuple[Any, ...]) -> bool:
    return layout.books.shape[1] == 1 << layout.bits or not bool(arrays[-1].item())
