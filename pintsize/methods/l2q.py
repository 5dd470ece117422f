"""One bit a value at every layer of a graph model, with a factor a row and layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.methods._layer_quantizer import LayerQuantizer
from pintsize.methods.base import Family, TrainTime, Traits

__all__ = ["L2q"]


class L2q(TrainTime):
    """L²Q-GCN: ``alpha sign(e)`` with ``alpha = ||e||_1 / d``, for the rows of every layer that a model propagates.

    The module's `quantize` is called by the model at each layer, its `segments` are what is scored, and its
    `freeze_layers` is what is served. Alone, the method is the case of one layer. The gradient of the sign is
    straight-through; taken of ``e / alpha``, so that it does not shrink with the rows.
    """

    name: ClassVar[str] = "l2q"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Chen et al. 2021 (L²Q-GCN), arXiv:2112.01944"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    traits: ClassVar[Traits] = Traits()

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> LayerQuantizer:
        return LayerQuantizer(num_embeddings, embedding_dim)
