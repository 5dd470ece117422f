"""Where a row of a partitioned table lies: its part, and its rank among the rows of that part."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from pintsize.kernels.triton.tiles import running_on

__all__ = ["locate"]

_TILE_ROWS = 8


@triton.jit
def _locate(
    rows, count, part, before, own, place,
    PARTS: tl.constexpr, BLOCK: tl.constexpr, TILE_ROWS: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    live = at < count
    row = tl.load(rows + at, mask=live, other=0)
    mine = tl.load(part + row)
    block = row // BLOCK
    window = (block * BLOCK)[:, None] + tl.arange(0, BLOCK)[None, :]
    earlier = window < row[:, None]
    same = tl.load(part + window, mask=earlier, other=0) == mine[:, None]
    rank = tl.sum((earlier & same).to(tl.int64), axis=1)
    known = tl.minimum(mine.to(tl.int64), PARTS - 1)
    tl.store(own + at, mine, mask=live)
    tl.store(place + at, tl.load(before + block * PARTS + known).to(tl.int64) + rank, mask=live)


def locate(rows: Any, part: Any, before: Any, block: int) -> tuple[Any, Any]:
    """The part (uint8) and the place within it (int64) of each of contiguous int64 `rows` that are in range.

    Args:
        rows: (count,) int64.
        part: (num_embeddings,) uint8, contiguous.
        before: (blocks, parts) int32 or int64, contiguous: rows of each part before each block.
        block: Rows of a block, a power of two.
    """
    own, place = part.new_empty(len(rows)), rows.new_empty(len(rows))
    if len(rows):
        with running_on(rows):
            _locate[(triton.cdiv(len(rows), _TILE_ROWS),)](
                rows, len(rows), part, before, own, place,
                PARTS=before.shape[1], BLOCK=block, TILE_ROWS=_TILE_ROWS,
            )  # fmt: skip
    return own, place
