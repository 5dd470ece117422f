"""What the Triton kernels share: how large a tile is, where a kernel runs, and small steps on a tile."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import triton
import triton.language as tl

__all__ = ["INTERPRETED", "hadamard", "half_at", "running_on", "tile", "widest_rotation"]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run under Triton's interpreter, on tensors in main memory: read when kernels are imported."""

_WIDEST = 256
_WIDEST_ROTATED = 1024
_VALUES = 2048


def widest_rotation() -> int:
    """Columns up to which a Hadamard rotation is undone inside a tile."""
    return _WIDEST_ROTATED


def tile(columns: int, rotated: bool) -> tuple[int, int]:
    """Rows and columns of a tile, powers of two; a rotated row has to lie in one tile. Not tuned on any GPU."""
    width = min(triton.next_power_of_2(columns), _WIDEST_ROTATED if rotated else _WIDEST)
    return max(1, min(32, _VALUES // width)), width


def running_on(tensor: Any) -> AbstractContextManager[Any]:
    """Makes the GPU of `tensor` the current one, on which Triton launches."""
    if tensor.device.type != "cuda":
        return nullcontext()
    device: AbstractContextManager[Any] = sys.modules["torch"].cuda.device(tensor.device)
    return device


@triton.jit
def half_at(place):
    """The little-endian float16 at byte addresses of any alignment, as float32."""
    low = tl.load(place).to(tl.uint16)
    high = tl.load(place + 1).to(tl.uint16)
    return (low | (high << 8)).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def hadamard(rows, ROWS: tl.constexpr, WIDTH: tl.constexpr, STEPS: tl.constexpr):
    """The Walsh-Hadamard transform of each row of a (ROWS, WIDTH) tile, not scaled; WIDTH is 2**STEPS."""
    for step in tl.static_range(STEPS):
        pairs = tl.reshape(rows, (ROWS, WIDTH >> (step + 1), 2, 1 << step))
        first, second = tl.split(tl.permute(pairs, (0, 1, 3, 2)))
        mixed = tl.permute(tl.join(first + second, first - second), (0, 1, 3, 2))
        rows = tl.reshape(mixed, (ROWS, WIDTH))
    return rows
