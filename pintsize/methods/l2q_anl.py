"""One bit a value at every layer of a graph model, by signs that harden while it is trained."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pintsize.methods._layer_quantizer import LayerQuantizer
from pintsize.methods.base import Family, TrainTime, Traits

__all__ = ["L2qAnl"]


class L2qAnl(TrainTime):
    """L²Q-GCN-anl: as `l2q`, with ``tanh(beta e / alpha)`` for the sign while training, beta rising step by step."""

    name: ClassVar[str] = "l2q_anl"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Chen et al. 2021 (L²Q-GCN-anl), arXiv:2112.01944"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"steps": 20})
    traits: ClassVar[Traits] = Traits()

    steps: int = Field(10000, ge=1, description="Optimizer steps after which the signs are hard.")

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> LayerQuantizer:
        return LayerQuantizer(num_embeddings, embedding_dim, self.steps)
