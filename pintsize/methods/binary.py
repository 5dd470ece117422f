"""One bit a value: the sign, times the row's mean absolute value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.formats.base import CompressedTable
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._scalar_codes import Floats, Halves, ScalarMethod, encode_blocks, half, row_sums
from pintsize.methods.base import Encoder, Family, Traits

__all__ = ["Binary"]


@dataclass(frozen=True)
class _BinaryEncoder(Encoder):
    columns: int
    unit: float

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        records = encode_blocks(rows, self.unit, 2, 1, self._coded)
        return ScalarTable(records, self.columns, 2, self.columns, "float16", False, -0.5, self.unit)

    def _coded(self, rows: Floats) -> tuple[NDArray[np.uint8], list[Halves]]:
        alpha = row_sums(np.abs(rows).T) / np.float32(self.columns)
        # The levels are half a scale below and above zero.
        return (rows >= 0).astype(np.uint8), [half(np.float32(2) * alpha)[:, None]]


class Binary(ScalarMethod):
    """``alpha_i sign(x)`` with ``alpha_i = mean |x_i|``: the least squared error among one-bit codes; sign(0) is 1."""

    name: ClassVar[str] = "binary"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Rastegari et al. 2016 (XNOR-Net, eq. 6), arXiv:1603.05279"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    traits: ClassVar[Traits] = Traits()

    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        return _BinaryEncoder(columns, unit)
