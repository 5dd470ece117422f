"""Integers that are trained as integers: no float table stands behind them at any time."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from pintsize.formats.base import CompressedTable
from pintsize.methods._straight_through import TINY, to_half
from pintsize.methods._trained_codes import BLOCK_VALUES, coded_table
from pintsize.methods.base import Family, TrainTime, Traits
from pintsize.methods.trainable import TrainableEmbedding

__all__ = ["Alpt", "AlptTable"]

_EPSILON = 1e-12


class AlptTable(TrainableEmbedding):
    """Codes of one byte, a step a row, and one sum of squared gradients a row: (d + 8) bytes a row in training.

    A training pass decodes the distinct rows of its batch. When the backward pass reaches them they are updated, so no
    optimizer holds this table: a pass without a backward pass changes nothing, and one with two backward passes is two
    updates. Gradients that are not finite leave their row as it is.

    Args:
        num_embeddings: Rows.
        embedding_dim: Columns.
        bits: Bits of a code.
        rate: Learning rate of the rows.
        step_rate: Learning rate of the steps.
    """

    owns_update = True
    codes: Tensor
    step: Tensor
    squares: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, bits: int, rate: float, step_rate: float) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.bits = bits
        self.rate = rate
        self.step_rate = step_rate
        self.low, self.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        self.register_buffer("codes", torch.zeros(num_embeddings, embedding_dim, dtype=torch.int8))
        self.register_buffer("step", torch.ones(num_embeddings))
        self.register_buffer("squares", torch.zeros(num_embeddings))
        self.start(1.0)

    @torch.no_grad()
    def start(self, deviation: float) -> None:
        def drawn(start: int, stop: int) -> Tensor:
            return torch.randn(stop - start, self.embedding_dim, device=self.codes.device) * deviation

        size = math.sqrt(2 / math.pi) * deviation
        self.step.fill_(max(TINY, 2 * size / math.sqrt(self.high)))
        self._store(drawn)

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        size = weight.detach().float().abs().mean(dim=1)
        self.step.copy_((2 * size / math.sqrt(self.high)).clamp_min(TINY))
        self._store(lambda start, stop: weight[start:stop].float().to(self.codes.device))

    def _store(self, values: Any) -> None:
        """Codes of values at the present steps, block by block: a float table would be what this method avoids."""
        block = max(1, BLOCK_VALUES // self.embedding_dim)
        for start in range(0, self.num_embeddings, block):
            stop = min(self.num_embeddings, start + block)
            ratio = values(start, stop) / to_half(self.step[start:stop].float())[:, None]
            self.codes[start:stop] = ratio.round().clamp(self.low, self.high).to(torch.int8)
        self.squares.zero_()

    def _rows(self, rows: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return self._decoded(rows)
        distinct, places = torch.unique(rows, return_inverse=True)
        values = self._decoded(distinct).requires_grad_()
        values.register_hook(lambda gradient: self._update(distinct, gradient))  # type: ignore[no-untyped-call]
        return nn.functional.embedding(places, values)

    def _decoded(self, rows: Tensor) -> Tensor:
        return self.codes[rows].float() * to_half(self.step[rows].float())[:, None]

    @torch.no_grad()
    def _update(self, rows: Tensor, gradient: Tensor) -> None:
        """One step of row-wise AdaGrad for distinct rows and their steps, then codes by stochastic rounding.

        With ``w' = w - rate g / sqrt(G)`` the gradient of the step is ``sum_j g_j (round(w'_j / s) - w'_j / s)``, or
        the code's bound for g_j where it is clipped, times ``1 / sqrt(d qmax)``.
        """
        gradient = gradient.float()
        gradient = torch.where(torch.isfinite(gradient).all(dim=1, keepdim=True), gradient, 0.0)
        squares = self.squares[rows] + gradient.square().mean(dim=1)
        self.squares[rows] = squares
        normal = gradient / (squares.sqrt() + _EPSILON)[:, None]
        codes, step = self.codes[rows].float(), self.step[rows].float()
        used = to_half(step)[:, None]
        wanted = codes - self.rate * normal / used
        nearest = wanted.round().clamp(self.low, self.high)
        inside = (wanted >= self.low) & (wanted <= self.high)
        slope = torch.where(inside, nearest - wanted, nearest)
        change = (normal * slope).sum(dim=1) / math.sqrt(self.embedding_dim * self.high)
        step = torch.minimum(torch.maximum(step - self.step_rate * change, step / 2), step * 2).clamp_min(TINY)
        self.step[rows] = step.to(self.step.dtype)
        # In units of codes, so that a row whose step and values stay keeps its codes to the bit.
        wanted = wanted * (used / to_half(step)[:, None])
        rounded = torch.floor(wanted + torch.rand_like(wanted))
        self.codes[rows] = rounded.clamp(self.low, self.high).to(torch.int8)

    def freeze(self) -> CompressedTable:
        def code(start: int, stop: int) -> tuple[Tensor, Tensor]:
            codes = self.codes[start:stop].to(torch.int16) - self.low
            return codes, to_half(self.step[start:stop].float())[:, None]

        d = self.embedding_dim
        return coded_table(code, self.num_embeddings, d, 2**self.bits, d, float(self.low))


class Alpt(TrainTime):
    """Adaptive low-precision training: codes and a step a row are all that is ever kept of the table.

    The batch's rows are decoded, updated, and coded again by stochastic rounding, which keeps small updates on average;
    the step of a row is learned by its straight-through gradient. The paper takes that gradient in a second pass over
    the batch, at the updated rows; here it is the first pass's, at the updated rows. Rows and steps move by AdaGrad
    with one accumulator a row. While training a code takes a byte, whatever its bits.
    At 2 bits the noise of stochastic rounding is of the size of the rows, and much less is learned.
    """

    name: ClassVar[str] = "alpt"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Li et al. 2023 (ALPT), arXiv:2212.05735"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bits": 8}, {"bits": 4})
    traits: ClassVar[Traits] = Traits(small_while_training=True)

    bits: int = Field(8, ge=2, le=8, description="Bits of a code.")
    rate: float = Field(0.05, gt=0, le=10, description="Learning rate of the rows, which no optimizer holds.")
    step_rate: float = Field(0.01, ge=0, le=10, description="Learning rate of the steps.")

    def build(self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None) -> AlptTable:
        return AlptTable(num_embeddings, embedding_dim, self.bits, self.rate, self.step_rate)
