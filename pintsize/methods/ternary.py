"""Three values a row: minus one, zero and one, times the mean of what is large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pintsize.formats.base import CompressedTable
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._scalar_codes import Floats, Halves, ScalarMethod, encode_blocks, half, row_sums
from pintsize.methods.base import Encoder, Family, TrainTime, Traits

if TYPE_CHECKING:
    from pintsize.methods.trainable import TrainableEmbedding

__all__ = ["Ternary"]


@dataclass(frozen=True)
class _TernaryEncoder(Encoder):
    columns: int
    unit: float
    levels: int

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        records = encode_blocks(rows, self.unit, self.levels, 1, self._coded)
        return ScalarTable(records, self.columns, self.levels, self.columns, "float16", False, -1.0, self.unit)

    def _coded(self, rows: Floats) -> tuple[NDArray[np.uint8], list[Halves]]:
        a = np.abs(rows)
        threshold = np.float32(0.7) * (row_sums(a.T) / np.float32(self.columns))
        large = a > threshold[:, None]
        count = np.maximum(large.sum(axis=1, dtype=np.float32), np.float32(1))
        alpha = row_sums(np.where(large, a, np.float32(0)).T) / count
        codes = np.where(large, np.where(rows > 0, np.uint8(2), np.uint8(0)), np.uint8(1))
        return codes, [half(alpha)[:, None]]


class Ternary(ScalarMethod, TrainTime):
    """``alpha_i {-1, 0, 1}``: zero up to ``0.7 mean |x_i|``, and alpha_i the mean of the absolute values above it.

    While training, a float table stands behind the codes. The gradient of a code is that of ``x / alpha_i`` where
    ``|x| <= alpha_i`` and zero elsewhere, or codes are two steps of tanh, at minus and plus the threshold, that rise
    until they are hard; rows are hard in evaluation mode either way.
    """

    name: ClassVar[str] = "ternary"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Li & Liu 2016, arXiv:1605.04711"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"packing": "bits"}, {"kind": "annealed", "steps": 20})
    traits: ClassVar[Traits] = Traits()

    packing: Literal["trits", "bits"] = Field(
        "trits", description="Five codes a byte (1.6 bits each), or two bits a code, which read faster."
    )

    kind: Literal["straight_through", "annealed"] = Field(
        "straight_through", description="The gradient while training; nothing after it."
    )
    steps: int = Field(10000, ge=1, description="Optimizer steps until annealed codes are hard.")

    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        return _TernaryEncoder(columns, unit, 3 if self.packing == "trits" else 4)

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> TrainableEmbedding:
        from pintsize.methods._sign_training import TernaryTable

        levels = 3 if self.packing == "trits" else 4
        return TernaryTable(num_embeddings, embedding_dim, levels, self.steps if self.kind == "annealed" else None)
