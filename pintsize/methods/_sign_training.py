"""Rows of a float table read as signs or trits times a scale of the row, while they are trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pintsize.formats.base import CompressedTable
from pintsize.methods._straight_through import TINY, mean_magnitude, sign, through, to_half
from pintsize.methods._trained_codes import coded_table
from pintsize.methods.trainable import TrainableEmbedding

__all__ = ["HARDEST", "BinaryTable", "ShadowTable", "SignTable", "TernaryTable"]

HARDEST = 50.0
"""The slope of tanh at which annealing ends."""


class ShadowTable(TrainableEmbedding):
    """Rows that are a function of a float table's rows, which is what the optimizer holds."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))

    @torch.no_grad()
    def start(self, deviation: float) -> None:
        self.weight.normal_(0, deviation)

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        self.weight.copy_(weight)

    def shadow(self, rows: Tensor) -> Tensor:
        """(n, embedding_dim) float32 rows of the float table."""
        return nn.functional.embedding(rows, self.weight).float()


class SignTable(ShadowTable):
    """A float table read as hard codes times a scale of the row, by one of two stand-ins for the gradient.

    Straight-through: codes are hard, and their gradient is that of the identity, zero beyond `clip` scales. Annealed:
    codes are ``tanh(beta x / scale)`` while training, beta rising from 1 to `HARDEST` over `steps` calls of
    `after_step`; from then on as straight-through. In evaluation mode codes are always hard.

    Args:
        num_embeddings: Rows.
        embedding_dim: Columns.
        steps: Optimizer steps of annealing; None for straight-through.
        clip: Where the straight-through gradient ends, in scales of the row; None for nowhere.
    """

    done: Tensor

    def __init__(
        self, num_embeddings: int, embedding_dim: int, steps: int | None = None, clip: float | None = 1.0
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.steps = steps
        self.clip = clip
        self.register_buffer("done", torch.tensor(0.0 if steps else 1.0))
        self.start(1.0)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if self.steps is not None:
            self.done.fill_(min(1.0, step / self.steps))

    def quantize(self, rows: Tensor) -> Tensor:
        """(n, d) float rows as they are served, with the gradient of this table; d may differ from embedding_dim."""
        rows = rows.float()
        hard, scale = self._hard(rows)
        if self.steps is None or not self.training:
            return hard * scale
        # No branch on `done`: to look at it would wait for an accelerator.
        return torch.where(self.done < 1, self._soft(rows, HARDEST**self.done), hard) * scale

    def _rows(self, rows: Tensor) -> Tensor:
        return self.quantize(self.shadow(rows))

    @abstractmethod
    def _hard(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Hard codes about zero (n, d), with a straight-through gradient, and scales (n, 1), as `to_half` rounds."""

    @abstractmethod
    def _soft(self, rows: Tensor, beta: Tensor) -> Tensor:
        """Codes (n, d) that become those of `_hard` as beta rises."""


class BinaryTable(SignTable):
    """``alpha sign(x)`` with ``alpha = mean |x|`` of the row."""

    def _hard(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        alpha = mean_magnitude(rows)
        return sign(rows / alpha.detach().clamp_min(TINY), self.clip), to_half(alpha)

    def _soft(self, rows: Tensor, beta: Tensor) -> Tensor:
        return torch.tanh(beta * rows / mean_magnitude(rows.detach()).clamp_min(TINY))

    def freeze(self) -> CompressedTable:
        return self.freeze_layers([self.weight])

    def freeze_layers(self, layers: Sequence[Tensor]) -> CompressedTable:
        """The (n, d) layers side by side: one bit a value, and a float16 factor for each row of each layer.

        Returns:
            A table of n rows and ``len(layers) * d`` columns; its rows are ``cat([quantize(e) for e in layers], 1)``.
        """
        rows, d = layers[0].shape

        def code(start: int, stop: int) -> tuple[Tensor, Tensor]:
            parts = [layer[start:stop].float() for layer in layers]
            # The levels are half a scale below and above zero.
            factors = torch.cat([2 * to_half(mean_magnitude(part)) for part in parts], dim=1)
            return torch.cat(parts, dim=1) >= 0, factors

        return coded_table(code, rows, d * len(layers), 2, d, -0.5)


class TernaryTable(SignTable):
    """``alpha {-1, 0, 1}``: zero up to ``0.7 mean |x|``, and alpha the mean of the |x| above (Li & Liu 2016, eq. 6)."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, levels: int, steps: int | None = None, clip: float | None = 1.0
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, steps, clip)
        self.levels = levels

    @staticmethod
    def _coded(rows: Tensor) -> tuple[Tensor, Tensor]:
        """Codes -1, 0 and 1 without a gradient, and the scale (n, 1) with one."""
        size = rows.abs()
        # So that values that are not numbers are not small, and reach the scale.
        large = ~(size.detach() <= 0.7 * mean_magnitude(rows.detach()))
        count = large.sum(dim=1, keepdim=True).clamp_min(1)
        alpha = torch.where(large, size, 0.0).sum(dim=1, keepdim=True, dtype=torch.float64) / count
        return rows.detach().sign() * large, alpha.float()

    def _hard(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        codes, alpha = self._coded(rows)
        relative = rows / alpha.detach().clamp_min(TINY)
        soft = relative if self.clip is None else relative.clamp(-self.clip, self.clip)
        return through(soft, codes), to_half(alpha)

    def _soft(self, rows: Tensor, beta: Tensor) -> Tensor:
        relative = rows / mean_magnitude(rows.detach()).clamp_min(TINY)
        return (torch.tanh(beta * (relative - 0.7)) + torch.tanh(beta * (relative + 0.7))) / 2

    def freeze(self) -> CompressedTable:
        def code(start: int, stop: int) -> tuple[Tensor, Tensor]:
            codes, alpha = self._coded(self.weight[start:stop].float())
            return codes + 1, to_half(alpha)

        return coded_table(code, self.num_embeddings, self.embedding_dim, self.levels, self.embedding_dim, -1.0)
