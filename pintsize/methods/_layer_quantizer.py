"""The one-bit quantizer that a graph model calls at each of its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable
from pintsize.methods._sign_training import BinaryTable

__all__ = ["LayerQuantizer"]


class LayerQuantizer(BinaryTable):
    """The float rows of layer 0, and the quantizer of all layers.

    Args:
        num_embeddings: Rows.
        embedding_dim: Columns.
        steps: Optimizer steps of annealing; None for straight-through.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, steps: int | None = None) -> None:
        super().__init__(num_embeddings, embedding_dim, steps, clip=None)

    def segments(self, layers: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
        """The quantized layers side by side; inner products of such rows are ``sum_l w_l <q_u^l, q_i^l>``.

        Args:
            layers: L + 1 tensors (n, d): the float rows at each layer.
            weights: L + 1 factors w_l, 1 each by default. Their square roots are multiplied into both sides' rows.

        Returns:
            (n, (L + 1) d), differentiable.

        Raises:
            MethodError: Layers of different shapes, or weights that are negative or not one a layer.
        """
        return torch.cat([self.quantize(layer) for layer in _weighted(layers, weights)], dim=1)

    def freeze_layers(self, layers: Sequence[Tensor], weights: Sequence[float] | None = None) -> CompressedTable:
        """What serves the `segments` of these layers in evaluation mode: one bit a value, a factor a row and layer.

        Args:
            layers: As for `segments`.
            weights: As for `segments`.

        Returns:
            A `ScalarTable` of n rows and (L + 1) d columns, in groups of d.

        Raises:
            MethodError: As `segments`.
        """
        return super().freeze_layers(_weighted(layers, weights))


def _weighted(layers: Sequence[Tensor], weights: Sequence[float] | None) -> list[Tensor]:
    factors = [1.0] * len(layers) if weights is None else [float(weight) for weight in weights]
    if not layers or len({tuple(layer.shape) for layer in layers}) > 1 or layers[0].ndim != 2:
        raise MethodError(f"layers are tensors of one shape (n, d); found {[tuple(layer.shape) for layer in layers]}")
    if len(factors) != len(layers) or not all(0 <= factor < math.inf for factor in factors):
        raise MethodError(f"a weight of 0 or more is needed for each of {len(layers)} layers; found {factors}")
    return [layer if factor == 1 else layer * math.sqrt(factor) for layer, factor in zip(layers, factors, strict=True)]
