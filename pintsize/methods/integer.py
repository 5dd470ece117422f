"""Integers of 1 to 8 bits with a scale and an offset a row, or a group of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pintsize import kernels
from pintsize.formats._packing import bits_of, packed_width
from pintsize.formats.base import CompressedTable
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._scalar_codes import Floats, Halves, ScalarMethod, encode_blocks, half, limit, row_sums, too_large
from pintsize.methods.base import Encoder, Family, Traits

__all__ = ["Integer"]

# Greedy search: the steps in the whole range, and how many of them may go. The paper's 200 and 32 suit 5 and more bits;
# with fewer levels the best range is much narrower.
_GREEDY = {1: (100, 85), 2: (100, 75), 3: (150, 82), 4: (200, 70)}
_GREEDY_MORE_BITS = (200, 32)


@dataclass(frozen=True)
class _IntegerEncoder(Encoder):
    columns: int
    levels: int
    group: int
    unit: float
    greedy: tuple[int, int] | None

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        records = self._records_native(rows)
        if records is None:
            groups = -(-self.columns // self.group)
            records = encode_blocks(rows, self.unit, self.levels, 2 * groups, self._coded)
        return ScalarTable(records, self.columns, self.levels, self.group, "float16", True, 0.0, self.unit)

    def _records_native(self, rows: Floats) -> NDArray[np.uint8] | None:
        native = kernels.native()
        if native is None:
            return None
        rows = np.ascontiguousarray(rows, np.float32)
        width = packed_width(self.columns, self.levels) + 4 * -(-self.columns // self.group)
        out = np.empty((len(rows), width), np.uint8)
        bins, rounds = self.greedy or (1, 0)
        bad = native.encode_clipped(
            kernels.address(rows), len(rows), self.columns, self.group, bits_of(self.levels), 1 / self.unit,
            limit(self.unit), bins, rounds, kernels.address(out), width,
        )  # fmt: skip
        if bad >= 0:
            raise too_large(rows, self.unit)
        return out

    def _coded(self, rows: Floats) -> tuple[NDArray[np.uint8], list[Halves]]:
        n, whole = len(rows), self.columns // self.group
        pieces = [rows[:, : whole * self.group].reshape(n * whole, self.group)]
        if whole * self.group < self.columns:
            pieces.append(rows[:, whole * self.group :])
        done = [self._piece(np.ascontiguousarray(piece)) for piece in pieces]
        codes, scales, offsets = ([part.reshape(n, -1) for part in parts] for parts in zip(*done, strict=True))
        return np.concatenate(codes, axis=1), [*scales, *offsets]

    def _piece(self, x: Floats) -> tuple[NDArray[np.uint8], Halves, Halves]:
        low, high = x.min(axis=1), x.max(axis=1)
        if self.greedy is not None:
            low, high = _clipped(x, low, high, self.levels, *self.greedy)
        scale, offset = _affine(low, high, self.levels)
        return _codes(x, scale, offset, self.levels).astype(np.uint8), scale, offset


def _affine(low: Floats, high: Floats, levels: int) -> tuple[Halves, Halves]:
    """The stored scale and offset of a range, in units as everything here is.

    The native kernel repeats these operations. Float32, each operation rounded: ``offset = half(low)``;
    ``scale = half((high - float(offset)) / (levels - 1))``. The scale is negative where the offset was rounded up past
    `high`, and the codes then count down from it.
    """
    offset = half(low)
    return half((high - offset.astype(np.float32)) / np.float32(levels - 1)), offset


def _codes(x: Floats, scale: Halves, offset: Halves, levels: int) -> Floats:
    """``min(max(rint((x - float(offset)) / float(scale)), 0), levels - 1)``, and 0 where the scale is 0."""
    step = scale.astype(np.float32)[:, None]
    flat = step == 0
    codes = (x - offset.astype(np.float32)[:, None]) / np.where(flat, np.float32(1), step)
    np.rint(codes, out=codes)
    np.clip(codes, 0, levels - 1, out=codes)
    codes[flat[:, 0]] = 0
    return codes.astype(np.float32, copy=False)


def _loss(x: Floats, low: Floats, high: Floats, levels: int) -> Floats:
    scale, offset = _affine(low, high, levels)
    decoded = _codes(x, scale, offset, levels) * scale.astype(np.float32)[:, None] + offset.astype(np.float32)[:, None]
    decoded -= x
    decoded *= decoded
    return row_sums(decoded.T)


def _clipped(x: Floats, low: Floats, high: Floats, levels: int, bins: int, rounds: int) -> tuple[Floats, Floats]:
    """Guan et al. 2019, section 3: from either end the range loses a step, whichever costs less; the best one is kept.

    Losses are of the values that will be served, so that no row ends up worse than with its full range.
    """
    step = (high - low) / np.float32(bins)
    best = _loss(x, low, high, levels)
    kept_low, kept_high = low, high
    for _ in range(rounds):
        up, down = low + step, high - step
        without_low, without_high = _loss(x, up, high, levels), _loss(x, low, down, levels)
        drop_low = without_low < without_high
        low, high = np.where(drop_low, up, low), np.where(drop_low, high, down)
        loss = np.minimum(without_low, without_high)
        better = loss < best
        best = np.where(better, loss, best)
        kept_low, kept_high = np.where(better, low, kept_low), np.where(better, high, kept_high)
    return kept_low, kept_high


class Integer(ScalarMethod):
    """``q = clip(round((x - z) / s))``, with float16 scale s and offset z per row or per `group` columns.

    With ``clip="minmax"`` the range is that of the values, as FBGEMM's row-wise quantization takes it; with ``"mse"``
    it is narrowed from both ends by the greedy search of Guan et al. while that lowers the squared error.
    """

    name: ClassVar[str] = "integer"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Guan et al. 2019, arXiv:1911.02079"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bits": 8}, {"bits": 4, "clip": "mse"}, {"bits": 3, "group": 5})
    traits: ClassVar[Traits] = Traits()

    bits: int = Field(8, ge=1, le=8, description="Bits of a code.")
    clip: Literal["minmax", "mse"] = Field("minmax", description="The whole range, or the one of least squared error.")
    group: int | None = Field(None, ge=1, description="Columns that share a scale; by default a row does.")

    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        greedy = _GREEDY.get(self.bits, _GREEDY_MORE_BITS) if self.clip == "mse" else None
        return _IntegerEncoder(columns, 2**self.bits, min(self.group or columns, columns), unit, greedy)
