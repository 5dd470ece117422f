"""Float rows that are trained: ``nn.Embedding`` itself, or with rows that are rounded to the 16 bits they end in."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable, bfloat16_bits
from pintsize.methods.trainable import TrainableEmbedding, checked

__all__ = ["FloatEmbedding", "RoundedEmbedding"]


class FloatEmbedding(TrainableEmbedding):
    """The rows as a parameter: results and gradients are those of ``nn.Embedding``, bit for bit."""

    smooth = True

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        self.start(1.0)

    @torch.no_grad()
    def start(self, deviation: float) -> None:
        self.weight.normal_(0.0, deviation)

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        self.weight = nn.Parameter(weight.detach().clone())

    def _rows(self, rows: Tensor) -> Tensor:
        return nn.functional.embedding(rows, self.weight)

    def bag(
        self,
        rows: Tensor,
        offsets: Tensor,
        *,
        mode: Literal["sum", "mean", "max"] = "sum",
        weights: Tensor | None = None,
        padding: int | None = None,
    ) -> Tensor:
        flat = checked(rows.reshape(-1), self.num_embeddings)
        return nn.functional.embedding_bag(
            flat, self.weight, offsets.long(), mode=mode, per_sample_weights=weights, padding_idx=padding
        )

    def all_rows(self) -> Tensor:
        return self.weight

    def freeze(self) -> CompressedTable:
        return DenseTable(self._stored(), "float32")

    def _stored(self) -> Any:
        return self.weight.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()


class RoundedEmbedding(FloatEmbedding):
    """float32 rows that are rounded to 16 bits where they are read; the gradient passes as if they were not."""

    smooth = False

    def __init__(self, num_embeddings: int, embedding_dim: int, dtype: Literal["float16", "bfloat16"]) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.dtype = dtype

    def _rows(self, rows: Tensor) -> Tensor:
        return self._rounded(nn.functional.embedding(rows, self.weight).float())

    def _rounded(self, rows: Tensor) -> Tensor:
        # The difference is exactly zero, and carries the gradient.
        return rows.detach().to(getattr(torch, self.dtype)).float() + (rows - rows.detach())

    def bag(
        self,
        rows: Tensor,
        offsets: Tensor,
        *,
        mode: Literal["sum", "mean", "max"] = "sum",
        weights: Tensor | None = None,
        padding: int | None = None,
    ) -> Tensor:
        return TrainableEmbedding.bag(self, rows, offsets, mode=mode, weights=weights, padding=padding)

    def all_rows(self) -> Tensor:
        return self._rounded(self.weight.float())

    def freeze(self) -> CompressedTable:
        rows = self._stored()
        if self.dtype == "bfloat16":
            return DenseTable(bfloat16_bits(rows), "bfloat16")
        if rows.size and float(np.abs(rows).max()) >= 65520:
            raise TableError(f"values up to {np.abs(rows).max():.6g} do not fit float16 (at most 65504); use bfloat16")
        return DenseTable(rows.astype(np.float16), "float16")
