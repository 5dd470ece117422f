"""Block floats: what accelerators multiply natively."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pintsize.formats._packing import pack
from pintsize.formats.base import CompressedTable
from pintsize.formats.block_float import KINDS, BlockFloatTable, Kind, scale_values
from pintsize.methods._scalar_codes import ScalarMethod, largest_value, limit, too_large
from pintsize.methods.base import Encoder, Family, Traits

__all__ = ["BlockFloat"]

Floats = NDArray[np.float32]
_BLOCK_ROWS = 1 << 14
_TOP_EXPONENT = 2  # of every element type here: the largest power of two among its magnitudes is 4


@dataclass(frozen=True)
class _BlockFloatEncoder(Encoder):
    columns: int
    kind: str
    unit: float

    def encode(self, rows: Floats) -> CompressedTable:
        kind = KINDS[self.kind]
        if kind.scale == "e4m3" and largest_value(rows) > min(limit(self.unit), _largest(kind)) * self.unit:
            raise too_large(rows, self.unit)
        parts = [self._records(rows[start : start + _BLOCK_ROWS], kind) for start in range(0, len(rows), _BLOCK_ROWS)]
        records = np.concatenate(parts) if parts else self._records(rows, kind)
        return BlockFloatTable(records, self.columns, self.kind, self.unit)

    def _records(self, rows: Floats, kind: Kind) -> NDArray[np.uint8]:
        blocks = -(-self.columns // kind.block)
        wide = np.zeros((len(rows), blocks * kind.block), np.float32)
        wide[:, : self.columns] = rows / np.float32(self.unit)
        wide = wide.reshape(len(rows) * blocks, kind.block)
        scales, codes = _nearest(wide, kind)
        codes = codes.reshape(len(rows), blocks * kind.block)[:, : self.columns]
        return np.concatenate(
            [pack(np.ascontiguousarray(codes), kind.levels), scales.reshape(len(rows), blocks)], axis=1
        )


def _largest(kind: Kind) -> float:
    """The largest value, in units, that a block can hold."""
    return float(scale_values(kind.scale)[-1]) * kind.magnitudes[-1]


def _nearest(blocks: Floats, kind: Kind) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Of two neighbouring scales the one of less squared error, and each value's nearest code."""
    low, high = (scale.astype(np.uint8) for scale in _scales(np.abs(blocks).max(axis=1, initial=0), kind))
    values = scale_values(kind.scale)
    (codes, error), (other, other_error) = (_rounded(blocks, values[scale][:, None], kind) for scale in (low, high))
    better = other_error < error
    return np.where(better, high, low), np.where(better[:, None], other, codes)


def _scales(largest: Floats, kind: Kind) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    values = scale_values(kind.scale)
    if kind.scale == "e8m0":
        # OCP MX 1.0, section 6.3: the exponent of the largest value less that of the largest element; the largest
        # value may then saturate, which the scale above avoids.
        exponent = np.frexp(np.where(largest > 0, largest, 1))[1].astype(np.int64) - 1 - _TOP_EXPONENT
        low = np.clip(exponent + 127, 0, len(values) - 2)
        return low, low + 1
    above = np.clip(np.searchsorted(values, largest / kind.magnitudes[-1]), 1, len(values) - 1)
    return above - 1, above


def _rounded(blocks: Floats, scales: Floats, kind: Kind) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    magnitudes = np.array(kind.magnitudes, np.float32)
    middles = (magnitudes[1:] + magnitudes[:-1]) / 2
    sizes = np.abs(blocks) / np.where(scales > 0, scales, np.float32(np.inf))
    codes = np.searchsorted(middles, sizes).astype(np.int64)
    # Halfway, to the even mantissa.
    at = np.minimum(codes, len(middles) - 1)
    codes += (codes == at) & (sizes == middles[at]) & (codes % 2 == 1)
    error = ((magnitudes[codes].astype(np.float64) - sizes) * scales) ** 2
    signed = codes + np.where((blocks < 0) & (codes > 0), len(magnitudes), 0)
    return signed.astype(np.uint8), error.sum(axis=1)


class BlockFloat(ScalarMethod):
    """Each column a float of 4 or 6 bits, each block of 16 or 32 columns one scale of 8 bits.

    Rounded to nearest as the OCP specification says; of the scale that it gives and the next one above, a block takes
    the one of less squared error.
    """

    name: ClassVar[str] = "block_float"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "OCP Microscaling Formats (MX) Specification 1.0, 2023; NVFP4: NVIDIA 2025"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"format": "mx4"}, {"format": "mx6"}, {"format": "nvfp4"})
    traits: ClassVar[Traits] = Traits()

    format: Literal["mx4", "mx6", "nvfp4"] = Field("mx4", description="The element and scale types.")

    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        return _BlockFloatEncoder(columns, self.format, unit if self.format == "nvfp4" else 1.0)

    def _reach(self, columns: int) -> int:
        return 11  # 2**11 lies below what a block of NVFP4 can hold; other kinds have no unit
