"""One bit a value: the sign, times the row's mean absolute value."""

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


class Binary(ScalarMethod, TrainTime):
    """``alpha_i sign(x)`` with ``alpha_i = mean |x_i|``: the least squared error among one-bit codes; sign(0) is 1.

    While training, a float table stands behind the codes. The gradient of the sign is that of the identity where
    ``|x| <= alpha_i`` and zero elsewhere, or the sign is ``tanh(beta x / alpha_i)`` with a beta that rises until it is
    hard; rows are hard in evaluation mode either way.
    """

    name: ClassVar[str] = "binary"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Rastegari et al. 2016 (XNOR-Net, eq. 6), arXiv:1603.05279"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"kind": "annealed", "steps": 20})
    traits: ClassVar[Traits] = Traits()

    kind: Literal["straight_through", "annealed"] = Field(
        "straight_through", description="The gradient while training; nothing after it."
    )
    steps: int = Field(10000, ge=1, description="Optimizer steps until annealed codes are hard.")

    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        return _BinaryEncoder(columns, unit)

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> TrainableEmbedding:
        from pintsize.methods._sign_training import BinaryTable

        return BinaryTable(num_embeddings, embedding_dim, self.steps if self.kind == "annealed" else None)
