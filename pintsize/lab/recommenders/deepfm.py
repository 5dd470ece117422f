"""DeepFM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pintsize.lab.recommenders._mlp import mlp
from pintsize.lab.recommenders.fields import FieldEmbeddings, LinearTerms, NumberEmbeddings
from pintsize.lab.recommenders.fm import pairwise

__all__ = ["DeepFm"]


class DeepFm(nn.Module):
    """A factorization machine and dense layers over the same vectors, their logits added (Guo et al. 2017, eq. 1).

    Args:
        embeddings: Vectors of the fields, shared by both parts.
        linear: First-order weights: `FieldEmbeddings` of one column.
        numbers: Numeric columns that come in.
        hidden: Widths of the dense layers.
        dropout: Share of hidden values dropped in training.
    """

    def __init__(
        self,
        embeddings: FieldEmbeddings,
        linear: FieldEmbeddings,
        numbers: int = 0,
        *,
        hidden: Sequence[int] = (64, 64, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings, self.linear = embeddings, LinearTerms(linear, numbers)
        self.number_embeddings = NumberEmbeddings(numbers, embeddings.embedding_dim)
        width = (len(embeddings) + numbers) * embeddings.embedding_dim
        self.deep = mlp(width, hidden, 1, dropout=dropout)

    def forward(self, fields: Tensor, numbers: Tensor) -> Tensor:
        """Logits (b) of (b, fields) rows and (b, numbers) values."""
        vectors = torch.cat([self.embeddings(fields), self.number_embeddings(numbers)], dim=1)
        deep: Tensor = self.deep(vectors.flatten(start_dim=1))[:, 0]
        logits: Tensor = self.linear(fields, numbers) + pairwise(vectors) + deep
        return logits
